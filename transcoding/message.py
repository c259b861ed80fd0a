"""The hub: what every dialect decodes to and encodes from.

Tensors carry raw bytes in Triton's binary layout: little-endian, row-major, BOOL one byte, FP16 and BF16 two, BYTES as
a 4-byte little-endian length before each element (the binary tensor data extension of the Open Inference Protocol).
"""

from __future__ import annotations

from dataclasses import dataclass, field

Buffer = bytes | memoryview  # a memoryview is one-dimensional, of format "B"
Parameter = bool | int | float | str
Parameters = dict[str, Parameter]


@dataclass(slots=True)
class Tensor:
    """One tensor. `data` is None when it lives in shared memory, which `parameters` then names."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer | None = None
    parameters: Parameters | None = None


@dataclass(slots=True)
class RequestedOutput:
    """One output that the client asks for. `binary` None means: as the request's default says."""

    name: str
    parameters: Parameters | None = None
    binary: bool | None = None


@dataclass(slots=True)
class InferRequest:
    """One inference request. An empty `outputs` asks for all of them; `version` "" leaves the choice to the route."""

    model: str
    version: str = ""
    id: str = ""
    parameters: Parameters | None = None
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[RequestedOutput] = field(default_factory=list)
    binary_output: bool = False


@dataclass(slots=True)
class InferReply:
    """One inference response. `parameters` are those that the backend set."""

    model: str
    version: str
    id: str = ""
    parameters: Parameters | None = None
    outputs: list[Tensor] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class ModelSignature:
    """What one model version takes and gives, from its metadata and configuration.

    `inputs` and `outputs` map a tensor's name to (datatype, shape). Shapes are those of the metadata: -1 for a variable
    dimension, and with `max_batch_size` > 0 the first dimension is the batch, -1.
    """

    name: str
    version: str
    max_batch_size: int
    decoupled: bool
    inputs: dict[str, tuple[str, tuple[int, ...]]]
    outputs: dict[str, tuple[str, tuple[int, ...]]]
