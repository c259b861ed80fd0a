"""A Triton without models: a real grpcio server for `GRPCInferenceService` whose inference is told what to do.

What a model does is its name:

* `echo` answers with its inputs, as outputs of the same names;
* `slow` answers like `echo` once `release` is set, or its client gives up;
* `big` answers with one UINT8 output of `size` bytes, a request parameter;
* `stream` is decoupled: `count` responses of `size` bytes each, then the empty final one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

_messages: Any = service_pb2
_configs: Any = model_config_pb2
_services: Any = service_pb2_grpc

MODELS = ("echo", "slow", "big", "stream")
THREADS = 64


class FakeBackend(_services.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated at import
    """Counts `requests` by model, those `active` now, and those that were `cancelled`."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.requests: dict[str, int] = dict.fromkeys(MODELS, 0)
        self.active = 0
        self.cancelled = 0
        self.address = ""
        self._lock = threading.Lock()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(THREADS),
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ),
        )

    def __enter__(self) -> FakeBackend:
        _services.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._server.stop(None).wait(5)

    # management

    def ModelStatistics(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Nothing is counted."""
        return _messages.ModelStatisticsResponse()

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _messages.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _messages.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _messages.ModelReadyResponse(ready=request.name in MODELS)

    def ServerMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _messages.ServerMetadataResponse(name="fake", version="0")

    def RepositoryIndex(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = _messages.RepositoryIndexResponse()
        for name in MODELS:
            answer.models.add(name=name, version="1", state="READY")
        return answer

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = _messages.ModelMetadataResponse(name=request.name, versions=["1"], platform="fake")
        answer.inputs.add(name="IN", datatype="UINT8", shape=[-1])
        answer.outputs.add(name="OUT", datatype="UINT8", shape=[-1])
        return answer

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        config = _configs.ModelConfig(name=request.name)
        config.model_transaction_policy.decoupled = request.name == "stream"
        return _messages.ModelConfigResponse(config=config)

    # inference

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            self.requests[request.model_name] += 1
            self.active += 1
        try:
            if request.model_name == "slow":
                self._wait(context)
            if request.model_name == "big":
                return one_output(request, bytes(request.parameters["size"].int64_param))
            return echo(request)
        finally:
            with self._lock:
                self.active -= 1

    def _wait(self, context: grpc.ServicerContext) -> None:
        gone = threading.Event()
        context.add_callback(gone.set)
        while not self.release.is_set() and not gone.wait(0.005):
            pass
        if gone.is_set():
            with self._lock:
                self.cancelled += 1

    def ModelStreamInfer(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        gone = threading.Event()
        context.add_callback(gone.set)
        with self._lock:
            self.active += 1
        try:
            for request in requests:
                self.requests[request.model_name] += 1
                yield from self._responses(request, gone)
        except grpc.RpcError:
            gone.set()  # the other end reset the stream
        finally:
            with self._lock:
                self.active -= 1
                self.cancelled += gone.is_set()

    def _responses(self, request: Any, gone: threading.Event) -> Iterator[Any]:
        payload = bytes(request.parameters["size"].int64_param)
        for _ in range(request.parameters["count"].int64_param):
            if gone.is_set():
                return
            yield _messages.ModelStreamInferResponse(infer_response=one_output(request, payload))
        final = _messages.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
        final.parameters["triton_final_response"].bool_param = True
        yield _messages.ModelStreamInferResponse(infer_response=final)


def echo(request: Any) -> Any:
    """A response whose outputs are the request's inputs."""
    answer = _messages.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    for tensor in request.inputs:
        answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    answer.raw_output_contents.extend(request.raw_input_contents)
    return answer


def one_output(request: Any, payload: bytes) -> Any:
    """A response with one UINT8 output."""
    answer = _messages.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    answer.outputs.add(name="OUT", datatype="UINT8", shape=[len(payload)])
    answer.raw_output_contents.append(payload)
    return answer
