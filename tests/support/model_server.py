"""A real grpcio server that speaks Triton's protocol and does what a test tells it, as no Triton does on demand."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

pb: Any = service_pb2
_services: Any = service_pb2_grpc

Infer = Callable[[Any, grpc.ServicerContext], Any]
Stream = Callable[[Iterator[Any], grpc.ServicerContext], Iterator[Any]]


@dataclass
class Model:
    """What metadata and configuration say of a model: tensors as (name, datatype, shape)."""

    inputs: Sequence[tuple[str, str, Sequence[int]]] = (("INPUT0", "INT32", (-1,)),)
    outputs: Sequence[tuple[str, str, Sequence[int]]] = (("INPUT0", "INT32", (-1,)),)
    decoupled: bool = False
    max_batch_size: int = 0


@dataclass
class ModelServer(_services.GRPCInferenceServiceServicer):  # type: ignore[misc]  # grpc has no types
    """`infer` and `stream` answer; `calls` are (method, request, metadata) in order; `cancelled` are the methods of
    calls that ended before their answer. `faults` are errors by method."""

    infer: Infer = field(default=lambda request, context: echo(request))
    stream: Stream = field(default=lambda requests, context: (streamed(echo(each), final=True) for each in requests))
    models: dict[str, Model] = field(default_factory=lambda: {"m": Model()})
    calls: list[tuple[str, Any, dict[str, str]]] = field(default_factory=list)
    faults: dict[str, tuple[grpc.StatusCode, str]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    address: str = ""

    def called(self, method: str) -> list[Any]:
        """The requests of a method so far."""
        return [request for name, request, _ in self.calls if name == method]

    def _note(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        self.calls.append((method, request, dict(context.invocation_metadata())))
        if method in self.faults:
            context.abort(*self.faults[method])

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("ModelInfer", request, context)
        answered: list[bool] = []
        context.add_callback(lambda: None if answered else self.cancelled.append("ModelInfer"))
        reply = self.infer(request, context)
        answered.append(True)
        return reply

    def ModelStreamInfer(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        self._note("ModelStreamInfer", None, context)
        ended: list[bool] = []
        context.add_callback(lambda: None if ended else self.cancelled.append("ModelStreamInfer"))

        def noted() -> Iterator[Any]:
            for request in requests:
                self.calls.append(("streamed", request, {}))
                yield request

        yield from self.stream(noted(), context)
        ended.append(True)

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("ModelMetadata", request, context)
        model = self._model(request.name, context)
        return pb.ModelMetadataResponse(
            name=request.name,
            versions=[request.version or "1"],
            inputs=[_tensor(*each) for each in model.inputs],
            outputs=[_tensor(*each) for each in model.outputs],
        )

    def ModelConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("ModelConfig", request, context)
        model = self._model(request.name, context)
        reply = pb.ModelConfigResponse()
        reply.config.name = request.name
        reply.config.max_batch_size = model.max_batch_size
        reply.config.model_transaction_policy.decoupled = model.decoupled
        return reply

    def _model(self, name: str, context: grpc.ServicerContext) -> Model:
        if name not in self.models:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Request for unknown model: '{name}' is not found")
        return self.models[name]

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("ModelReady", request, context)
        return pb.ModelReadyResponse(ready=request.name in self.models)

    def ServerLive(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.ServerLiveResponse(live=True)

    def ServerMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("ServerMetadata", request, context)
        return pb.ServerMetadataResponse(name="triton", version="2.51.0", extensions=["parameters"])

    def ModelStatistics(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("ModelStatistics", request, context)
        reply = pb.ModelStatisticsResponse()
        for name in [request.name] if request.name else self.models:
            reply.model_stats.add(name=name, version="1", inference_count=3)
        return reply

    def RepositoryIndex(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("RepositoryIndex", request, context)
        reply = pb.RepositoryIndexResponse()
        for name in self.models:
            reply.models.add(name=name, version="1", state="READY")
        return reply

    def RepositoryModelLoad(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("RepositoryModelLoad", request, context)
        self.models.setdefault(request.model_name, Model())
        return pb.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("RepositoryModelUnload", request, context)
        self.models.pop(request.model_name, None)
        return pb.RepositoryModelUnloadResponse()

    def LogSettings(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._note("LogSettings", request, context)
        reply = pb.LogSettingsResponse()
        for name, value in request.settings.items():
            reply.settings[name].CopyFrom(pb.LogSettingsResponse.SettingValue(bool_param=value.bool_param))
        return reply


def _tensor(name: str, datatype: str, shape: Sequence[int]) -> Any:
    return pb.ModelMetadataResponse.TensorMetadata(name=name, datatype=datatype, shape=shape)


def echo(request: Any) -> Any:
    """Each input back as the output of its name."""
    reply = pb.ModelInferResponse(
        model_name=request.model_name, model_version=request.model_version or "1", id=request.id
    )
    for tensor in request.inputs:
        reply.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    reply.raw_output_contents.extend(request.raw_input_contents)
    return reply


def streamed(reply: Any, final: bool = False, error: str = "") -> Any:
    """A reply of a stream, with the mark that Triton puts on each."""
    reply.parameters["triton_final_response"].bool_param = final
    return pb.ModelStreamInferResponse(infer_response=reply, error_message=error)


def final_of(request: Any) -> Any:
    """The empty response that ends a decoupled request."""
    return streamed(pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id), final=True)


def refusal(request: Any, text: str) -> Any:
    """What a stream says of a request that never ran."""
    return pb.ModelStreamInferResponse(error_message=text, infer_response=pb.ModelInferResponse(id=request.id))


def repeat(request: Any) -> Iterator[Any]:
    """One response per INT32 of the first input, then the end: a decoupled model."""
    for (number,) in struct.iter_unpack("<i", request.raw_input_contents[0]):
        yield streamed(ints_reply(request, [number]))
    yield final_of(request)


def ints_reply(request: Any, numbers: Sequence[int]) -> Any:
    reply = pb.ModelInferResponse(model_name=request.model_name, model_version="1", id=request.id)
    reply.outputs.add(name="OUT", datatype="INT32", shape=[len(numbers)])
    reply.raw_output_contents.append(struct.pack(f"<{len(numbers)}i", *numbers))
    return reply


def request_of(
    model: str = "m", numbers: Sequence[int] = (1, 2, 3), id: str = "", version: str = "", **more: Any
) -> Any:
    """A ModelInferRequest with one INT32 input."""
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=id, **more)
    request.inputs.add(name="INPUT0", datatype="INT32", shape=[len(numbers)])
    request.raw_input_contents.append(struct.pack(f"<{len(numbers)}i", *numbers))
    return request


def numbers_of(reply: Any) -> list[int]:
    """The INT32s of a ModelInferResponse."""
    raw = reply.raw_output_contents[0]
    return list(struct.unpack(f"<{len(raw) // 4}i", raw))


@contextmanager
def model_server(server: ModelServer | None = None, port: int = 0, **told: Any) -> Iterator[ModelServer]:
    """A running server; `told` are fields of `ModelServer`."""
    server = server or ModelServer(**told)
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    running = grpc.server(futures.ThreadPoolExecutor(32), options=options)
    _services.add_GRPCInferenceServiceServicer_to_server(server, running)
    server.address = f"127.0.0.1:{running.add_insecure_port(f'127.0.0.1:{port}')}"
    running.start()
    try:
        yield server
    finally:
        running.stop(None).wait()
