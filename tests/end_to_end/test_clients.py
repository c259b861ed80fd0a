"""Every flavour of the unmodified tritonclient, straight to Triton and through a gateway in front of two of them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.support.clients import FLAVOURS, Client
from tests.support.deadline import until
from tests.support.gateway import start_gateway
from tests.support.triton import start_tritons

pytestmark = pytest.mark.triton

MODELS = (
    "simple",
    "simple_string",
    "id_fp32",
    "id_fp16",
    "classify",
    "sequence_sum",
    "simple_dyna_sequence",
    "repeat_int32",
    "params",
    "two_versions",
    "id_int32",
)
GRPC = [flavour for flavour in FLAVOURS if flavour.startswith("grpc")]


@pytest.fixture(params=["triton", "gateway"])
def address(request: pytest.FixtureRequest) -> dict[str, str]:
    """Where each protocol is served; a gateway serves both on one port."""
    tritons = start_tritons(2, MODELS, explicit=True)
    if request.param == "triton":
        return {"http": tritons[0].http_address, "grpc": tritons[0].grpc_address}
    gateway = start_gateway([triton.grpc_address for triton in tritons], workers=2)
    return {"http": gateway.address, "grpc": gateway.address}


def connect(flavour: str, address: dict[str, str]) -> Client:
    return Client(flavour, address[flavour.partition(".")[0]])


@pytest.fixture(params=FLAVOURS)
def client(request: pytest.FixtureRequest, address: dict[str, str]) -> Iterator[Client]:
    client = connect(request.param, address)
    yield client
    client.close()


@pytest.fixture(params=GRPC)
def grpc_client(request: pytest.FixtureRequest, address: dict[str, str]) -> Iterator[Client]:
    client = connect(request.param, address)
    yield client
    client.close()


def simple(
    client: Client, batch: int = 1, first: int = 0
) -> tuple[list[Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Inputs of `simple`, and what its outputs must be."""
    left = np.arange(first, first + 16 * batch, dtype=np.int32).reshape(batch, 16)
    right = np.full((batch, 16), 3, np.int32)
    inputs = [client.input("INPUT0", left, "INT32"), client.input("INPUT1", right, "INT32")]
    return inputs, left + right, left - right


def fields(client: Client, reply: Any) -> Any:
    """A reply of the management API as JSON, however the flavour gives it."""
    if client.is_http:
        return reply
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(reply, preserving_proto_field_name=True)


def test_infer(client: Client) -> None:
    for batch in (1, 8):
        inputs, total, difference = simple(client, batch)
        result = client.infer("simple", inputs, request_id=f"r{batch}")
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), total)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), difference)
        response = result.get_response()
        assert (response["id"] if client.is_http else response.id) == f"r{batch}"


def test_one_of_two_outputs(client: Client) -> None:
    inputs, total, _ = simple(client)
    result = client.infer("simple", inputs, outputs=[client.output("OUTPUT0")])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), total)
    assert result.as_numpy("OUTPUT1") is None


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
@pytest.mark.parametrize("flavour", ["http", "http.aio"])
def test_json_and_binary_tensors(flavour: str, address: dict[str, str], binary_in: bool, binary_out: bool) -> None:
    client = connect(flavour, address)
    array = np.array([1.5, -2, 1e30], np.float32)
    inputs = [client.input("INPUT0", array, "FP32", binary_data=binary_in)]
    result = client.infer("id_fp32", inputs, outputs=[client.output("OUTPUT0", binary_data=binary_out)])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), array)
    client.close()


def test_half_precision_and_text(client: Client) -> None:
    half = np.array([1.5, -2.25], np.float16)
    result = client.infer("id_fp16", [client.input("INPUT0", half, "FP16")])
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), half)
    left = np.array([[str(i).encode() for i in range(16)]], np.object_)
    inputs = [client.input(name, left, "BYTES") for name in ("INPUT0", "INPUT1")]
    result = client.infer("simple_string", inputs)
    assert [int(text) for text in result.as_numpy("OUTPUT0").flat] == [2 * i for i in range(16)]


def test_many_at_once(client: Client) -> None:
    requests, wanted = [], []
    for index in range(12):
        inputs, total, _ = simple(client, first=index)
        requests.append({"model_name": "simple", "inputs": inputs})
        wanted.append(total)
    for result, total in zip(client.infer_all(requests), wanted, strict=True):
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), total)


def test_versions(client: Client) -> None:
    inputs = [client.input("INPUT0", np.zeros(1, np.int32), "INT32")]
    for version in ("1", "2"):
        result = client.infer("two_versions", inputs, model_version=version)
        assert result.as_numpy("OUTPUT0").tolist() == [int(version)]
    assert client.infer("two_versions", inputs).as_numpy("OUTPUT0").tolist() == [2]
    with pytest.raises(InferenceServerException, match="version 9 is not found"):
        client.infer("two_versions", inputs, model_version="9")


def test_classification(client: Client) -> None:
    scores = np.array([[0.1, 0.7, 0.2, 0.0]], np.float32)
    inputs = [client.input("INPUT0", scores, "FP32")]
    result = client.infer("classify", inputs, outputs=[client.output("OUTPUT0", class_count=2)])
    top = [text.decode().split(":") for text in result.as_numpy("OUTPUT0").flat]
    assert [(index, label) for _, index, label in top] == [("1", "dog"), ("2", "fish")]
    assert [float(value) for value, _, _ in top] == pytest.approx([0.7, 0.2])


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client: Client, algorithm: str) -> None:
    array = np.zeros(10_000, np.float32)
    options = (
        {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
        if client.is_http
        else {"compression_algorithm": algorithm}
    )
    result = client.infer("id_fp32", [client.input("INPUT0", array, "FP32")], **options)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), array)


def test_parameters_reach_the_backend(client: Client) -> None:
    inputs = [client.input("INPUT0", np.zeros(1, np.int32), "INT32")]
    result = client.infer("params", inputs, parameters={"text": "s", "number": 7, "flag": True}, timeout=5_000_000)
    seen = json.loads(result.as_numpy("OUTPUT0")[0])
    assert seen["params"] == {"text": "s", "number": 7, "flag": True}
    assert seen["timeout"] == 5_000_000


def test_a_sequence_stays_together(client: Client) -> None:
    highest = 2**64 if client.is_http else 2**63
    for sequence in (random.randrange(1, 2**63), random.randrange(highest // 2, highest)):
        total = 0
        for index in range(1, 6):
            total += index
            inputs = [client.input("INPUT", np.array([[index]], np.int32), "INT32")]
            flags = {"sequence_start": index == 1, "sequence_end": index == 5}
            result = client.infer("sequence_sum", inputs, sequence_id=sequence, **flags)
            assert result.as_numpy("OUTPUT").tolist() == [[total]]


def test_a_sequence_must_start(client: Client) -> None:
    inputs = [client.input("INPUT", np.array([[1]], np.int32), "INT32")]
    with pytest.raises(InferenceServerException, match="must specify the START flag"):
        client.infer("sequence_sum", inputs, sequence_id=random.randrange(1, 2**63))


def test_sequences_in_one_stream(grpc_client: Client) -> None:
    ids = random.sample(range(1, 2**30), 3)
    requests = [
        {
            "model_name": "simple_dyna_sequence",
            "inputs": [grpc_client.input("INPUT", np.array([[index]], np.int32), "INT32")],
            "request_id": f"{sequence}-{index}",
            "sequence_id": sequence,
            "sequence_start": index == 1,
            "sequence_end": index == 4,
        }
        for index in (1, 2, 3, 4)
        for sequence in ids
    ]
    answers = grpc_client.stream(requests, len(requests))
    assert [error for _, error in answers] == [None] * len(requests)
    outputs = {result.get_response().id: result.as_numpy("OUTPUT").item() for result, _ in answers}
    assert outputs == {
        f"{sequence}-{index}": index + (index == 1) + sequence * (index == 4)
        for index in (1, 2, 3, 4)
        for sequence in ids
    }, "the model adds 1 at the start and the sequence's id at the end"


def repeat(client: Client, values: list[int], request_id: str = "", delay: int = 0) -> dict[str, Any]:
    inputs = [
        client.input("IN", np.array(values, np.int32), "INT32"),
        client.input("DELAY", np.full(len(values), delay, np.uint32), "UINT32"),
        client.input("WAIT", np.zeros(1, np.uint32), "UINT32"),
    ]
    return {"model_name": "repeat_int32", "inputs": inputs, "request_id": request_id}


def test_a_decoupled_model_streams(grpc_client: Client) -> None:
    answers = grpc_client.stream([repeat(grpc_client, [4, 5, 6], "a")], 3)
    assert [result.as_numpy("OUT").item() for result, _ in answers] == [4, 5, 6]
    final = [result.get_response().parameters["triton_final_response"].bool_param for result, _ in answers]
    assert final == [False, False, False]


def test_the_empty_final_response_comes_when_asked_for(address: dict[str, str]) -> None:
    client = connect("grpc", address)  # the only flavour that can ask
    answers = client.stream([repeat(client, [1, 2], "a") | {"enable_empty_final_response": True}], 3)
    client.close()
    last = answers[-1][0].get_response()
    assert [result.as_numpy("OUT").item() for result, _ in answers[:2]] == [1, 2]
    assert (last.id, len(last.outputs), last.parameters["triton_final_response"].bool_param) == ("a", 0, True)


def test_errors_in_a_stream_do_not_end_it(grpc_client: Client) -> None:
    unknown = repeat(grpc_client, [1], "u") | {"model_name": "nope"}
    answers = grpc_client.stream([unknown, repeat(grpc_client, [7, -1, 8], "a")], 4)
    errors = [str(error) for _, error in answers if error]
    values = [result.as_numpy("OUT").item() for result, error in answers if not error]
    assert values == [7, 8]
    assert len(errors) == 2
    assert "unknown model: 'nope'" in errors[0]


def test_a_decoupled_model_does_not_infer(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="decoupled transaction policy"):
        client.infer(**repeat(client, [1]))


def test_health_and_readiness(client: Client) -> None:
    assert client.is_server_live() is True
    assert client.is_server_ready() is True
    assert client.is_model_ready("simple") is True
    assert client.is_model_ready("simple", "1") is True
    assert client.is_model_ready("simple", "9") is False
    assert client.is_model_ready("nope") is False


def test_metadata_and_configuration(client: Client) -> None:
    server = fields(client, client.get_server_metadata())
    assert server["name"]
    assert {"classification", "statistics", "binary_tensor_data"} <= set(server["extensions"])
    model = fields(client, client.get_model_metadata("two_versions"))
    assert (model["name"], model["versions"]) == ("two_versions", ["1", "2"])
    config = fields(client, client.get_model_config("simple"))
    config = config if client.is_http else config["config"]
    assert (config["name"], config["max_batch_size"]) == ("simple", 8)
    with pytest.raises(InferenceServerException, match="Request for unknown model: 'nope' is not found"):
        client.get_model_metadata("nope")


def test_statistics_are_one_entry_per_version(client: Client) -> None:
    def count() -> int:
        (entry,) = fields(client, client.get_inference_statistics("id_int32"))["model_stats"]
        assert (entry["name"], entry["version"]) == ("id_int32", "1")
        return int(entry.get("inference_count", 0))

    def settled() -> int:
        """A Triton counts a request a little later than it answers it."""
        before, now = -1, count()
        while now != before:
            time.sleep(0.2)
            before, now = now, count()
        return now

    before = settled()
    inputs = [client.input("INPUT0", np.zeros(1, np.int32), "INT32")]
    for _ in range(6):
        client.infer("id_int32", inputs)
    until(lambda: count() >= before + 6)
    assert settled() == before + 6
    names = [entry["name"] for entry in fields(client, client.get_inference_statistics())["model_stats"]]
    assert len(names) == len(set(names)) + 1, "two_versions has two entries, all others one"


def until_ready(client: Client, model: str, ready: bool) -> None:
    deadline = time.monotonic() + 20
    while client.is_model_ready(model) is not ready:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def index(client: Client) -> dict[str, str]:
    entries = fields(client, client.get_model_repository_index())
    entries = entries if client.is_http else entries["models"]
    assert len({(entry["name"], entry.get("version")) for entry in entries}) == len(entries)
    return {entry["name"]: entry.get("state", "") for entry in entries}


def test_model_control(client: Client) -> None:
    client.load_model("id_fp16")
    assert client.is_model_ready("id_fp16") is True
    assert index(client)["id_fp16"] == "READY"
    client.unload_model("id_fp16")
    assert client.is_model_ready("id_fp16") is False, "at once, as the client library's own example expects"
    until_ready(client, "id_fp16", False)
    inputs = [client.input("INPUT0", np.zeros(1, np.float16), "FP16")]
    with pytest.raises(InferenceServerException, match="id_fp16"):
        client.infer("id_fp16", inputs)
    client.load_model("id_fp16")
    assert client.is_model_ready("id_fp16") is True
    assert client.infer("id_fp16", inputs).as_numpy("OUTPUT0").tolist() == [0]


def test_a_load_with_another_configuration(client: Client) -> None:
    override = {"max_batch_size": 5, "backend": "python"}
    plain = fields(client, client.get_model_config("simple"))
    client.load_model("simple", config=json.dumps({**override, "input": io("INPUT", 2), "output": io("OUTPUT", 2)}))
    config = fields(client, client.get_model_config("simple"))
    assert (config if client.is_http else config["config"])["max_batch_size"] == 5
    client.unload_model("simple")
    until_ready(client, "simple", False)
    client.load_model("simple")
    assert fields(client, client.get_model_config("simple")) == plain


def io(name: str, count: int) -> list[dict[str, Any]]:
    return [{"name": f"{name}{index}", "data_type": "TYPE_INT32", "dims": [16]} for index in range(count)]


def test_loads_that_fail(client: Client) -> None:
    with pytest.raises(InferenceServerException, match="failed to load 'nope', failed to poll from model repository"):
        client.load_model("nope")
    with pytest.raises(InferenceServerException, match="failed to load"):
        client.load_model("simple", config='"parameters": {{"invalid"}}')
    assert client.is_model_ready("simple") is True


def test_settings(client: Client) -> None:
    settings = fields(client, client.get_trace_settings())
    assert "trace_rate" in (settings if client.is_http else settings["settings"])
    changed = fields(client, client.update_trace_settings(settings={"trace_rate": "77"}))
    rate = changed["trace_rate"] if client.is_http else changed["settings"]["trace_rate"]["value"][0]
    assert rate == "77"
    client.update_trace_settings(settings={"trace_rate": None})
    logged = fields(client, client.update_log_settings({"log_verbose_level": 0, "log_info": True}))
    assert logged
    assert fields(client, client.get_log_settings())


def test_shared_memory_status(client: Client) -> None:
    assert not fields(client, client.get_system_shared_memory_status())
    assert not fields(client, client.get_cuda_shared_memory_status())
    client.unregister_system_shared_memory()
    with pytest.raises(InferenceServerException, match="Unable to find system shared memory region: 'r'"):
        client.get_system_shared_memory_status("r")
