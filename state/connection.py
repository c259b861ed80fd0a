"""One connection to a server: bytes out, answers in, in the order of the commands."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

from state import Argument, StateError
from state.resp import Garbage, Reader, encode
from state.settings import Address, Settings, Tls

NAME = "penstock"
BACKLOG = 16 * 1024 * 1024
"""Bytes that wait to be sent, beyond which more are refused: the store does not keep up."""

Told = Callable[[list[Any]], None]
Lost = Callable[[StateError], None]


class Connection(asyncio.Protocol):
    """`told` gets the answers as they come; `lost` is called once when it ends, whoever ended it. Both may be set anew
    while it is open."""

    def __init__(self) -> None:
        self.told: Told = lambda answers: None
        self.lost: Lost = lambda error: None
        self.open = False
        self.behind = False
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._why: StateError | None = None

    def write(self, data: bytes) -> None:
        """Send."""
        assert self._transport is not None
        self._transport.write(data)

    def close(self, why: StateError) -> None:
        """End it now; `lost` is told `why`."""
        if self._why is None:
            self._why = why
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=BACKLOG)
        self.open = True

    def data_received(self, data: bytes) -> None:
        """asyncio's."""
        try:
            answers = self._reader.feed(data)
        except Garbage as error:
            self.close(StateError(f"the store answers garbage: {error}", "garbage"))
            return
        if answers:
            self.told(answers)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's."""
        self.open = False
        self.lost(self._why or StateError(f"the connection to the store ended: {exc or 'it closed'}", "lost"))

    def pause_writing(self) -> None:
        """asyncio's."""
        self.behind = True

    def resume_writing(self) -> None:
        """asyncio's."""
        self.behind = False


async def connect(settings: Settings, address: Address | None = None) -> Connection:
    """A connection that the server has let in, within `connect_timeout`. `address` is its own, None with a `path`.
    Raises `StateError`."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(settings.connect_timeout):
            if address is None:
                _, connection = await loop.create_unix_connection(Connection, settings.path)
            else:
                context = tls_context(settings.tls) if settings.tls is not None else None
                _, connection = await loop.create_connection(Connection, *address, ssl=context)
            try:
                await _enter(connection, settings)
            except BaseException:
                connection.close(StateError("given up", "lost"))
                raise
    except TimeoutError:
        raise StateError(f"{_at(settings, address)} does not answer", "timeout") from None
    except OSError as error:
        raise StateError(f"cannot reach {_at(settings, address)}: {error}", "lost") from error
    return connection


async def _enter(connection: Connection, settings: Settings) -> None:
    """Say who we are, and wait until the server agrees."""
    commands: list[tuple[Argument, ...]] = [("CLIENT", "SETNAME", NAME)]
    if settings.database:
        commands.insert(0, ("SELECT", settings.database))
    password = settings.password()
    if password or settings.user:
        commands.insert(0, ("AUTH", settings.user, password) if settings.user else ("AUTH", password))
    for answer in await ask(connection, *commands):
        if isinstance(answer, StateError):
            raise StateError(f"the store does not let us in: {answer}", "down")


async def ask(connection: Connection, *commands: tuple[Argument, ...]) -> list[Any]:
    """The answers to some commands on a connection that has nothing else to do. Raises `StateError`."""
    done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    answers: list[Any] = []

    def told(more: list[Any]) -> None:
        answers.extend(more)
        if len(answers) >= len(commands) and not done.done():
            done.set_result(answers)

    def lost(error: StateError) -> None:
        if not done.done():
            done.set_exception(error)

    connection.told, connection.lost = told, lost
    if not connection.open:
        raise StateError("the connection to the store ended", "lost")
    connection.write(encode(commands))
    return await done


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A client's context that checks the certificate and the name of the server. Raises `OSError` for files that are
    missing, and `ssl.SSLError`, which is one, for others."""
    context = ssl.create_default_context(cafile=tls.ca or None)
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key or None)
    return context


def _at(settings: Settings, address: Address | None) -> str:
    return settings.told if address is None else f"the store at {address[0]}:{address[1]}"
