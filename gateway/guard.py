"""Requests that are known to end a worker, refused before one sees them.

Triton 2.51 dies of `classification` on an output of type BYTES. The type is looked up in the model's own metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from transcoding.message import InferRequest
from transcoding.status import invalid

if TYPE_CHECKING:
    from gateway.signatures import Signatures
    from routing.pool import Pool

CLASSIFICATION = "classification"


class Guard:
    """Checks the few requests that ask for classification."""

    def __init__(self, signatures: Signatures) -> None:
        self._signatures = signatures

    async def check_outputs(self, pool: Pool, infer: InferRequest, deadline: float | None) -> None:
        """Refuse classification of BYTES by the model and version of a request that is to go to this pool. Raises
        `GatewayError` INVALID_ARGUMENT, and what asking for the model's metadata raises."""
        names = [output.name for output in infer.outputs if output.parameters and CLASSIFICATION in output.parameters]
        if names:
            await self.check_classified(pool, infer.model, infer.version, names, deadline)

    async def check_classified(
        self, pool: Pool, model: str, version: str, names: Iterable[str], deadline: float | None
    ) -> None:
        """The same for the outputs of these names, of which classification is asked."""
        signature = await self._signatures.get(pool, model, version, deadline)
        for name in names:
            datatype, _ = signature.outputs.get(name, ("", ()))
            if datatype == "BYTES":
                raise invalid(f"outputs: classification of '{name}' is not possible, its datatype is BYTES")
