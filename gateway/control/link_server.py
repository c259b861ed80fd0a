"""Control's end of the socket to the workers: one connection each, and the newest `World` for all."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

import msgspec

from gateway.link import Handler, LinkError, frame, read_body
from gateway.tasks import spawn
from gateway.world import (
    Hello,
    KeySet,
    Load,
    Loaded,
    Loading,
    Outcome,
    Places,
    Refresh,
    Refreshed,
    Report,
    ToControl,
    ToWorker,
    World,
)

HELLO_TIMEOUT = 5.0

_log = logging.getLogger(__name__)
_to_control = msgspec.msgpack.Decoder(ToControl)


class _Peer:
    """Control's side of one worker: only the newest World waits for a slow reader."""

    def __init__(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        self.hello = hello
        self._writer = writer
        self._world: bytes | None = None
        self._answers: list[bytes] = []
        self._first: list[bytes] = []
        self._wake = asyncio.Event()

    def tell(self, world: bytes) -> None:
        self._world = world
        self._wake.set()

    def tell_first(self, message: ToWorker) -> None:
        """Ahead of the first World."""
        self._first.append(frame(message))
        self._wake.set()

    def answer(self, message: ToWorker) -> None:
        self._answers.append(frame(message))
        self._wake.set()

    async def write(self) -> None:
        """Send what waits, the World before the answers that rely on it, until the connection ends."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            world, self._world = self._world, None
            answers, self._answers = self._answers, []
            first, self._first = self._first, []
            self._writer.writelines([*first, world or b"", *answers])
            try:
                await self._writer.drain()
            except ConnectionError:
                return

    def close(self) -> None:
        self._writer.close()


class LinkServer:
    """Control's end: a Unix socket at `path`, which must lie in a directory that only this user may enter."""

    def __init__(self, path: str, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._peers: dict[int, _Peer] = {}
        self._world: bytes | None = None
        self._keys: Callable[[], KeySet] | None = None
        self._places: Places | None = None

    async def start(self) -> None:
        """Listen, taking the place of a socket that an ended control left. Raises `OSError`."""
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        os.chmod(self._path, 0o600)

    def publish(self, world: World) -> None:
        """Send `world` to all workers, and to those that connect from now on."""
        self._world = frame(world)
        for peer in self._peers.values():
            peer.tell(self._world)

    def publish_keys(self, keys: KeySet, whole: Callable[[], KeySet]) -> None:
        """Send `keys` to all workers; those that connect from now on get what `whole` says then."""
        self._keys = whole
        for peer in self._peers.values():
            peer.answer(keys)

    def publish_places(self, places: Places) -> None:
        """Send `places` to all workers, and to those that connect from now on."""
        self._places = places
        for peer in self._peers.values():
            peer.answer(places)

    async def close(self) -> None:
        """Close the socket and all connections."""
        if self._server is not None:
            self._server.close()
        for peer in self._peers.values():
            peer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                hello = _to_control.decode(await read_body(reader))
            if not isinstance(hello, Hello):
                raise LinkError(f"expected Hello first, got {type(hello).__name__}")
            await self._serve_worker(_Peer(hello, writer), reader)
        except (EOFError, ConnectionError):
            pass  # how every connection ends
        except (LinkError, msgspec.MsgspecError, TimeoutError) as error:
            _log.error("closed a worker's connection: %r", error)
        finally:
            writer.close()

    async def _serve_worker(self, peer: _Peer, reader: asyncio.StreamReader) -> None:
        index = peer.hello.worker
        if (before := self._peers.get(index)) is not None:
            before.close()
        self._peers[index] = peer
        self._handler.hello(peer.hello)
        if self._keys is not None:
            peer.tell_first(self._keys())
        if self._places is not None:
            peer.tell_first(self._places)
        if self._world is not None:
            peer.tell(self._world)
        writing = spawn(peer.write(), f"link to worker {index}")
        try:
            while True:
                self._take(peer, _to_control.decode(await read_body(reader)))
        finally:
            writing.cancel()
            if self._peers.get(index) is peer:  # else it came back on another connection
                del self._peers[index]
                self._handler.gone(peer.hello)

    def _take(self, peer: _Peer, message: ToControl) -> None:
        match message:
            case Report():
                self._handler.report(message)
            case Refresh():
                spawn(self._refresh(peer, message), f"refresh of {message.pool}")
            case Load():
                spawn(self._load(peer, message), f"load of {message.model}")
            case Hello():
                raise LinkError("a second Hello")

    async def _refresh(self, peer: _Peer, message: Refresh) -> None:
        await self._handler.refresh(message.pool, message.address, message.loaded)
        peer.answer(Refreshed(message.token))

    async def _load(self, peer: _Peer, message: Load) -> None:
        outcome = Outcome("failed", "internal error", 1.0)
        try:
            outcome = await self._handler.load(
                message.pool, message.model, lambda progress: peer.answer(Loading(message.token, progress))
            )
        finally:
            peer.answer(Loaded(message.token, outcome))
