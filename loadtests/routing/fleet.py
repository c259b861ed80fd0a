"""The Tritons behind the proxies: real ones, whose models take a set time."""

from __future__ import annotations

import json
import shutil
import struct
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.triton import Triton
from loadtests.exchange import Address, Exchange, WrongAnswerError
from loadtests.load.client import Reply
from loadtests.payloads import GRPC_PATH, pb
from loadtests.peers import Backend
from loadtests.peers.base import HOST
from loadtests.routing.scenarios import MODELS, SERVERS, SERVICE, SLOWED

CODE = Path(__file__).parent / "models" / "timed"
_CONFIG = """name: "{name}"
backend: "python"
max_batch_size: 1
input [ {{ name: "INPUT0" data_type: TYPE_INT32 dims: [ 1 ] }} ]
output [ {{ name: "SERVER" data_type: TYPE_INT32 dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
dynamic_batching {{ }}
parameters {{ key: "seconds" value {{ string_value: "{seconds}" }} }}
parameters {{ key: "server" value {{ string_value: "{server}" }} }}
"""
_METADATA = (("content-type", "application/grpc"), ("te", "trailers"))


@dataclass(frozen=True)
class Endpoint:
    """One Triton, with the port of its metrics."""

    backend: Backend
    metrics: Address


@contextmanager
def fleet(scratch: Path) -> Iterator[list[Endpoint]]:
    """All Tritons, which start and stop at the same time. Raises TritonError."""
    tritons = [Triton(repository(scratch, index), log=scratch / f"triton-{index}.log") for index in range(SERVERS)]
    try:
        for triton in tritons:
            triton.start()
        yield [_endpoint(triton.wait_ready()) for triton in tritons]
    finally:
        for triton in tritons:
            if triton.running:
                triton.terminate()
        for triton in tritons:
            triton.stop()


def _endpoint(triton: Triton) -> Endpoint:
    with urllib.request.urlopen(f"http://{triton.http_address}/v2", timeout=10) as reply:
        version = json.load(reply)["version"]
    rest, grpc, metrics = (Address(HOST, port) for port in (triton.http_port, triton.grpc_port, triton.metrics_port))
    return Endpoint(Backend(rest, grpc, version, triton.pid), metrics)


def repository(scratch: Path, server: int, models: Mapping[str, float] = MODELS) -> Path:
    """Write the models of one server, which are `models` times slower when it is the slowed one."""
    directory = scratch / f"models-{server}"
    for name, slower in models.items():
        shutil.copytree(CODE, directory / name)
        seconds = SERVICE * (slower if server == SLOWED else 1.0)
        (directory / name / "config.pbtxt").write_text(_CONFIG.format(name=name, seconds=seconds, server=server))
    return directory


class Answers:
    """The request to a model, and which server each answer came from."""

    def __init__(self, model: str) -> None:
        request = pb.ModelInferRequest(model_name=model, raw_input_contents=[bytes(4)])
        request.inputs.add(name="INPUT0", datatype="INT32", shape=[1, 1])
        message = request.SerializeToString()
        body = struct.pack(">BI", 0, len(message)) + message
        self.exchange = Exchange("grpc", GRPC_PATH, _METADATA, body, lambda _, reply: self._check(reply))
        self._servers: dict[bytes, int] = {}

    def server(self, reply: Reply) -> int:
        """The number of the server. Raises WrongAnswerError."""
        body = bytes(reply.body)
        if body not in self._servers:
            self._check(body)
        return self._servers[body]

    def _check(self, body: bytes) -> None:
        reply = pb.ModelInferResponse.FromString(body[5:])
        if [output.name for output in reply.outputs] != ["SERVER"] or len(reply.raw_output_contents) != 1:
            raise WrongAnswerError(f"expected the output SERVER, got {reply}")
        (server,) = struct.unpack("<i", reply.raw_output_contents[0])
        if not 0 <= server < SERVERS:
            raise WrongAnswerError(f"expected a server below {SERVERS}, got {server}")
        self._servers[body] = server
