"""The hub: what every dialect decodes to and encodes from.

Tensors carry raw bytes in Triton's binary layout: little-endian, row-major, BOOL one byte, FP16 and BF16 two, BYTES as
a 4-byte little-endian length before each element (the binary tensor data extension of the Open Inference Protocol).

The types are msgspec structs because those cost a tenth of a dataclass to make, several times per request.
"""

from __future__ import annotations

import msgspec

Buffer = bytes | memoryview  # a memoryview is one-dimensional, of format "B"
Content = bytes | bytearray  # a whole body; a bytearray is one that nobody changes any more
Parameter = bool | int | float | str
Parameters = dict[str, Parameter]


class Tensor(msgspec.Struct, gc=False):
    """One tensor. `data` is None when it lives in shared memory, which `parameters` then names."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer | None = None
    parameters: Parameters | None = None


class RequestedOutput(msgspec.Struct, gc=False):
    """One output that the client asks for. `binary` None means: as the request's default says."""

    name: str
    parameters: Parameters | None = None
    binary: bool | None = None


class InferRequest(msgspec.Struct, gc=False):
    """One inference request. An empty `outputs` asks for all of them; `version` "" leaves the choice to the route."""

    model: str
    version: str = ""
    id: str = ""
    parameters: Parameters | None = None
    inputs: list[Tensor] = []
    outputs: list[RequestedOutput] = []
    binary_output: bool = False


class InferReply(msgspec.Struct, gc=False):
    """One inference response. `parameters` are those that the backend set."""

    model: str
    version: str
    id: str = ""
    parameters: Parameters | None = None
    outputs: list[Tensor] = []


class ModelSignature(msgspec.Struct, frozen=True, gc=False):
    """What one model version takes and gives, from its metadata and configuration.

    `inputs` and `outputs` map a tensor's name to (datatype, shape). Shapes are those of the metadata: -1 for a variable
    dimension, and with `max_batch_size` > 0 the first dimension is the batch, -1. Inputs in `optional` may be left out;
    the shapes of those in `shaped_freely` follow other rules: they are shape tensors themselves.
    """

    name: str
    version: str
    max_batch_size: int
    decoupled: bool
    inputs: dict[str, tuple[str, tuple[int, ...]]]
    outputs: dict[str, tuple[str, tuple[int, ...]]]
    optional: frozenset[str] = frozenset()
    shaped_freely: frozenset[str] = frozenset()
