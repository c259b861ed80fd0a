"""What models take and give: metadata and configuration of a model, asked once and kept until the inventory changes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from routing.call import Call
from routing.connectors.grpc_h2 import deadline_exceeded
from routing.pool import Pool
from routing.tasks import spawn
from transcoding.dialects.oip_messages import message_class
from transcoding.grpc_framing import encode_message
from transcoding.message import ModelSignature
from transcoding.methods import BY_NAME
from transcoding.status import Code, Fault, GatewayError

REMEMBERED = 1024
MAX_AGE = 10.0
PATIENCE = 10.0
"""Seconds for a worker's answer to one question, whoever waits for it."""
METADATA, CONFIG = BY_NAME["ModelMetadata"], BY_NAME["ModelConfig"]

Key = tuple[str, str, str]


@dataclass(slots=True)
class _Entry:
    generation: int
    asked: float
    task: asyncio.Task[ModelSignature | GatewayError]

    def good(self, generation: int, now: float) -> bool:
        """Whether to wait for this question, or use its answer. A failure answers only those who waited for it."""
        task = self.task
        failed = task.done() and (task.exception() is not None or isinstance(task.result(), GatewayError))
        return self.generation == generation and now - self.asked <= MAX_AGE and not failed


class Signatures:
    """Signatures by pool, model and version; concurrent questions for one are asked once.

    They are asked anew after `MAX_AGE` seconds: a model that is replaced under the same version shows in no inventory.
    """

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}

    async def get(self, pool: Pool, model: str, version: str, deadline: float | None = None) -> ModelSignature:
        """The signature. Raises `GatewayError` as an inference on that model would, DEADLINE_EXCEEDED among them."""
        key = (pool.name, model, version)
        entry = self._entries.get(key)
        now = asyncio.get_running_loop().time()
        if entry is None or not entry.good(pool.generation, now):
            if len(self._entries) >= REMEMBERED:
                self._entries.clear()
            task = spawn(_ask_once(pool, model, version), f"signature of {model}")
            entry = self._entries[key] = _Entry(pool.generation, now, task)
        answer = entry.task.result() if entry.task.done() else await _wait(entry.task, deadline)
        if isinstance(answer, GatewayError):
            raise answer.with_traceback(None)
        return answer

    def forget(self) -> None:
        """A model was loaded or unloaded."""
        self._entries.clear()


async def _wait(
    task: asyncio.Task[ModelSignature | GatewayError], deadline: float | None
) -> ModelSignature | GatewayError:
    """The answer for one of those who wait for it: that it gives up does not end the question."""
    try:
        async with asyncio.timeout_at(deadline):
            return await asyncio.shield(task)
    except TimeoutError:
        raise deadline_exceeded() from None


async def _ask_once(pool: Pool, model: str, version: str) -> ModelSignature | GatewayError:
    try:
        return await ask(pool, model, version)
    except GatewayError as error:
        return error
    except DecodeError:
        text = f"the worker's description of '{model}' is not the protobuf message that it should be"
        return GatewayError(Code.INTERNAL, text, http_status=502, fault=Fault.WORKER, executed=True)


async def ask(pool: Pool, model: str, version: str) -> ModelSignature:
    """Ask an endpoint of the pool for metadata and configuration. Raises `GatewayError`, and DecodeError."""
    question = message_class("ModelMetadataRequest")(name=model, version=version).SerializeToString()
    message = (encode_message((question,)),)
    deadline = asyncio.get_running_loop().time() + PATIENCE
    metadata_reply, config_reply = await asyncio.gather(
        pool.forward(Call(METADATA, model, version, message, deadline=deadline)),
        pool.forward(Call(CONFIG, model, version, message, deadline=deadline)),
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
        optional=frozenset(tensor.name for tensor in config.input if tensor.optional),
        shaped_freely=frozenset(tensor.name for tensor in config.input if tensor.is_shape_tensor),
    )
