"""Metadata of a server and of a model as JSON, as Triton's REST API prints them."""

from __future__ import annotations

from typing import Any


def server_metadata(reply: Any) -> dict[str, Any]:
    """A `ServerMetadataResponse`."""
    return {"name": reply.name, "version": reply.version, "extensions": list(reply.extensions)}


def model_metadata(reply: Any) -> dict[str, Any]:
    """A `ModelMetadataResponse`. Shapes include the batch dimension as -1 where the model batches."""
    return {
        "name": reply.name,
        "versions": list(reply.versions),
        "platform": reply.platform,
        "inputs": [_tensor(tensor) for tensor in reply.inputs],
        "outputs": [_tensor(tensor) for tensor in reply.outputs],
    }


def _tensor(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
