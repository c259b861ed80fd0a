"""Time per operation of the dialects, each step of a request alone. One process, no sockets; a figure is the best of
several rounds, since everything that disturbs a round makes it slower.

    python -m loadtests.micro_dialects [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson

from transcoding import compression
from transcoding.dialects import generate, oip_grpc, oip_json
from transcoding.message import InferReply, InferRequest, ModelSignature, Tensor
from transcoding.metadata import Forwarding
from transcoding.tensor import join_elements

ROUNDS = 7
ROUND_SECONDS = 0.05


def measure(call: Callable[[], object]) -> float:
    """Microseconds of one call."""
    started = time.perf_counter()
    call()
    once = time.perf_counter() - started
    number = max(1, int(ROUND_SECONDS / max(once, 1e-7)))
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(number):
            call()
        best = min(best, (time.perf_counter() - started) / number)
    return best * 1e6


def json_body(*tensors: tuple[str, str, np.ndarray], nested: bool = False) -> bytes:
    inputs = [
        {"name": name, "shape": array.shape, "datatype": kind, "data": array if nested else array.ravel()}
        for name, kind, array in tensors
    ]
    return orjson.dumps({"inputs": inputs}, option=orjson.OPT_SERIALIZE_NUMPY)


def round_trip(label: str, body: bytes, reply: InferReply) -> dict[str, Callable[[], object]]:
    """The four steps of a REST request to a gRPC worker."""
    request = oip_json.decode_request(body, None, "simple", "")
    answer = b"".join(oip_grpc.encode_reply(reply))
    decoded = oip_grpc.decode_reply(answer)

    def there() -> object:
        return oip_grpc.encode_request(oip_json.decode_request(body, None, "simple", ""))

    def back() -> object:
        return oip_json.encode_reply(oip_grpc.decode_reply(answer), request)

    return {
        f"{label}: JSON to hub": lambda: oip_json.decode_request(body, None, "simple", ""),
        f"{label}: hub to protobuf": lambda: oip_grpc.encode_request(request),
        f"{label}: JSON request to protobuf": there,
        f"{label}: protobuf to hub": lambda: oip_grpc.decode_reply(answer),
        f"{label}: hub to JSON": lambda: oip_json.encode_reply(decoded, request),
        f"{label}: protobuf reply to JSON": back,
    }


def small() -> dict[str, Callable[[], object]]:
    numbers = np.arange(16, dtype=np.int32).reshape(1, 16)
    pair = [(name, "INT32", numbers) for name in ("INPUT0", "INPUT1")]
    body, nested = json_body(*pair), json_body(*pair, nested=True)
    outputs = [Tensor(name, "INT32", (1, 16), numbers.tobytes()) for name in ("OUTPUT0", "OUTPUT1")]
    wire = b"".join(oip_grpc.encode_request(oip_json.decode_request(body, None, "simple", "")))
    sequence = (
        wire + oip_grpc.append_parameter("sequence_id", 7) + oip_grpc.append_bool_parameter("sequence_start", True)
    )
    floats = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 16)
    text = InferReply("llm", "1", "", None, [Tensor("TEXT", "BYTES", (1, 1), join_elements([b"some words"]))])
    signature = ModelSignature("llm", "1", 0, True, {"PROMPT": ("BYTES", (1, 1)), "STREAM": ("BOOL", (1, 1))}, {})
    prompt = b'{"PROMPT":"Tell me something about turbines","STREAM":true,"temperature":0.5,"max_tokens":100}'
    fields = [(b"Host", b"x"), (b"User-Agent", b"curl"), (b"Accept", b"*/*"), (b"Content-Type", b"application/json")]
    fields += [(b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), (b"Content-Length", b"9")]
    forwarding = Forwarding()
    return {
        **round_trip("2 x INT32[16]", body, InferReply("simple", "1", outputs=outputs)),
        **round_trip(
            "FP32[16]",
            json_body(("INPUT0", "FP32", floats)),
            InferReply("simple", "1", outputs=[Tensor("OUTPUT0", "FP32", (1, 16), floats.tobytes())]),
        ),
        "2 x INT32[1,16], nested: JSON to hub": lambda: oip_json.decode_request(nested, None, "simple", ""),
        "2 x INT32[16]: scan of a gRPC request": lambda: oip_grpc.scan_request(wire),
        "the same with two parameters of a sequence": lambda: oip_grpc.scan_request(sequence),
        "generate: request": lambda: generate.decode_request(prompt, "llm", "", signature),
        "generate: reply": lambda: generate.encode_reply(text),
        "metadata to forward, of six fields": lambda: forwarding.choose(fields),
    }


def large() -> dict[str, Callable[[], object]]:
    image = np.random.default_rng(0).random((1, 3, 224, 224), dtype=np.float32)
    flat = json_body(("x", "FP32", image))
    nested = json_body(("x", "FP32", image), nested=True)
    bytes_of_image = image.tobytes()
    request = InferRequest("resnet", inputs=[Tensor("x", "FP32", image.shape, bytes_of_image)])
    head, tail = oip_json.encode_request(request)
    binary = b"".join((head, *tail))
    wire = b"".join(oip_grpc.encode_request(request))
    scores = np.random.default_rng(0).random((1, 1000), dtype=np.float32)
    reply = InferReply("resnet", "1", outputs=[Tensor("y", "FP32", scores.shape, scores.tobytes())])
    mirrored = InferReply("resnet", "1", outputs=request.inputs)
    pixels = json_body(("x", "UINT8", (image * 255).astype(np.uint8)))
    return {
        **round_trip("1x3x224x224 FP32 in, 1000 out", flat, reply),
        "the same, nested: JSON to hub": lambda: oip_json.decode_request(nested, None, "resnet", ""),
        "1x3x224x224 UINT8: JSON to hub": lambda: oip_json.decode_request(pixels, None, "resnet", ""),
        "1x3x224x224 FP32, binary: body to hub": lambda: oip_json.decode_request(binary, len(head), "resnet", ""),
        "1x3x224x224 FP32: hub to protobuf": lambda: oip_grpc.encode_request(request),
        "1x3x224x224 FP32: scan of a gRPC request": lambda: oip_grpc.scan_request(wire),
        "1x3x224x224 FP32: hub to JSON": lambda: oip_json.encode_reply(mirrored, request),
        "1.6 MB of JSON: gzip": lambda: compression.deflate([flat], "gzip"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures there too, in microseconds")
    arguments = parser.parse_args()
    figures = {}
    for label, call in {**small(), **large()}.items():
        figures[label] = round(measure(call), 2)
        print(f"{figures[label]:10.2f} us  {label}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
