"""A stand-in for the gateway, for tests of the demo's own doings: passes bytes to the first Triton.

    python -m tests.support.stand_in_gateway [ends | never_ready] FILE

gRPC goes to the first endpoint of FILE, everything else to the REST port of the same Triton. With `ends` it exits at
once with status 1.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import yaml

HOST = "127.0.0.1"
PREFACE = b"PRI * HTTP/2.0"
Callback = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


def _connected(ports: dict[bool, int]) -> Callback:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        up_reader, up_writer = await asyncio.open_connection(HOST, ports[first.startswith(PREFACE)])
        up_writer.write(first)
        await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))

    return connected


def _admin(status: bytes) -> Callback:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
        writer.close()

    return connected


def _http_port(grpc_port: int) -> int:
    """The REST port of the Triton that has this gRPC port, from its command line."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            options = (process / "cmdline").read_text().split("\0")
            if f"--grpc-port={grpc_port}" in options:
                return next(int(option.partition("=")[2]) for option in options if option.startswith("--http-port="))
    raise LookupError(f"no Triton has the gRPC port {grpc_port}")


async def _serve(file: Path, status: bytes) -> None:
    config = yaml.safe_load(file.read_text())
    grpc_port = _port(config["pools"]["tritons"]["endpoints"][0])
    connected = _connected({True: grpc_port, False: _http_port(grpc_port)})
    await asyncio.start_server(connected, HOST, _port(config["listen"][0]["address"]))
    admin = await asyncio.start_server(_admin(status), HOST, _port(config["admin"]["address"]))
    await admin.serve_forever()


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


if __name__ == "__main__":
    if "ends" in sys.argv:
        sys.exit("the stand-in ends as it was told")
    asyncio.run(_serve(Path(sys.argv[-1]), b"503 No" if "never_ready" in sys.argv else b"200 OK"))
