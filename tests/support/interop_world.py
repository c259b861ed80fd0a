"""The gateway that other people's programs meet, and the requests that they make of it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trustme

from deploy.triton import free_ports
from tests.support.counters import assert_nothing_held
from tests.support.gateway import ALL_APIS, Gateway
from tests.support.messages import infer_request
from tests.support.triton import start_triton
from transcoding.grpc_framing import encode_message

MODELS = ("simple", "id_fp32", "repeat_int32", "slow")
INFER, LIVE = "/v2/models/simple/infer", "/v2/health/live"
GRPC_INFER = "/inference.GRPCInferenceService/ModelInfer"
GRPC_FIELDS = ("-H", "content-type: application/grpc", "-H", "te: trailers")
BRIEF = 5
"""Requests after which a connection of the brief listener is told to go."""

LEFT = np.arange(16, dtype=np.int32).reshape(1, 16)
RIGHT = np.full((1, 16), 3, np.int32)


def simple_message(id: str = "") -> Any:
    """A ModelInferRequest for `simple`: LEFT and RIGHT."""
    return infer_request("simple", id, INPUT0=LEFT, INPUT1=RIGHT)


def grpc_body() -> bytes:
    """The same as the body of a gRPC call."""
    return encode_message((simple_message().SerializeToString(),))


def is_simple(reply: Any) -> bool:
    """Is this ModelInferResponse the right one?"""
    total, difference = (np.frombuffer(raw, np.int32) for raw in reply.raw_output_contents)
    return bool((total == LEFT + RIGHT).all() and (difference == LEFT - RIGHT).all())


def simple_document() -> bytes:
    """The same as JSON."""
    inputs = [("INPUT0", LEFT), ("INPUT1", RIGHT)]
    tensors = [{"name": name, "datatype": "INT32", "shape": [1, 16], "data": data.tolist()} for name, data in inputs]
    return json.dumps({"inputs": tensors}).encode()


def is_simple_document(document: Any) -> bool:
    """Is this JSON the right answer?"""
    outputs = {output["name"]: output["data"] for output in document["outputs"]}
    return outputs == {"OUTPUT0": (LEFT + RIGHT)[0].tolist(), "OUTPUT1": (LEFT - RIGHT)[0].tolist()}


def identity_document(count: int) -> bytes:
    """JSON for `id_fp32` with the numbers 0, 1, ... count - 1; its answer holds them too."""
    tensor = {"name": "INPUT0", "datatype": "FP32", "shape": [count], "data": list(range(count))}
    return json.dumps({"inputs": [tensor]}).encode()


def slow_document(seconds: float) -> bytes:
    """JSON for `slow`, which answers after so long."""
    return json.dumps({"inputs": [{"name": "INPUT0", "datatype": "FP32", "shape": [1], "data": [seconds]}]}).encode()


def repeat_message(numbers: list[int], delay_ms: int = 0, id: str = "") -> Any:
    """A ModelInferRequest for the decoupled `repeat_int32`: one response for each number."""
    delays = np.full(len(numbers), delay_ms, np.uint32)
    return infer_request("repeat_int32", id, IN=np.array(numbers, np.int32), DELAY=delays, WAIT=np.zeros(1, np.uint32))


def repeated(reply: Any) -> int:
    """The number in one of its ModelStreamInferResponses."""
    assert not reply.error_message
    number: int = struct.unpack("<i", reply.infer_response.raw_output_contents[0])[0]
    return number


@dataclass(frozen=True)
class World:
    """A gateway with three listeners before a Triton: `address` in cleartext, `secure` with TLS, and `brief`, which
    sends clients away after `BRIEF` requests. `ca` is the file that `secure` is to be verified with."""

    gateway: Gateway
    secure: str
    brief: str
    ca: Path

    @property
    def address(self) -> str:
        return self.gateway.address

    def url(self, path: str) -> str:
        return f"http://{self.address}{path}"

    def assert_calm(self) -> None:
        """Nothing is held, and nothing went wrong inside."""
        assert_nothing_held(self.gateway)
        log = self.gateway.log.read_text()
        assert "Traceback" not in log, log

    def secure_url(self, path: str) -> str:
        return f"https://{self.secure}{path}"


@contextmanager
def interop_world(directory: Path) -> Iterator[World]:
    """The gateway, while it runs."""
    gateway = Gateway([start_triton(MODELS).grpc_address])
    secure, brief = (f"127.0.0.1:{port}" for port in free_ports(2))
    ca, listeners = directory / "ca.pem", gateway.config["listen"]
    listeners.append({"address": secure, "apis": list(ALL_APIS), "tls": _certificate(directory, ca)})
    listeners.append({"address": brief, "limits": {"requests_per_connection": BRIEF}})
    with gateway:
        yield World(gateway, secure, brief, ca)


def _certificate(directory: Path, ca: Path) -> dict[str, str]:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    files = {"certificate": directory / "server.pem", "key": directory / "server.key"}
    authority.cert_pem.write_to_path(ca)
    leaf.cert_chain_pems[0].write_to_path(files["certificate"])
    leaf.private_key_pem.write_to_path(files["key"])
    return {name: str(path) for name, path in files.items()}
