"""What a call that has to wait is told: 429 where its own limit is used up, 503 where there is no room for anybody.

Problem types are those of the IETF's draft-ietf-httpapi-ratelimit-headers §6, the gRPC side a `google.rpc.RetryInfo`.
An own limit is the client's fault, so that nobody sends the call again for it; missing room is capacity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from transcoding.status import Code, Fault, GatewayError

QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY: Final = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

Fields = Sequence[tuple[bytes, bytes]]


def over_limit(message: str, wait: float, policies: Sequence[str], fields: Fields = ()) -> GatewayError:
    """The limits of these names are used up by the caller itself: RESOURCE_EXHAUSTED, 429. `wait` is in how many
    seconds that ends, infinity for never."""
    return _refusal(Code.RESOURCE_EXHAUSTED, Fault.CLIENT, QUOTA_EXCEEDED, message, wait, policies, fields)


def no_room(message: str, wait: float, policies: Sequence[str], fields: Fields = ()) -> GatewayError:
    """There is more to do than can be done, whoever asks: UNAVAILABLE, 503."""
    return _refusal(Code.UNAVAILABLE, Fault.BUSY, REDUCED_CAPACITY, message, wait, policies, fields)


def _refusal(
    code: Code, fault: Fault, kind: str, message: str, wait: float, policies: Sequence[str], fields: Fields
) -> GatewayError:
    from transcoding.rpc_status import retry_status  # NumPy comes with it, which reading a file must not cost

    known = None if math.isinf(wait) else wait
    return GatewayError(
        code,
        message,
        fault=fault,
        retry_after=None if known is None else float(max(1, math.ceil(known))),
        fields=fields,
        problem={"type": kind, "violated-policies": list(policies)},
        details=retry_status(code, message, known),
    )
