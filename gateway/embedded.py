"""The process that becomes the embedded store: it locks the data, and is `valkey-server` from then on.

A second gateway with the same `state_directory` waits for the first to end, as two servers would ruin one file. While
it waits it has no store, and does what its policies say of that.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from typing import NoReturn

from config.schema import Config
from gateway.rundir import RunDirectory
from gateway.store_place import data_directory
from gateway.supervisor import STORE_POLL, STORE_START
from state.server import command, find_server

LOCK = "lock"

_log = logging.getLogger(__name__)


def become_store(directory: RunDirectory) -> NoReturn:
    """Lock the data of this gateway, waiting for whoever has them, and become the server. Raises `OSError`, and
    `NoServer` if there is none."""
    config = directory.read_config()
    binary = find_server()
    data = data_directory(config, directory)
    os.makedirs(data, mode=0o700, exist_ok=True)
    os.set_inheritable(take_lock(data), True)
    _tell(config, data)
    assert config.state is not None
    words = command(binary, directory.store, data, config.state.memory)
    os.execv(binary, words)


class Busy(Exception):
    """Another process has the data."""


def take_lock(data: str, wait: bool = True) -> int:
    """A descriptor that holds the lock of this directory for as long as any process has it open. Raises `OSError`, and
    `Busy` if it is not to wait and would have to."""
    lock = os.open(os.path.join(data, LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            os.close(lock)
            raise Busy(f"another process has the state in {data}") from None
        _log.error("another gateway has the state in %s; waiting for it to end", data)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


@contextlib.contextmanager
def visit(config: Config) -> Iterator[RunDirectory]:
    """The store of a gateway that does not run, for as long as the context lasts. Raises `OSError`, `Busy`, and
    `NoServer`."""
    assert config.state is not None
    binary, directory = find_server(), RunDirectory.make(None)
    try:
        data = data_directory(config, directory)
        os.makedirs(data, mode=0o700, exist_ok=True)
        lock = take_lock(data, wait=False)
        try:
            words = command(binary, directory.store, data, config.state.memory)
            with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as server:
                try:
                    _wait_until_it_listens(server, directory)
                    yield directory
                finally:
                    server.terminate()
        finally:
            os.close(lock)
    finally:
        directory.remove()


def _wait_until_it_listens(server: subprocess.Popen[bytes], directory: RunDirectory) -> None:
    limit = time.monotonic() + STORE_START
    while not os.path.exists(directory.store) and server.poll() is None and time.monotonic() < limit:
        time.sleep(STORE_POLL)


def _tell(config: Config, data: str) -> None:
    if config.state_directory is None:
        _log.warning("state: embedded in %s, which ends with this gateway; name a state_directory to keep it", data)
    else:
        _log.info("state: embedded in %s", data)
