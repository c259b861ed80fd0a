"""A transcoding gateway as one would write it in an afternoon: aiohttp, orjson, numpy, protobuf, grpc.aio on uvloop.

A peer of the benchmarks and nothing else: it knows the datatypes that they use, and one error answer. It is no straw
man: aiohttp's low-level server skips routing and middleware, the channel is made once, and numbers are rendered by
orjson from numpy without a Python list.

    python -m loadtests.obvious_build --listen HOST:PORT --backend HOST:PORT
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
from typing import Any

import grpc
import grpc.aio
import numpy as np
import orjson
import uvloop
from aiohttp import web
from tritonclient.grpc import service_pb2

pb: Any = service_pb2  # its classes are made when it is imported
_DTYPES = {"INT32": np.dtype("<i4"), "FP32": np.dtype("<f4")}
_INFER = re.compile(r"/v2/models/([^/]+)/infer")
_HEADER_LENGTH = "Inference-Header-Content-Length"


def decode(model: str, body: bytes, header_length: int | None) -> Any:
    """An OIP REST body, with JSON or binary tensors, as gRPC's message. Raises KeyError, ValueError."""
    head = orjson.loads(body if header_length is None else body[:header_length])
    at = header_length or 0
    request = pb.ModelInferRequest(model_name=model)
    for tensor in head["inputs"]:
        request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        if "data" in tensor:
            raw = np.array(tensor["data"], dtype=_DTYPES[tensor["datatype"]]).tobytes()
        else:
            size = tensor["parameters"]["binary_data_size"]
            raw, at = body[at : at + size], at + size
        request.raw_input_contents.append(raw)
    return request


def encode(reply: Any) -> bytes:
    """gRPC's answer as an OIP REST body with JSON tensors."""
    outputs: list[dict[str, Any]] = []
    for output, raw in zip(reply.outputs, reply.raw_output_contents, strict=True):
        data = np.frombuffer(raw, dtype=_DTYPES[output.datatype])
        outputs.append({"name": output.name, "datatype": output.datatype, "shape": list(output.shape), "data": data})
    answer = {"model_name": reply.model_name, "model_version": reply.model_version, "outputs": outputs}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


class Gateway:
    """Answers each POST of an infer route by one gRPC call, every other request with 200."""

    def __init__(self, backend: str) -> None:
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._infer = grpc.aio.insecure_channel(backend, options=unlimited).unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """aiohttp's handler."""
        route = _INFER.fullmatch(request.path)
        if route is None:
            return web.Response()
        length = request.headers.get(_HEADER_LENGTH)
        try:
            message = decode(route[1], await request.content.read(), int(length) if length else None)
            reply = await self._infer(message)
        except (KeyError, ValueError, grpc.aio.AioRpcError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.Response(body=encode(reply), content_type="application/json")


async def serve(host: str, port: int, backend: str) -> None:
    """Serve until SIGTERM."""
    runner = web.ServerRunner(web.Server(Gateway(backend)))
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=4096).start()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--backend", required=True, metavar="HOST:PORT")
    chosen = parser.parse_args()
    host, port = chosen.listen.rsplit(":", 1)
    uvloop.run(serve(host, int(port), chosen.backend))


if __name__ == "__main__":
    main()
