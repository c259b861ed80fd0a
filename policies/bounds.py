"""How large a request may be: bytes, batch, elements and tensors of one inference on this route.

`max_bytes` is the size of the message as it goes to an endpoint, which is a few bytes more than that of its tensors;
what a client may send at all, be it JSON or compressed, is the `limits` of its listener. `max_batch` is the first
dimension of each input, `max_elements` those of all inputs together, `max_tensors` the number of inputs. A request
above a bound is refused before anything is sent: 413 for bytes, 400 for the rest, with the tensor and what was
expected; RESOURCE_EXHAUSTED and INVALID_ARGUMENT over gRPC.

`max_bytes` alone costs nothing; the others have the tensors of gRPC looked at.
"""

from __future__ import annotations

from math import prod
from typing import Annotated

from config.fields import GIB, count, size
from config.node import Node
from policies import Services
from routing.call import Call, Handler, Prepare, Reply
from routing.pool import Pool
from routing.reading import is_written, request_of
from transcoding.message import InferRequest
from transcoding.status import Code, GatewayError, invalid


class Spec(Node, frozen=True):
    """The bounds; at least one."""

    some_of = ("max_bytes", "max_batch", "max_elements", "max_tensors")

    max_bytes: Annotated[int, size("The message, as it goes to an endpoint", 1, 2 * GIB)] | None = None
    max_batch: Annotated[int, count("The first dimension of an input")] | None = None
    max_elements: Annotated[int, count("The elements of all inputs together", 1, 10**12)] | None = None
    max_tensors: Annotated[int, count("The inputs", 1, 4096)] | None = None


class Policy:
    """Looks at a call's message as soon as it is written."""

    needs_body = True

    def __init__(self, spec: Spec, services: Services) -> None:
        self._spec = spec
        self._reads = any(bound is not None for bound in (spec.max_batch, spec.max_elements, spec.max_tensors))

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`. Raises `GatewayError` for what is too large."""
        if is_written(call):
            self.check(call)
        else:
            call.prepare = _Later(self, call.prepare).prepare
        return await next(call)

    def check(self, call: Call) -> None:
        """Raises `GatewayError` for what is too large."""
        most = self._spec.max_bytes
        if most is not None and (total := sum(map(len, call.message))) > most:
            text = f"the request has {total} bytes, more than the {most} that this route takes"
            raise GatewayError(Code.RESOURCE_EXHAUSTED, text, http_status=413)
        if self._reads:
            self._check_tensors(request_of(call))

    def _check_tensors(self, infer: InferRequest) -> None:
        spec = self._spec
        if spec.max_tensors is not None and len(infer.inputs) > spec.max_tensors:
            raise invalid(f"inputs: expected at most {spec.max_tensors} on this route, got {len(infer.inputs)}")
        elements = 0
        for index, tensor in enumerate(infer.inputs):
            batch = tensor.shape[0] if tensor.shape else 1
            if spec.max_batch is not None and batch > spec.max_batch:
                what = f"at most {spec.max_batch} for {tensor.name!r} on this route"
                raise invalid(f"inputs[{index}].shape[0]: expected {what}, got {batch}")
            elements += prod(tensor.shape)
        if spec.max_elements is not None and elements > spec.max_elements:
            raise invalid(f"inputs: expected at most {spec.max_elements} elements on this route, got {elements}")


class _Later:
    """`routing.call.Prepare` of a call whose message is written where it goes."""

    def __init__(self, policy: Policy, before: Prepare | None) -> None:
        self._policy = policy
        self._before = before

    async def prepare(self, pool: Pool, call: Call) -> None:
        if self._before is not None:
            await self._before(pool, call)
        self._policy.check(call)
