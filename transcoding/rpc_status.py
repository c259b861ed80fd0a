"""gRPC's richer error model: `google.rpc.Status` with details, as it travels in `grpc-status-details-bin`.

Messages of googleapis' google/rpc/status.proto and error_details.proto, encoded by hand: three fields each.
"""

from __future__ import annotations

import math

from transcoding.protobuf_wire import delimited, text, varint
from transcoding.status import Code

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
_FIRST, _SECOND, _THIRD = 1 << 3, 2 << 3, 3 << 3
_DELIMITED = 2


def retry_status(code: Code, message: str, seconds: float | None) -> bytes:
    """A `google.rpc.Status` with a `RetryInfo` that says in how many seconds to come back; without one for None."""
    status = bytes((_FIRST,)) + varint(code) + text(_SECOND | _DELIMITED, message)
    if seconds is None:
        return status
    detail = text(_FIRST | _DELIMITED, _RETRY_INFO) + delimited(_SECOND | _DELIMITED, _retry_info(seconds))
    return status + delimited(_THIRD | _DELIMITED, detail)


def _retry_info(seconds: float) -> bytes:
    """`RetryInfo`: a `google.protobuf.Duration`, rounded up to milliseconds."""
    whole, thousandths = divmod(math.ceil(seconds * 1e3), 1000)
    duration = b""
    if whole:
        duration += bytes((_FIRST,)) + varint(whole)
    if thousandths:
        duration += bytes((_SECOND,)) + varint(thousandths * 1_000_000)
    return delimited(_FIRST | _DELIMITED, duration)
