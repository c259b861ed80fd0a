"""The directory that the processes of one gateway share: control's socket, the configuration in force, the load board.

Only this user may enter it. The configuration is kept here as checked, so that a control that is started again goes on
with it, whatever the operator is doing to the file meanwhile.
"""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import secrets
import shutil
import socket
import tempfile

import msgspec

from config.schema import Config
from routing.load_board import LoadBoard
from routing.sequence_table import SequenceTable

BOARD_SLOTS = 65_536
"""Rows of the load board: 64 endpoints with 1,000 models each. A row that nobody uses takes no memory."""

_log = logging.getLogger(__name__)

_LONGEST_SOCKET_PATH = 100
"""sockaddr_un has room for 107 bytes, unix(7)."""


class RunDirectory:
    """The files in the directory at `path`. `sign` is where else it can be found, a link to it."""

    def __init__(self, path: str, sign: str | None = None) -> None:
        self.path = path
        self.sign = sign
        self.socket = os.path.join(path, "control.sock")
        self.store = os.path.join(path, "store.sock")
        self.slots = os.path.join(path, "slots.msgpack")
        self._board = os.path.join(path, "load_board")
        self._config = os.path.join(path, "config.msgpack")
        self._announced = os.path.join(path, "announced")
        self._lifeline = os.path.join(path, "lifeline")
        self._source = os.path.join(path, "source")
        self._node = os.path.join(path, "node")

    @classmethod
    def make(cls, parent: str | None) -> RunDirectory:
        """A new directory, mode 0700, under `parent` or the system's place for temporary files. Where the path of a
        socket would be too long it is there as well, and under `parent` a link to it. Raises `OSError`."""
        if parent is None:
            return cls(_temporary(None))
        os.makedirs(parent, mode=0o700, exist_ok=True)
        if len(os.path.join(os.path.abspath(parent), "penstock-12345678", "control.sock")) <= _LONGEST_SOCKET_PATH:
            return cls(_temporary(parent))
        path = _temporary(None)
        sign = os.path.join(parent, os.path.basename(path))
        os.symlink(path, sign)
        return cls(path, sign)

    @classmethod
    def find(cls, parent: str | None, source: str) -> RunDirectory | None:
        """That of the newest gateway that was started from this file and runs an embedded store, if there is one."""
        found = []
        for place in {parent, tempfile.gettempdir()} - {None}:
            for path in glob.glob(os.path.join(glob.escape(str(place)), "penstock-*")):
                directory = cls(os.path.realpath(path))
                if directory._belongs_to(source):
                    found.append(directory)
        return max(found, key=lambda directory: os.stat(directory.path).st_mtime, default=None)

    def _belongs_to(self, source: str) -> bool:
        try:
            if os.stat(self.path).st_uid != os.getuid() or not os.path.exists(self.store):
                return False
            with open(self._source, encoding="utf-8") as file:
                return file.read() == os.path.realpath(source)
        except OSError:  # another user's, or on its way out
            return False

    def write_source(self, path: str) -> None:
        """Remember which file this gateway was started from."""
        with open(self._source, "w", encoding="utf-8") as file:
            file.write(os.path.realpath(path))

    def write_config(self, config: Config) -> None:
        """Keep `config`, whole or not at all."""
        with open(f"{self._config}.new", "wb") as file:
            file.write(msgspec.msgpack.encode(config))
        os.replace(f"{self._config}.new", self._config)

    def read_config(self) -> Config:
        """The configuration in force. Raises `OSError` if there is none."""
        with open(self._config, "rb") as file:
            return msgspec.msgpack.decode(file.read(), type=Config)

    def open_board(self, workers: int, slots: int = BOARD_SLOTS) -> LoadBoard:
        """The load board: the one that is there, so that what the workers count goes on counting when control is
        started again, or a new one. Raises `OSError`."""
        try:
            board = LoadBoard.attach(self._board)
        except FileNotFoundError:
            pass
        except ValueError as error:
            _log.error("the load board is made anew: %s", error)
        else:
            if (board.slots, board.workers) == (slots, workers):
                return board
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.slots)  # of another board
        return LoadBoard.create(self._board, slots, workers)

    def attach_board(self) -> LoadBoard:
        """The load board that is there, for a worker. Raises `OSError`, and `ValueError` for a broken one."""
        return LoadBoard.attach(self._board)

    def open_sequences(self) -> SequenceTable:
        """Where the live sequences are: the table that is there, or a new one. Raises `OSError`, and `ValueError` for a
        broken one."""
        return SequenceTable.open(os.path.join(self.path, "sequences"))

    def hold_lifeline(self) -> int:
        """A descriptor to be kept open by this process, whose end closes the lifeline. Raises `OSError`."""
        os.mkfifo(self._lifeline, 0o600)
        return os.open(self._lifeline, os.O_RDWR | os.O_CLOEXEC)

    def lifeline(self) -> int:
        """A descriptor that has nothing to read until whoever holds the lifeline ends, and then ends, too. Raises
        `OSError`."""
        descriptor = os.open(self._lifeline, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # else it waits for a holder
        os.set_blocking(descriptor, True)
        return descriptor

    def node(self) -> str:
        """By what other gateways know this one: the same for as long as it runs, whatever becomes of its control."""
        try:
            with open(self._node, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            node = new_node()
        with open(f"{self._node}.new", "w", encoding="utf-8") as file:
            file.write(node)
        os.replace(f"{self._node}.new", self._node)
        return node

    def announce_once(self) -> bool:
        """True the first time."""
        try:
            os.close(os.open(self._announced, os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        return True

    def remove(self) -> None:
        """Delete the directory with all that is in it."""
        if self.sign is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.sign)
        shutil.rmtree(self.path, ignore_errors=True)


def _temporary(parent: str | None) -> str:
    return os.path.abspath(tempfile.mkdtemp(prefix="penstock-", dir=parent))


def new_node() -> str:
    """A name for a gateway that no other has: that of the machine, for people, and a random part."""
    return f"{socket.gethostname()}-{secrets.token_hex(6)}"
