"""Connections over TCP and TLS, and those that come to nothing."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from state import StateError
from state.connection import ask, connect
from state.settings import PasswordFile, Settings, Tls
from tests.support.valkey import Valkey


def test_tls_with_a_certificate_that_is_checked(valkey: Valkey, tmp_path: Path) -> None:
    ca, stranger = trustme.CA(), trustme.CA()
    for name, one in (("ca", ca), ("stranger", stranger)):
        one.cert_pem.write_to_path(str(tmp_path / name))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(context)
    client = ca.issue_cert("gateway.example")
    client.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "client"))
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(valkey.socket)
        back.write(await reader.read(1000))
        writer.write(await there.read(1000))
        back.write(await reader.read(1000))
        writer.write(await there.read(1000))
        for each in (writer, back):
            each.close()

    async def run() -> None:
        server = await asyncio.start_server(pass_on, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        mine = str(tmp_path / "client")
        good = Settings(tls=Tls(str(tmp_path / "ca"), mine, mine), connect_timeout=5.0)
        connection = await connect(good, ("localhost", port))
        assert await ask(connection, ("ECHO", "x")) == [b"x"]
        connection.close(StateError("done"))
        for settings in (Settings(tls=Tls(str(tmp_path / "stranger"), mine, mine)), Settings(tls=Tls())):
            with pytest.raises(StateError, match=r"(?i)certificate"):
                await connect(settings, ("localhost", port))
        with pytest.raises(StateError, match=r"cannot read|No such file|cannot reach"):
            await connect(Settings(tls=Tls("/nowhere.pem")), ("localhost", port))
        server.close()

    asyncio.run(run())


def test_nobody_there() -> None:
    with pytest.raises(StateError, match=r"cannot reach the store at 127.0.0.1:1: "):
        asyncio.run(connect(Settings(), ("127.0.0.1", 1)))


def test_somebody_who_says_nothing() -> None:
    async def run() -> None:
        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda reader, writer: writers.append(writer), "127.0.0.1", 0)
        with pytest.raises(StateError, match="does not answer") as caught:
            await connect(Settings(connect_timeout=0.2), server.sockets[0].getsockname()[:2])
        assert caught.value.reason == "timeout"
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0)

    asyncio.run(run())


def test_a_password_that_cannot_be_read(valkey: Valkey) -> None:
    with pytest.raises(StateError, match="cannot read the password file '/nowhere'"):
        asyncio.run(connect(Settings(path=valkey.socket, password=PasswordFile("/nowhere"))))
