"""A listener's places, deadlines and end."""

from __future__ import annotations

import asyncio
import re
import resource
import socket
import time
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schema import Deadlines, Limits
from config.schema import Listener as ListenerConfig
from gateway.ingress.listener import NEVER, Listener, allow_files, bind
from gateway.telemetry.metrics import Metrics
from tests.support.deadline import eventually
from tests.support.ingress import Service, an_ingress, no_grpc
from tests.support.raw_client import get


class Open:
    """A connection that notes what the listener asks of it."""

    def __init__(self, expires: float = NEVER) -> None:
        self.expires = expires
        self.asked: list[str] = []
        self.broken = False

    def expired(self, now: float) -> None:
        self.asked.append("expired")
        if self.broken:
            raise KeyError("a bug")

    def drain(self) -> None:
        self.asked.append("drain")

    def abort(self) -> None:
        self.asked.append("abort")


class TestPlaces:
    def test_are_limited_in_all(self) -> None:
        with an_ingress(Limits(connections=2)) as ingress:
            listener, (first, second, third) = ingress.listener, (Open(), Open(), Open())
            assert [listener.admit(each, "a") for each in (first, second, third)] == [True, True, False]
            assert listener.refused.value == 1
            listener.release(first, "a")
            assert listener.admit(third, "b")
            listener.release(second, "a")
            listener.release(third, "b")

    def test_are_limited_for_each_address(self) -> None:
        with an_ingress(Limits(connections=10, connections_per_address=2)) as ingress:
            listener, opened = ingress.listener, [Open() for _ in range(6)]
            admitted = [listener.admit(each, "ab"[at % 2]) for at, each in enumerate(opened)]
            assert admitted == [True, True, True, True, False, False]
            assert (listener.refused.value, dict(listener.addresses)) == (2, {"a": 2, "b": 2})
            for at, each in enumerate(opened[:4]):
                listener.release(each, "ab"[at % 2])
            assert listener.addresses == {}

    @given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.integers(0, 20)), max_size=60))
    def test_any_coming_and_going(self, steps: list[tuple[bool, str, int]]) -> None:
        with an_ingress(Limits(connections=5, connections_per_address=3)) as ingress:
            listener = ingress.listener
            inside: list[tuple[Open, str]] = []
            for comes, address, which in steps:
                if comes:
                    connection = Open()
                    room = len(inside) < 5 and sum(each == address for _, each in inside) < 3
                    assert listener.admit(connection, address) == room
                    inside += [(connection, address)] * room
                elif inside:
                    listener.release(*inside.pop(which % len(inside)))
                assert listener.connections == {each for each, _ in inside}
                assert listener.addresses.total() == len(inside)
            for connection, address in inside:
                listener.release(connection, address)

    def test_one_object_after_the_other_may_stand_in_one(self) -> None:
        with an_ingress(Limits(connections=1)) as ingress:
            listener, old, new = ingress.listener, Open(), Open()
            listener.admit(old, "a")
            listener.exchange(old, new)
            assert listener.connections == {new}
            listener.replace(new, old)
            assert listener.connections == {old}
            assert ingress.counted("penstock_connections_accepted_total", "test", "open") == 1
            listener.release(old, "a")


class TestDeadlines:
    def test_those_that_are_late_are_asked_and_no_others(self) -> None:
        with an_ingress() as ingress:
            now = ingress.loop.now
            late, due, early, never = opened = [Open(now - 1), Open(now), Open(now + 1), Open()]
            for each in opened:
                ingress.listener.admit(each, "a")
            ingress.listener.sweep()
            assert [each.asked for each in opened] == [["expired"], ["expired"], [], []]
            ingress.wait(1.0)
            assert [each.asked for each in (early, never)] == [["expired"], []]
            for each in (late, due, early, never):
                ingress.listener.release(each, "a")

    def test_a_connection_may_go_while_it_is_asked(self) -> None:
        class Going(Open):
            def expired(self, now: float) -> None:
                ingress.listener.release(self, "a")

        with an_ingress() as ingress:
            for _ in range(5):
                ingress.listener.admit(Going(0.0), "a")
            ingress.listener.sweep()
            assert ingress.listener.connections == set()

    def test_a_bug_in_one_ends_that_one_only(self, caplog: pytest.LogCaptureFixture) -> None:
        with an_ingress() as ingress:
            opened = [Open(0.0) for _ in range(9)]
            opened[3].broken = True
            for each in opened:
                ingress.listener.admit(each, "a")
            ingress.listener.sweep()
            assert opened.pop(3).asked == ["expired", "abort"]
            assert [each.asked for each in opened] == [["expired"]] * 8
            assert "a bug" in caplog.text
            ingress.listener.connections.clear()


class TestEnd:
    def test_draining_is_told_to_all(self) -> None:
        with an_ingress() as ingress:
            opened = [Open(), Open()]
            for each in opened:
                ingress.listener.admit(each, "a")
            ingress.listener.start_draining()
            assert [each.asked for each in opened] == [["drain"], ["drain"]]
            assert ingress.listener.draining
            ingress.listener.connections.clear()

    def test_busy_as_long_as_there_is_a_connection_or_a_request(self) -> None:
        with an_ingress() as ingress:
            listener, connection = ingress.listener, Open()
            assert not listener.busy
            listener.admit(connection, "a")
            assert listener.busy
            listener.release(connection, "a")
            listener.requests_in_flight = 1
            assert listener.busy
            listener.requests_in_flight = 0
            assert not listener.busy


def on_a_socket(
    use: Callable[[Listener, int], Awaitable[None]],
    limits: Limits = Limits(),  # noqa: B008
    deadlines: Deadlines = Deadlines(),  # noqa: B008
) -> None:
    """`use` with a listener that listens, and its port."""

    async def main() -> None:
        config = ListenerConfig("127.0.0.1:0", "test", limits=limits, deadlines=deadlines)
        listener = Listener(config, Service(), no_grpc(asyncio.get_running_loop()), Metrics())
        await listener.open()
        assert listener._socket is not None
        try:
            async with asyncio.timeout(10):
                await use(listener, listener._socket.getsockname()[1])
        finally:
            await listener.close()
            await asyncio.sleep(0.01)
            assert listener.connections == set()

    asyncio.run(main())


class TestSockets:
    def test_serves(self) -> None:
        async def use(listener: Listener, port: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(get())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
            assert listener.busy
            writer.close()
            await eventually(lambda: not listener.busy)

        on_a_socket(use)

    def test_looks_at_the_deadlines_by_itself_and_often_enough(self) -> None:
        async def use(listener: Listener, port: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            begun = time.monotonic()
            assert await reader.read() == b""
            assert 0.15 < time.monotonic() - begun < 2.0
            writer.close()

        on_a_socket(use, deadlines=Deadlines(header=0.2))

    def test_one_connection_too_many_is_closed_and_its_place_can_be_had_later(self) -> None:
        async def use(listener: Listener, port: int) -> None:
            _, first = await asyncio.open_connection("127.0.0.1", port)
            await eventually(lambda: listener.connections)
            reader, second = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            first.close()
            await eventually(lambda: not listener.connections)
            reader, third = await asyncio.open_connection("127.0.0.1", port)
            third.write(get())
            assert await reader.readexactly(12) == b"HTTP/1.1 200"
            second.close()
            third.close()

        on_a_socket(use, Limits(connections=1))

    def test_after_the_last_handshake_it_is_busy_with_those_before(self) -> None:
        async def use(listener: Listener, port: int) -> None:
            with socket.socket() as early, socket.socket() as late:
                early.connect(("127.0.0.1", port))
                assert listener.busy  # though the loop had no turn to accept it
                listener.stop_handshakes()
                late.setblocking(False)
                late.connect_ex(("127.0.0.1", port))
                await eventually(lambda: listener.connections)
                early.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(early, get())
                assert (await loop.sock_recv(early, 100)).startswith(b"HTTP/1.1 200")
                assert len(listener.connections) == 1

        on_a_socket(use)

    def test_closing_ends_all_that_is_left(self) -> None:
        async def use(listener: Listener, port: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await eventually(lambda: listener.connections)
            await listener.close()
            assert await reader.read() == b""
            assert not listener.busy
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

        on_a_socket(use)


class TestBind:
    @pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
    def test_workers_share_a_port(self, address: str) -> None:
        with bind(address) as first:
            port = first.getsockname()[1]
            with bind(f"{address.rpartition(':')[0]}:{port}") as second:
                assert second.getsockname()[1] == port
                assert not second.getblocking()

    def test_peers_that_vanished_are_noticed(self) -> None:
        with bind("127.0.0.1:0") as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            idle = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            pause = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
            tries = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
            assert idle + pause * tries <= 120

    def test_an_address_that_cannot_be_had_is_named(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:  # shares its port with nobody
            address = f"127.0.0.1:{other.getsockname()[1]}"
            with pytest.raises(OSError, match=re.escape(f"cannot listen on {address}: Address already in use")):
                bind(address)
        with pytest.raises(OSError, match=re.escape("cannot listen on 192.0.2.1:1: Cannot assign requested address")):
            bind("192.0.2.1:1")


@pytest.mark.parametrize(
    ("limits", "wanted", "set_to"),
    [
        ((1024, 4096), 2000, (2000, 4096)),
        ((1024, 4096), 9000, (4096, 4096)),
        ((1024, 4096), 1024, None),
        ((1024, 4096), 100, None),
        ((4096, 4096), 9000, None),
        ((1024, resource.RLIM_INFINITY), 9000, (9000, resource.RLIM_INFINITY)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 9000, None),
    ],
)
def test_the_limit_of_open_files_is_only_raised(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], wanted: int, set_to: tuple[int, int] | None
) -> None:
    made: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda which, values: made.append(values))
    allow_files(wanted)
    assert made == ([set_to] if set_to else [])
