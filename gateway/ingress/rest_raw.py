"""A request whose whole body is the data of one tensor: what tensor that is, says the model where it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.ingress.generate import framed
from transcoding.dialects import oip_grpc, oip_json
from transcoding.message import Content, InferRequest

if TYPE_CHECKING:
    from gateway.signatures import Signatures
    from routing.call import Call
    from routing.pool import Pool


class RawRequest:
    """Writes the message of its call, anew for each pool, model and version that the call goes to. `infer` is the
    request as it was written last."""

    def __init__(self, signatures: Signatures, body: Content, headers: dict[bytes, bytes]) -> None:
        self.infer: InferRequest | None = None
        self._signatures = signatures
        self._body = body
        self._headers = headers
        self._written: tuple[Pool, str, str] | None = None

    async def prepare(self, pool: Pool, call: Call) -> None:
        """`routing.call.Prepare`. Raises `GatewayError` for a body that does not fit the model."""
        target = (pool, call.model, call.version)
        if target == self._written:
            return
        signature = await self._signatures.get(pool, call.model, call.version, call.due)
        infer = self.infer = oip_json.decode_raw(self._body, call.model, call.version, signature)
        call.message = framed(oip_grpc.encode_request(infer))
        if (keyed := pool.hash_key) is not None:
            call.hash_key = keyed.of(self._headers, infer)
        self._written = target
