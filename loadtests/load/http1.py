"""An HTTP/1.1 client connection for load: the same request over and over, replies parsed by llhttp."""

from __future__ import annotations

import httptools

from loadtests.exchange import Address, Exchange
from loadtests.load.client import Client, LoadError, Reply


def render(exchange: Exchange, address: Address) -> bytes:
    """The bytes of the exchange's request."""
    headers = (("host", str(address)), *exchange.headers, ("content-length", str(len(exchange.body))))
    head = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"POST {exchange.path} HTTP/1.1\r\n{head}\r\n".encode() + exchange.body


class Http1Client(Client):
    """Keep-alive, one request at a time."""

    def __init__(self, exchange: Exchange, address: Address) -> None:
        super().__init__()
        self._request = render(exchange, address)
        self._parser = httptools.HttpResponseParser(self)
        self._reply = Reply()

    def _next_request(self) -> bytes:
        self._reply = Reply()
        return self._request

    def data_received(self, data: bytes) -> None:
        """Parse what came; the parser calls the `on_` methods."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(LoadError(f"not an HTTP/1.1 reply: {error}"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._reply.headers[name.decode().lower()] = value.decode()

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._reply.body += data

    def on_message_complete(self) -> None:
        """The reply is whole."""
        self._reply.status = self._parser.get_status_code()
        self._finish(self._reply)
