"""Requests that are known to end a worker, refused before one sees them.

Triton 2.51 dies of `classification` on an output of type BYTES. The type is looked up in the model's own metadata,
each time that a call is about to be sent to a pool, since a policy may have chosen another one, or another model.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from transcoding.message import InferRequest
from transcoding.status import invalid

if TYPE_CHECKING:
    from gateway.signatures import Signatures
    from routing.call import Call, Prepare
    from routing.pool import Pool

CLASSIFICATION = "classification"


def classified(infer: InferRequest) -> list[str]:
    """The names of the outputs for which a request asks for classification."""
    return [output.name for output in infer.outputs if output.parameters and CLASSIFICATION in output.parameters]


class Guard:
    """Checks the few requests that ask for classification."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    def of(self, names: Iterable[str]) -> Prepare:
        """What refuses a call that asks for classification of the outputs of these names, for wherever it is sent."""

        async def check(pool: Pool, call: Call) -> None:
            await self.check_classified(pool, call.model, call.version, names, call.due)

        return check

    async def check_classified(
        self, pool: Pool, model: str, version: str, names: Iterable[str], deadline: float | None
    ) -> None:
        """Refuse classification of BYTES by this model and version of a pool. Raises `GatewayError` INVALID_ARGUMENT,
        and what asking for the model's metadata raises."""
        signature = await self._signatures.get(pool, model, version, deadline)
        for name in names:
            datatype, _ = signature.outputs.get(name, ("", ()))
            if datatype == "BYTES":
                raise invalid(f"outputs: classification of '{name}' is not possible, its datatype is BYTES")
