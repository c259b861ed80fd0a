"""Compares the tensors of a request with the model's own metadata, before anything is sent.

What does not fit is refused with 400 (INVALID_ARGUMENT) and named: an input that the model does not have or that is
missing, a datatype, a shape, a batch above the model's limit or of two sizes, bytes that are too few or too many for
their shape, an output that there is not. It makes no difference whether tensors came as JSON, as binary data or over
gRPC. So no such request waits in a queue, and none is batched with good ones.

The metadata is that of the model and version that the request goes to, asked for once and kept; a fallback's is another
one. Where nothing is known of a model the request passes, and the endpoint says what it thinks of it, unless
`unknown: refuse` is said. Inputs in shared
memory are compared by name, datatype and shape. Over gRPC this is the one policy, beside `cache`, that has tensors
looked at all; they still travel as they came.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from config.node import Node
from policies import Services, Signature
from routing.call import Call, Handler, Prepare, Reply
from routing.pool import Pool
from routing.reading import is_written, request_of
from transcoding.status import Code, GatewayError


class Spec(Node, frozen=True):
    """What becomes of requests that cannot be compared."""

    unknown: Annotated[
        Literal["pass", "refuse"], Meta(description="What becomes of requests when nobody says what the model takes")
    ] = "pass"


class Policy:
    """Has each call checked when it is about to be sent to a pool, since which model that is a policy may change."""

    needs_body = True

    def __init__(self, spec: Spec, services: Services) -> None:
        self._signature = services.signature
        self._passes = spec.unknown == "pass"

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`. A request that does not fit its model raises `GatewayError` INVALID_ARGUMENT there."""
        if call.exchange is None or is_written(call):
            call.prepare = _Checked(self._signature, self._passes, call.prepare).prepare
        return await next(call)


class _Checked:
    """`routing.call.Prepare` of one call: what was to be done before, then the check, once for each target."""

    def __init__(self, signature: Signature, passes: bool, before: Prepare | None) -> None:
        self._signature = signature
        self._passes = passes
        self._before = before
        self._target: tuple[Pool, str, str] | None = None

    async def prepare(self, pool: Pool, call: Call) -> None:
        if self._before is not None:
            await self._before(pool, call)
        target = (pool, call.model, call.version)
        if target != self._target:
            try:
                signature = await self._signature(pool, call.model, call.version, call.due)
            except GatewayError as error:
                if error.code is Code.DEADLINE_EXCEEDED or not self._passes:
                    raise
                return
            from transcoding.signature_check import check_request  # NumPy comes with it

            check_request(request_of(call), signature)
            self._target = target
