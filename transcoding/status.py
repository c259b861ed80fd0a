"""Codes and the one error that callers see.

A `GatewayError` is raised where a fact is known and rendered once, at the ingress, from the table below: HTTP status
and gRPC code side by side. The HTTP column is Triton's own mapping (`HttpCodeFromError` in its http_server.cc) where
Triton has the code, and the usual gRPC-to-HTTP mapping where only a gateway or a gRPC stack produces it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Self


class Code(IntEnum):
    """gRPC status codes, https://grpc.io/docs/guides/status-codes/."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS: dict[int, int] = {
    Code.OK: 200,
    Code.CANCELLED: 400,
    Code.UNKNOWN: 400,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 400,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


class Fault(IntEnum):
    """Whose mistake an error is, and what may be done about it."""

    CLIENT = 0  # the request is wrong: never counts against an endpoint, never retried
    BUSY = 1  # capacity: the worker or the gateway is full
    WORKER = 2  # the endpoint is broken, gone, or answered nonsense
    GATEWAY = 3  # ours
    MODEL = 4  # the model itself answered with an error


class GatewayError(Exception):
    """An answer other than success: `code` for gRPC, `http_status` for HTTP, one message for both.

    `executed` is False when the request provably never reached a model, so that it may be sent elsewhere.
    `retry_after` is in seconds. `fields` are headers, or metadata, of the answer beside those; `problem` has members of
    an RFC 9457 problem detail beside `title`, `status` and `detail`, such as `type`; `details` is an encoded
    `google.rpc.Status` for gRPC's `grpc-status-details-bin`.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        http_status: int | None = None,
        fault: Fault = Fault.CLIENT,
        executed: bool = False,
        retry_after: float | None = None,
        fields: Sequence[tuple[bytes, bytes]] = (),
        problem: Mapping[str, object] | None = None,
        details: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status if http_status is not None else HTTP_STATUS[code]
        self.fault = fault
        self.executed = executed
        self.retry_after = retry_after
        self.fields = tuple(fields)
        self.problem = problem
        self.details = details

    def again(self) -> Self:
        """The same for another call: one object that is raised twice gathers both tracebacks."""
        other = type(self).__new__(type(self), *self.args)
        other.__dict__.update(self.__dict__)
        return other

    def __repr__(self) -> str:
        return f"GatewayError({self.code.name}, {self.http_status}, {self.message!r})"


def invalid(message: str) -> GatewayError:
    """The client's mistake: INVALID_ARGUMENT, HTTP 400."""
    return GatewayError(Code.INVALID_ARGUMENT, message)
