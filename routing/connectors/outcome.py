"""What an endpoint's answer means: whose fault it is, and whether the model may have run.

Only what provably never ran may be sent elsewhere. The texts are Triton's own (core `infer_request.cc`,
`dynamic_batch_scheduler.cc`, `model_repository_manager.cc`); gRPC has one UNAVAILABLE for all of them.
"""

from __future__ import annotations

from enum import IntEnum

from transcoding.grpc_framing import parse_status
from transcoding.http2.errors import ErrorCode
from transcoding.http2.hpack import HeaderBlock
from transcoding.status import Code, Fault, GatewayError

LOADING = "is loading"
UNLOADED = "unloaded"
"""What an index says of a version that somebody unloaded, where it gives a reason for one that did not load."""
DOES_NOT_LOAD = "' does not load: "
QUEUE_REFUSALS = ("Exceeds maximum queue size", "Request timeout expired")
NOT_READY, NO_VERSIONS = "is not at ready state", "has no available versions"
STALE_INVENTORY = (NOT_READY, NO_VERSIONS)
STOPPING = "Server is stopping, scheduler for model has stopped accepting new inference requests"
NOT_HERE = (*STALE_INVENTORY, STOPPING)
UNKNOWN_MODEL, NOT_FOUND = "Request for unknown model: ", " is not found"
CLIENT_CODES = frozenset(
    {Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.OUT_OF_RANGE, Code.FAILED_PRECONDITION}
)
MODEL_BROKEN = frozenset({Code.UNKNOWN, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS})
PATIENCE = 1.0
"""Seconds: whoever gives a call less than this has no right to say that the endpoint hangs."""


class Blame(IntEnum):
    """What an outcome says of an endpoint."""

    NOBODY = 0  # nothing: the client's mistake, a full queue, a model that is not loaded, a refused stream
    MODEL = 1  # the model does not work there
    ENDPOINT = 2  # the endpoint, or the way to it, does not work


def status_of(block: HeaderBlock) -> tuple[int, str] | None:
    """(grpc-status, grpc-message) of a trailer block, None when it has none. Kept with the block, which repeats."""
    memo = block.memo
    if memo is None:
        memo = block.memo = (parse_status(block.fields),)
    assert isinstance(memo, tuple)
    status: tuple[int, str] | None = memo[0]
    return status


def from_status(code: int, message: str) -> GatewayError:
    """The error that an endpoint answered with."""
    try:
        known = Code(code)
    except ValueError:
        text = f"worker answered with unknown code {code}: {message}"
        return GatewayError(Code.UNKNOWN, text, fault=Fault.WORKER, executed=True)
    if message.endswith(QUEUE_REFUSALS):
        return GatewayError(known, message, fault=Fault.BUSY, executed=False, retry_after=1.0)
    if message.endswith(NOT_HERE):
        return GatewayError(known, message, fault=Fault.WORKER, executed=False)
    if missing(message):
        return GatewayError(known, message, fault=Fault.CLIENT, executed=False)
    if known is Code.UNAVAILABLE:
        return GatewayError(known, message, fault=Fault.MODEL, executed=True)
    fault = Fault.CLIENT if known in CLIENT_CODES else Fault.MODEL
    return GatewayError(known, message, fault=fault, executed=True)


def missing(message: str) -> bool:
    """Does this text say that the endpoint does not have the model, or the version, to be called? It may have gone
    since the inventory was read, or with the process that had it."""
    return message.endswith(NOT_HERE) or (message.startswith(UNKNOWN_MODEL) and message.endswith(NOT_FOUND))


def does_not_load(model: str, reason: str, retry_after: float) -> GatewayError:
    """It was tried, and failed for this reason."""
    text = f"model '{model}{DOES_NOT_LOAD}{reason}"
    return GatewayError(Code.UNAVAILABLE, text, fault=Fault.WORKER, retry_after=max(1.0, retry_after))


class NotTaken(GatewayError):
    """A connection ended, or refused a stream, before the endpoint took the request: that one may have it again too."""


class NoOther(GatewayError):
    """Each endpoint that could take the call had it already."""


class AllBroken(GatewayError):
    """Breakers keep the call away from each endpoint that could take it."""


class NotLoaded(GatewayError):
    """The model is known, and READY nowhere."""

    @classmethod
    def of(cls, error: GatewayError) -> NotLoaded:
        """The same answer."""
        return cls(error.code, error.message, fault=error.fault, retry_after=error.retry_after)


class Expired(GatewayError):
    """The deadline passed before the endpoint answered. `granted` is how many seconds it had."""

    def __init__(self, granted: float) -> None:
        super().__init__(Code.DEADLINE_EXCEEDED, "deadline exceeded", fault=Fault.WORKER, executed=True)
        self.granted = granted


def blame(error: GatewayError) -> Blame:
    """Whose failure this is, for breakers. A call that expired counts against the model, which may hang alone, and only
    when it had `PATIENCE`. A connection that ended before it took the request may have been going away: no failure."""
    fault = error.fault
    if fault is Fault.MODEL:
        return Blame.MODEL if error.code in MODEL_BROKEN else Blame.NOBODY
    if fault is not Fault.WORKER or isinstance(error, NotTaken):
        return Blame.NOBODY
    if isinstance(error, Expired):
        return Blame.MODEL if error.granted >= PATIENCE else Blame.NOBODY
    if error.message.endswith(STALE_INVENTORY) or error.code is not Code.UNAVAILABLE:
        return Blame.NOBODY
    return Blame.ENDPOINT


def absent(error: GatewayError) -> bool:
    """Is the model, or the version, not there to be called: unknown, not loaded, still loading or unable to?"""
    if error.executed:
        return False
    message = error.message
    return error.code is Code.NOT_FOUND or message.endswith((LOADING, *STALE_INVENTORY)) or DOES_NOT_LOAD in message


def died(error: GatewayError) -> bool:
    """Did the endpoint, or the connection to it, end while it had the request? The request may be why."""
    return error.fault is Fault.WORKER and error.executed and error.code is Code.UNAVAILABLE


def broken(address: str, code: int, *, executed: bool) -> GatewayError:
    """The endpoint, or the way to it, broke before it answered."""
    reason = ErrorCode(code).name if code in ErrorCode.__members__.values() else f"code {code}"
    text = f"endpoint {address} broke off before it answered ({reason})"
    kind = GatewayError if executed else NotTaken
    return kind(Code.UNAVAILABLE, text, http_status=502, fault=Fault.WORKER, executed=executed)


def compressed(address: str) -> GatewayError:
    """The peer compressed a message, though it was not told that we could read that."""
    text = f"endpoint {address} compressed its answer, which was not asked for"
    return GatewayError(Code.INTERNAL, text, http_status=502, fault=Fault.WORKER, executed=True)


def not_grpc(address: str, block: HeaderBlock) -> GatewayError:
    """The peer answers, but not with gRPC."""
    status = next((value for name, value in block.fields if name == b":status"), b"?").decode("latin-1")
    text = f"endpoint {address} answered HTTP {status} without a gRPC status: is it a gRPC port?"
    return GatewayError(Code.UNAVAILABLE, text, http_status=502, fault=Fault.WORKER, executed=True)
