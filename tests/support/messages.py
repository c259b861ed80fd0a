"""Triton's gRPC messages from NumPy arrays, for tests that speak to the stub."""

from __future__ import annotations

from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype as _datatype_of

messages: Any = service_pb2
_services: Any = service_pb2_grpc
np_to_triton_dtype: Any = _datatype_of  # without annotations


def infer_request(model: str, id: str = "", /, **inputs: np.ndarray[Any, Any]) -> Any:
    """A `ModelInferRequest` with the arrays as raw inputs."""
    request = messages.ModelInferRequest(model_name=model, id=id)
    for name, array in inputs.items():
        request.inputs.add(name=name, datatype=np_to_triton_dtype(array.dtype), shape=array.shape)
        request.raw_input_contents.append(array.tobytes())
    return request


def stub(channel: Any) -> Any:
    """The stub of `inference.GRPCInferenceService` on a channel, blocking or asyncio."""
    return _services.GRPCInferenceServiceStub(channel)
