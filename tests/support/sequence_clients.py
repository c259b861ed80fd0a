"""Many stateful sequences at once, each request over HTTP or gRPC in turn and over whichever connection is next.

async with SequenceClients(http_address, grpc_address) as clients:
    await asyncio.gather(*(clients.run(sequence, values) for ...))
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
import tritonclient.grpc as grpc_types
import tritonclient.grpc.aio as grpc_client
import tritonclient.http as http_types
import tritonclient.http.aio as http_client

MODEL = "sequence_sum_many"
CONNECTIONS = 4
AT_ONCE = 64


class SequenceClients:
    """Clients of one gateway or Triton: `CONNECTIONS` of each kind."""

    def __init__(self, http: str, grpc: str) -> None:
        self._addresses = http, grpc
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __aenter__(self) -> SequenceClients:
        http, grpc = self._addresses
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._http = [http_client.InferenceServerClient(http, conn_limit=16) for _ in range(CONNECTIONS)]
        self._grpc = [grpc_client.InferenceServerClient(grpc, channel_args=options) for _ in range(CONNECTIONS)]
        pairs = zip(self._http, self._grpc, strict=True)
        self._next = cycle([pair for each in pairs for pair in ((each[0], http_types), (each[1], grpc_types))])
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in (*self._http, *self._grpc):
            await client.close()

    async def send(self, sequence: int, value: int, *, start: bool = False, end: bool = False) -> int:
        """One request; the sum that it answers. Raises `tritonclient.utils.InferenceServerException`."""
        client, types = next(self._next)
        tensor = types.InferInput("INPUT", [1, 1], "INT32")
        tensor.set_data_from_numpy(np.array([[value]], np.int32))
        flags: dict[str, Any] = {"sequence_id": sequence, "sequence_start": start, "sequence_end": end}
        async with self._turns:
            return int((await client.infer(MODEL, [tensor], **flags)).as_numpy("OUTPUT").flat[0])

    async def run(self, sequence: int, values: Sequence[int], pause: float = 0.0) -> list[int]:
        """A whole sequence, one request after the other with `pause` seconds between; its sums."""
        sums = []
        for step, value in enumerate(values):
            if step:
                await asyncio.sleep(pause)
            sums.append(await self.send(sequence, value, start=step == 0, end=step == len(values) - 1))
        return sums
