"""Unary calls of inference to a data plane: with grpcio, and frame by frame."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tests.support.data_plane import PlaneThread
from tests.support.h2_client import h2_client
from tests.support.model_server import request_of

INFER = "/inference.GRPCInferenceService/ModelInfer"
LIVE = "/inference.GRPCInferenceService/ServerLive"
Status = grpc.StatusCode


def infer(plane: PlaneThread, request: Any = None, **options: Any) -> Any:
    return plane.stub().ModelInfer(request or request_of(), timeout=options.pop("timeout", 10), **options)


def refused(plane: PlaneThread, request: Any = None, **options: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        infer(plane, request, **options)
    return caught.value.code(), caught.value.details()


def raw(plane: PlaneThread, *pieces: bytes, path: str = INFER, headers: Any = ()) -> Any:
    """A call whose DATA frames are these pieces, the last with END_STREAM."""
    with h2_client(plane.port()) as client:
        stream = client.grpc(path, headers, end=not pieces)
        for position, piece in enumerate(pieces):
            client.send(stream, piece, end=position == len(pieces) - 1)
        return client.finish(stream)
