"""Gateways that ask who calls, and the clients that they are asked by: REST over HTTP/1.1 and HTTP/2, and gRPC."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import InferInput, service_pb2, service_pb2_grpc

from tests.support.gateway import Gateway
from tests.support.h2_requests import H2Client
from tests.support.issuer import AUDIENCE, ISSUER, jwks
from tests.support.rest import Answer, rest

pb: Any = service_pb2
BODY = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "INT32", "shape": [1], "data": [7]}]}).encode()
Metadata = Sequence[tuple[str, str]]


def jwt_policy(folder: Path, **more: Any) -> dict[str, Any]:
    """A policy that takes the tokens of `tests.support.issuer`, its keys in a file of this folder."""
    file = folder / "keys.json"
    if not file.exists():
        file.write_bytes(jwks())
    return {"kind": "jwt", "issuer": ISSUER, "audiences": [AUDIENCE], "jwks_file": str(file), **more}


def infer(gateway: Gateway, headers: Mapping[str, str] | None = None, model: str = "two_versions") -> Answer:
    return rest(gateway.address, "POST", f"/v2/models/{model}/infer", BODY, headers)


def ask(gateway: Gateway, path: str, headers: Mapping[str, str] | None = None) -> Answer:
    return rest(gateway.address, "GET", path, b"", headers)


def over_h2(gateway: Gateway, headers: Sequence[tuple[str, str]], path: str = "/v2/models/two_versions/infer") -> int:
    """The status of a REST request over HTTP/2."""
    with H2Client(gateway.port) as client:
        pairs = [(name.encode(), value.encode()) for name, value in headers]
        seen = client.response(client.request(path, BODY, pairs))
    return int(dict(seen.headers[0])[b":status"])


def request(model: str = "two_versions", version: str = "") -> Any:
    tensor = InferInput("INPUT0", [1], "INT32")
    tensor.set_data_from_numpy(np.array([7], np.int32))
    message = pb.ModelInferRequest(model_name=model, model_version=version)
    message.inputs.append(tensor._get_tensor())
    message.raw_input_contents.append(np.array([7], np.int32).tobytes())
    return message


class Stub:
    """A stub of grpcio that answers with codes: (code, text, trailing metadata)."""

    def __init__(self, gateway: Gateway) -> None:
        self.channel = grpc.insecure_channel(gateway.address)
        self.stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def call(self, method: str, message: Any, metadata: Metadata = ()) -> tuple[str, str, dict[str, str]]:
        """How a unary call ended."""
        try:
            getattr(self.stub, method)(message, metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            return error.code().name, error.details(), dict(error.trailing_metadata())
        return "OK", "", {}

    def infer(self, metadata: Metadata = (), model: str = "two_versions", version: str = "") -> tuple[str, str, Any]:
        return self.call("ModelInfer", request(model, version), metadata)

    def stream(self, metadata: Metadata = (), model: str = "two_versions") -> tuple[str, str]:
        """How a stream with one request ended, or what its one answer says."""
        try:
            for answer in self.stub.ModelStreamInfer(iter([request(model)]), metadata=metadata, timeout=20):
                return "OK", answer.error_message
        except grpc.RpcError as error:
            return error.code().name, error.details()
        return "OK", "nothing"
