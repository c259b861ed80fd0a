"""What models take and give: metadata and configuration of a model, asked once and kept until the inventory changes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from routing.call import Call
from routing.pool import Pool
from routing.tasks import spawn
from transcoding.dialects.oip_messages import message_class
from transcoding.grpc_framing import encode_message
from transcoding.message import ModelSignature
from transcoding.methods import BY_NAME
from transcoding.status import GatewayError

REMEMBERED = 1024
MAX_AGE = 10.0
METADATA, CONFIG = BY_NAME["ModelMetadata"], BY_NAME["ModelConfig"]

Key = tuple[str, str, str]


@dataclass(slots=True)
class _Entry:
    generation: int
    asked: float
    task: asyncio.Task[ModelSignature | GatewayError]


class Signatures:
    """Signatures by pool, model and version; concurrent questions for one are asked once.

    They are asked anew after `MAX_AGE` seconds: a model that is replaced under the same version shows in no inventory.
    """

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}

    async def get(self, pool: Pool, model: str, version: str) -> ModelSignature:
        """The signature. Raises `GatewayError` as an inference on that model would."""
        key = (pool.name, model, version)
        entry = self._entries.get(key)
        now = asyncio.get_running_loop().time()
        if entry is None or entry.generation != pool.generation or now - entry.asked > MAX_AGE:
            if len(self._entries) >= REMEMBERED:
                self._entries.clear()
            task = spawn(_ask_once(pool, model, version), f"signature of {model}")
            entry = self._entries[key] = _Entry(pool.generation, now, task)
        answer = await asyncio.shield(entry.task)
        if isinstance(answer, GatewayError):
            self._entries.pop(key, None)
            raise answer
        return answer

    def forget(self) -> None:
        """A model was loaded or unloaded."""
        self._entries.clear()


async def _ask_once(pool: Pool, model: str, version: str) -> ModelSignature | GatewayError:
    try:
        return await ask(pool, model, version)
    except GatewayError as error:
        return error


async def ask(pool: Pool, model: str, version: str) -> ModelSignature:
    """Ask an endpoint of the pool for metadata and configuration."""
    question = message_class("ModelMetadataRequest")(name=model, version=version).SerializeToString()
    message = (encode_message((question,)),)
    metadata_reply, config_reply = await asyncio.gather(
        pool.forward(Call(METADATA, model, version, message)), pool.forward(Call(CONFIG, model, version, message))
    )
    metadata = message_class("ModelMetadataResponse").FromString(bytes(metadata_reply.payload))
    config = message_class("ModelConfigResponse").FromString(bytes(config_reply.payload)).config
    return ModelSignature(
        name=model,
        version=version,
        max_batch_size=config.max_batch_size,
        decoupled=config.model_transaction_policy.decoupled,
        inputs={tensor.name: (tensor.datatype, tuple(tensor.shape)) for tensor in metadata.inputs},
        outputs={tensor.name: (tensor.datatype, tuple(tensor.shape)) for tensor in metadata.outputs},
    )
