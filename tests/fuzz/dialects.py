"""Mutates valid messages of every dialect and holds the decoders to their promises.

    python -m tests.fuzz.dialects --count 1000000 --seed 1

Promises: any bytes give a message or a `GatewayError` of the right side (400 for a client's bytes, 502 for a worker's);
both readers of JSON agree; the scanner and the parser agree with the generated protobuf code. A broken promise stops
the run with the input, which is then a case for a test.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable

from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2 as pb

from tests.support.wire import has_strange_map_entry
from transcoding import compression, json_large
from transcoding.dialects import generate, oip_grpc, oip_json
from transcoding.message import InferReply, InferRequest, ModelSignature, RequestedOutput, Tensor
from transcoding.metadata import Forwarding
from transcoding.protobuf_wire import fields
from transcoding.status import GatewayError

SIGNATURE = ModelSignature(
    "m", "1", 0, True, {"PROMPT": ("BYTES", (1, -1)), "STREAM": ("BOOL", (1,)), "ids": ("INT32", (-1, -1))}, {}
)
TENSORS = [
    Tensor("INPUT0", "INT32", (2, 2), bytes(range(16))),
    Tensor("INPUT1", "FP32", (3,), b"\0\0\xc0\x7f\0\0\x80\x3f\0\0\0\x80"),
    Tensor("s", "BYTES", (2,), b"\x02\0\0\0\xc3\xa9\0\0\0\0", {"p": "q"}),
    Tensor("b", "BOOL", (1,), b"\1"),
    Tensor("big", "UINT64", (1,), b"\xff" * 8),
]
REQUEST = InferRequest(
    "model",
    "3",
    "id-1",
    {"sequence_id": 2**64 - 1, "sequence_start": True, "d": 1.5, "s": "é", "priority": 7},
    TENSORS,
    [RequestedOutput("OUTPUT0", {"classification": 3}), RequestedOutput("OUTPUT1", None, True)],
)
REPLY = InferReply("model", "3", "id-1", {"triton_final_response": True, "n": -5}, TENSORS)
TOKENS = (
    b'NaN -Infinity 1e39 1e400 18446744073709551616 9223372036854775808 -1 1.0 true null "\\ud800" "\\u0000" [[ ]] {} '
    b'[] , : " \\ \xff \xc3\xa9 \x80 \x00 \x0a \x12 \x22 \x2a \x3a \x0b \x0c \xff\xff\xff\xff\xff\xff\xff\xff\xff\x01'
).split(b" ")


class BrokenPromise(AssertionError):
    """A decoder did what it must not; the input is in the text."""


def seeds() -> dict[str, list[bytes]]:
    """Valid inputs of each target."""
    wire = b"".join(oip_grpc.encode_request(REQUEST))
    typed = pb.ModelInferRequest(model_name="m")
    contents = pb.InferTensorContents(int_contents=[1, -2, 3])
    typed.inputs.add(name="x", datatype="INT8", shape=[3], contents=contents)
    reply = b"".join(oip_grpc.encode_reply(REPLY))
    stream = pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse.FromString(reply))
    text, _ = oip_json.encode_request(REQUEST, binary=False)
    head, tail = oip_json.encode_request(REQUEST)
    answer, _ = oip_json.encode_reply(REPLY, REQUEST)
    prompt = b'{"PROMPT":["a","\xc3\xa9"],"STREAM":true,"ids":[1,2,3],"id":"7","parameters":{"temperature":0.5,"n":3}}'
    return {
        "grpc request": [wire, typed.SerializeToString(), oip_grpc.append_bool_parameter("x", True) + wire],
        "grpc reply": [reply],
        "stream reply": [stream.SerializeToString(), oip_grpc.encode_stream_error("no", "x")],
        "json request": [text, b'{"inputs":[{"name":"x","datatype":"INT8","shape":[2,2],"data":[[1,2],[3,4]]}]}'],
        "binary request": [head + b"".join(tail)],
        "json reply": [answer],
        "generate request": [prompt, b'{"PROMPT":"a"}'],
        "compressed": [compression.deflate([text], "gzip"), compression.deflate([text], "deflate")],
        "header fields": [b"Traceparent:00-1\nx-tenant-a:b\ngrpc-timeout:1S\nConnection:close, x\nkey-bin:AAE="],
    }


def mutate(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """One to four random edits: flips, tokens, cuts, repeats and pieces of other seeds."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, end = sorted((rng.randint(0, len(out)), rng.randint(0, len(out))))
        end = min(end, at + rng.choice((0, 1, 1, 2, 8, 64)))
        edit = rng.randrange(6)
        if edit == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif edit == 1:
            out[at:end] = rng.choice(TOKENS)
        elif edit == 2:
            del out[at:end]
        elif edit == 3:
            out[at:at] = out[at:end] * rng.choice((1, 1, 2, 50))
        elif edit == 4:
            other = rng.choice(others)
            start = rng.randint(0, len(other))
            out[at:end] = other[start : start + rng.choice((1, 4, 32, 200))]
        else:
            out[at:end] = rng.randbytes(end - at)
    return bytes(out)


def outcome(decode: Callable[[], object], status: tuple[int, ...]) -> object:
    """What the decoder said, comparable; raises BrokenPromise for an error of another side."""
    try:
        result = decode()
    except GatewayError as error:
        if error.http_status not in status:
            raise BrokenPromise(f"{error!r} is not one of {status}") from error
        return error.message
    if isinstance(result, InferRequest):
        for tensor in result.inputs:
            tensor.data = None if tensor.data is None else bytes(tensor.data)
    return repr(result)


def require_equal(one: object, two: object) -> None:
    if one != two:
        raise BrokenPromise(f"{one!r} is not {two!r}")


def check_grpc_request(data: bytes) -> bool:
    outcome(lambda: oip_grpc.decode_request(data), (400,))
    outcome(lambda: oip_grpc.scan_request(data), (400,))
    try:
        message = pb.ModelInferRequest.FromString(data)
    except DecodeError:
        return False
    envelope = oip_grpc.scan_request(data)
    if has_strange_map_entry(data):
        return True
    require_equal(
        (envelope.model, envelope.version, envelope.id), (message.model_name, message.model_version, message.id)
    )
    chosen = {name for name, value in message.parameters.items() if value.WhichOneof("parameter_choice")}
    require_equal(set(envelope.parameters), chosen)
    changed = pb.ModelInferRequest.FromString(b"".join(oip_grpc.set_version(data, "9")))
    message.model_version = "9"
    require_equal(changed.SerializeToString(deterministic=True), message.SerializeToString(deterministic=True))
    return True


def check_grpc_reply(data: bytes) -> bool:
    mine = outcome(lambda: oip_grpc.decode_reply(data), (502,))
    try:
        message = pb.ModelInferResponse.FromString(data)
    except DecodeError:
        return False
    if len(message.raw_output_contents) == len(message.outputs) and mine.startswith("InferReply"):
        reply = oip_grpc.decode_reply(data)
        require_equal([t.name for t in reply.outputs], [o.name for o in message.outputs])
        require_equal([t.shape for t in reply.outputs], [tuple(o.shape) for o in message.outputs])
        require_equal([bytes(t.data) for t in reply.outputs], list(message.raw_output_contents))
        outcome(lambda: oip_json.encode_reply(reply, REQUEST), (400, 502))
        outcome(lambda: generate.encode_reply(reply), (400, 502))
    return True


def check_stream_reply(data: bytes) -> bool:
    outcome(lambda: oip_grpc.decode_stream_reply(data), (502,))
    outcome(lambda: oip_grpc.scan_stream_reply(data), (502,))
    try:
        message = pb.ModelStreamInferResponse.FromString(data)
    except DecodeError:
        return False
    envelope = oip_grpc.scan_stream_reply(data)
    reply = message.infer_response
    require_equal((envelope.error_message, envelope.id), (message.error_message, reply.id))
    require_equal(envelope.empty, not reply.outputs)
    inner = b"".join(value for tag, value in fields(data) if tag == 0x12)
    if not has_strange_map_entry(inner):
        require_equal(envelope.final, reply.parameters["triton_final_response"].bool_param)
    return True


def check_json_request(data: bytes) -> bool:
    return _check_both_readers(data, None)


def check_binary_request(data: bytes) -> bool:
    at = data.find(b"}]}")
    return _check_both_readers(data, at + 3)


def _check_both_readers(data: bytes, header_length: int | None) -> bool:
    results = []
    for worthwhile in (0, 1 << 60):
        json_large.WORTHWHILE = worthwhile
        results.append(outcome(lambda: oip_json.decode_request(data, header_length, "m", ""), (400,)))
    require_equal(*results)
    if not results[0].startswith("InferRequest"):
        return False
    wire = b"".join(oip_grpc.encode_request(oip_json.decode_request(data, header_length, "m", "")))
    pb.ModelInferRequest.FromString(wire)
    return True


def check_json_reply(data: bytes) -> bool:
    return outcome(lambda: oip_json.decode_reply(data, None), (502,)).startswith("InferReply")


def check_generate(data: bytes) -> bool:
    result = outcome(lambda: generate.decode_request(data, "m", "", SIGNATURE), (400,))
    return result.startswith("InferRequest")


def check_compressed(data: bytes) -> bool:
    for encoding in compression.ENCODINGS:
        outcome(lambda encoding=encoding: compression.inflate(data, encoding, 2000), (400, 413))
    compression.choose_encoding(data)
    return True


def check_fields(data: bytes) -> bool:
    fields = [tuple(line.partition(b":")[::2]) for line in data.split(b"\n")]
    chosen = Forwarding(["*"]).choose(fields)
    require_equal([f for f in chosen if f[0].startswith((b"grpc-", b":")) or b"\n" in f[1]], [])
    return bool(chosen)


CHECKS: dict[str, Callable[[bytes], bool]] = {
    "grpc request": check_grpc_request,
    "grpc reply": check_grpc_reply,
    "stream reply": check_stream_reply,
    "json request": check_json_request,
    "binary request": check_binary_request,
    "json reply": check_json_reply,
    "generate request": check_generate,
    "compressed": check_compressed,
    "header fields": check_fields,
}


def run(count: int, seed: int) -> Counter[str]:
    """So many inputs, spread over the targets. Returns how many were accepted and refused, by target."""
    rng = random.Random(seed)
    corpus = seeds()
    everything = [item for items in corpus.values() for item in items]
    counts: Counter[str] = Counter()
    before = json_large.WORTHWHILE
    for index in range(count):
        target = rng.choice(list(CHECKS))
        data = mutate(rng.choice(corpus[target]), everything, rng)
        try:
            accepted = CHECKS[target](data)
        except Exception as error:
            raise BrokenPromise(f"{target}, input {index} of seed {seed}: {data!r}") from error
        finally:
            json_large.WORTHWHILE = before
        counts[f"{target}: {'accepted' if accepted else 'refused'}"] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for name, number in sorted(run(arguments.count, arguments.seed).items()):
        print(f"{number:9}  {name}")


if __name__ == "__main__":
    main()
