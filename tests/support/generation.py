"""Models and clients for generate and generate_stream."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import grpc

from tests.support.data_plane import Answer, PlaneThread
from tests.support.model_server import (
    Model,
    repeat,
)

LLM = Model(inputs=[("IN", "INT32", (-1,))], outputs=[("OUT", "INT32", (1,))], decoupled=True)
ONCE = Model(inputs=[("IN", "INT32", (-1,))], outputs=[("IN", "INT32", (-1,))])
ONE, STREAM = "/v2/models/llm/generate", "/v2/models/llm/generate_stream"


def repeat_all(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    for request in requests:
        yield from repeat(request)


def events(answer: Answer) -> list[Any]:
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = answer.body.decode().split("\n\n")
    assert parts.pop() == ""
    return [json.loads(part.removeprefix("data: ")) for part in parts]


def outs(answer: Answer) -> list[Any]:
    return [event.get("OUT", event.get("error")) for event in events(answer)]


def connect(plane: PlaneThread, path: str, document: Any) -> socket.socket:
    """A client that has sent its request and read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
    client.settimeout(20)
    client.connect(("127.0.0.1", plane.port()))
    body = json.dumps(document).encode()
    client.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))
    return client
