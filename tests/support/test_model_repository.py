"""The models that tests use, on a real Triton: each does what others rely on."""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from deploy.triton import Triton
from tests.support.model_repository import CODE, LABELS, MODELS, write_repository
from tests.support.triton import own_triton, start_triton, start_tritons

SET = [
    "classify",
    "fails",
    "id_bf16",
    "id_bool",
    "id_string",
    "image_sum",
    "mock_llm",
    "optional_input",
    "params",
    "repeat_int32",
    "sequence_sum",
    "simple",
    "simple_dyna_sequence",
    "simple_sequence",
    "simple_string",
    "slow",
    "slowq",
    "two_versions",
    "zero_dim",
]

triton_test = pytest.mark.triton


@pytest.fixture(scope="module")
def triton() -> Triton:
    return start_triton(SET)


@pytest.fixture(scope="module")
def client(triton: Triton) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(triton.grpc_address) as client:
        yield client


def tensor(name: str, datatype: str, values: Any) -> grpcclient.InferInput:
    array = np.asarray(values)
    return grpcclient.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def int32(name: str, *values: int) -> grpcclient.InferInput:
    return tensor(name, "INT32", np.array(values, np.int32))


def fp32(name: str, *values: float) -> grpcclient.InferInput:
    return tensor(name, "FP32", np.array(values, np.float32))


def test_every_file_of_code_is_used() -> None:
    assert {model.code for model in MODELS.values()} == {path.name for path in CODE.glob("*.py")}


def test_a_repository_has_a_directory_per_model_and_version(tmp_path: Path) -> None:
    write_repository(tmp_path, ["two_versions", "classify"])
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == [
        "classify/1/model.py",
        "classify/config.pbtxt",
        "classify/labels.txt",
        "two_versions/1/model.py",
        "two_versions/2/model.py",
        "two_versions/config.pbtxt",
    ]


@triton_test
def test_a_server_is_shared_by_those_who_ask_for_the_same(triton: Triton) -> None:
    assert start_triton(list(reversed(SET))) is triton
    first, second = start_tritons(2, ["id_fp32"])
    assert first is start_triton(["id_fp32"]) is not second


@triton_test
def test_an_own_server_ends_with_its_test() -> None:
    with (
        own_triton(["id_fp32", "badload"], explicit=True) as triton,
        grpcclient.InferenceServerClient(triton.grpc_address) as client,
    ):
        index = {model.name: model.state for model in client.get_model_repository_index().models}
        assert index == {"id_fp32": "READY", "badload": ""}
        with pytest.raises(InferenceServerException, match="No module named 'a_module_that_does_not_exist'"):
            client.load_model("badload")
    assert not triton.running
    assert not triton.repository.exists()


@triton_test
@pytest.mark.slow
def test_every_model_that_can_be_loaded_is_ready() -> None:
    with own_triton() as triton, grpcclient.InferenceServerClient(triton.grpc_address) as client:
        states = {(model.name, model.version): model.state for model in client.get_model_repository_index().models}
    assert set(states.values()) == {"READY"}
    assert {name for name, _ in states} == set(MODELS) - {"badload"}


@triton_test
def test_add_sub_of_text(client: grpcclient.InferenceServerClient) -> None:
    numbers = np.array([[str(number).encode() for number in range(16)]], np.object_)
    result = client.infer("simple_string", [tensor(name, "BYTES", numbers) for name in ("INPUT0", "INPUT1")])
    assert result.as_numpy("OUTPUT0").tolist() == [[str(2 * number).encode() for number in range(16)]]
    assert result.as_numpy("OUTPUT1").tolist() == [[b"0"] * 16]


@triton_test
def test_identity_keeps_bfloat16(client: grpcclient.InferenceServerClient) -> None:
    bits = b"\x80\x3f\x00\xc0"  # 1, -2
    request = grpcclient.service_pb2.ModelInferRequest(model_name="id_bf16", raw_input_contents=[bits])
    request.inputs.add(name="INPUT0", datatype="BF16", shape=[2])
    assert list(client._client_stub.ModelInfer(request).raw_output_contents) == [bits]


@triton_test
def test_identity_keeps_any_bytes(client: grpcclient.InferenceServerClient) -> None:
    values = [b"\xff\xfe", b"", b"a\0b"]
    result = client.infer("id_string", [tensor("INPUT0", "BYTES", np.array(values, np.object_))])
    assert result.as_numpy("OUTPUT0").tolist() == values


@triton_test
def test_no_elements(client: grpcclient.InferenceServerClient) -> None:
    result = client.infer("zero_dim", [tensor("INPUT0", "FP32", np.empty((2, 0), np.float32))])
    assert result.as_numpy("OUTPUT0").shape == (2, 0)


@triton_test
@pytest.mark.parametrize(
    ("model", "expected"),
    [("simple_sequence", [1, 11, 7]), ("simple_dyna_sequence", [1, 11, 1007]), ("sequence_sum", [0, 11, 18])],
)
def test_sequences(client: grpcclient.InferenceServerClient, model: str, expected: list[int]) -> None:
    results = []
    for index, value in enumerate((0, 11, 7)):
        inputs = [tensor("INPUT", "INT32", np.array([[value]], np.int32))]
        result = client.infer(model, inputs, sequence_id=1000, sequence_start=index == 0, sequence_end=index == 2)
        results.append(int(result.as_numpy("OUTPUT")[0, 0]))
    assert results == expected
    with pytest.raises(InferenceServerException, match="must specify the START flag"):
        client.infer(model, [tensor("INPUT", "INT32", np.array([[1]], np.int32))], sequence_id=1000)


@triton_test
@pytest.mark.parametrize(
    ("which", "code", "text"),
    [
        (0, "INTERNAL", "boom exception"),
        (1, "UNKNOWN", "err1"),
        (2, "INTERNAL", "err2"),
        (3, "NOT_FOUND", "err3"),
        (4, "INVALID_ARGUMENT", "err4"),
        (5, "UNAVAILABLE", "err5"),
        (6, "UNIMPLEMENTED", "err6"),
        (7, "ALREADY_EXISTS", "err7"),
        (8, "CANCELLED", "err8"),
        (9, "INTERNAL", "default code"),
    ],
)
def test_fails_as_told(client: grpcclient.InferenceServerClient, which: int, code: str, text: str) -> None:
    with pytest.raises(InferenceServerException, match=text) as caught:
        client.infer("fails", [int32("INPUT0", which)])
    assert caught.value.status() == f"StatusCode.{code}"


@triton_test
def test_params_tells_what_the_backend_sees(client: grpcclient.InferenceServerClient) -> None:
    parameters = {"a": 1, "b": "s", "c": True}
    result = client.infer("params", [int32("INPUT0", 1)], request_id="r", parameters=parameters, timeout=7)
    assert json.loads(result.as_numpy("OUTPUT0")[0]) == {
        "params": parameters,
        "id": "r",
        "corr": "0",
        "flags": 0,
        "timeout": 7,
        "ro": ["OUTPUT0"],
    }


@triton_test
@pytest.mark.parametrize(("version", "answer"), [("", 2), ("1", 1), ("2", 2)])
def test_two_versions(client: grpcclient.InferenceServerClient, version: str, answer: int) -> None:
    result = client.infer("two_versions", [int32("INPUT0", 0)], model_version=version)
    assert result.as_numpy("OUTPUT0").tolist() == [answer]


@triton_test
def test_image_sum(client: grpcclient.InferenceServerClient) -> None:
    images = np.stack([np.full((3, 224, 224), value, np.float32) for value in (0, 1)])
    result = client.infer("image_sum", [tensor("IMAGE", "FP32", images)])
    assert result.as_numpy("OUTPUT0").tolist() == [[0], [3 * 224 * 224]]


@triton_test
def test_classification_names_labels(client: grpcclient.InferenceServerClient) -> None:
    scores = tensor("INPUT0", "FP32", np.array([[0.125, 0.5, 0.25, 0]], np.float32))
    wanted = [grpcclient.InferRequestedOutput("OUTPUT0", class_count=2)]
    result = client.infer("classify", [scores], outputs=wanted)
    assert result.as_numpy("OUTPUT0").tolist() == [
        [f"0.500000:1:{LABELS[1]}".encode(), f"0.250000:2:{LABELS[2]}".encode()]
    ]


@triton_test
def test_optional_input(client: grpcclient.InferenceServerClient) -> None:
    alone = client.infer("optional_input", [fp32("INPUT0", 1, 2)])
    both = client.infer("optional_input", [fp32("INPUT0", 1, 2), fp32("INPUT1", 10, 20)])
    assert alone.as_numpy("OUTPUT0").tolist() == [1, 2]
    assert both.as_numpy("OUTPUT0").tolist() == [11, 22]


@triton_test
def test_slow_runs_side_by_side_and_counts(client: grpcclient.InferenceServerClient) -> None:
    before = slow_counts(client)[0]
    threads = [threading.Thread(target=client.infer, args=("slow", [fp32("INPUT0", 0.6)])) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
        client.infer("slow", [fp32("INPUT0", 30)], client_timeout=0.2)
    time.sleep(0.1)
    assert slow_counts(client) == (before + 1, 4)
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 1.5
    assert slow_counts(client) == (before + 1, 0)


def slow_counts(client: grpcclient.InferenceServerClient) -> tuple[int, int]:
    """(cancelled, running)"""
    result = client.infer("slow", [fp32("INPUT0", 0)])
    return int(result.as_numpy("CANCELLED")[0]), int(result.as_numpy("RUNNING")[0])


@triton_test
def test_a_queue_of_two(client: grpcclient.InferenceServerClient) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    request = [tensor("INPUT0", "FP32", np.array([[0.3]], np.float32))]
    for _ in range(5):
        client.async_infer("slowq", request, callback=lambda result, error: answers.put(error))
    errors = [str(error) for error in (answers.get(timeout=5) for _ in range(5)) if error]
    assert 1 <= len(errors) <= 3
    assert all("Exceeds maximum queue size" in error for error in errors)


class Stream:
    """One gRPC stream to `repeat_int32`."""

    def __init__(self, triton: Triton) -> None:
        self.answers: queue.Queue[Any] = queue.Queue()
        self._client = grpcclient.InferenceServerClient(triton.grpc_address)
        self._client.start_stream(lambda result, error: self.answers.put(str(error) if error else result))

    def send(self, *elements: int, delay_ms: int = 0, **parameters: Any) -> None:
        delays = tensor("DELAY", "UINT32", np.full(len(elements), delay_ms, np.uint32))
        inputs = [int32("IN", *elements), delays, tensor("WAIT", "UINT32", np.zeros(1, np.uint32))]
        self._client.async_stream_infer("repeat_int32", inputs, parameters=parameters)

    def receive(self) -> Any:
        answer = self.answers.get(timeout=5)
        return answer if isinstance(answer, str) else (int(answer.as_numpy("OUT")[0]), int(answer.as_numpy("IDX")[0]))

    def state(self) -> Any:
        """(cancelled, running)"""
        self.send(0, STATE=1)
        return self.receive()

    def cancel(self) -> None:
        self._client.stop_stream(cancel_requests=True)
        self._client.close()


@triton_test
def test_repeat(triton: Triton) -> None:
    stream = Stream(triton)
    stream.send(7, -1, 9)
    assert [stream.receive() for _ in range(3)] == [(7, 0), "element 1 is negative", (9, 2)]
    before = stream.state()[0]
    stream.send(*range(1000), delay_ms=20)
    assert stream.receive() == (0, 0)
    stream.cancel()
    time.sleep(0.2)
    other = Stream(triton)
    assert other.state() == (before + 1, 0)
    other.cancel()


def generate(triton: Triton, method: str, **body: Any) -> tuple[int, str]:
    connection = http.client.HTTPConnection(triton.http_address, timeout=10)
    connection.request("POST", f"/v2/models/mock_llm/{method}", json.dumps({"PROMPT": "hi", "STREAM": True} | body))
    with connection.getresponse() as response:
        answer = response.status, response.read().decode()
    connection.close()
    return answer


@triton_test
def test_mock_llm(triton: Triton) -> None:
    text = '{"TEXT":"hi","model_name":"mock_llm","model_version":"1"}'
    error = 'data: {"error":"An Error Occurred"}\n\n'
    assert generate(triton, "generate", STREAM=False) == (200, text)
    assert generate(triton, "generate_stream", REPETITION=2) == (200, f"data: {text}\n\n" * 2)
    assert generate(triton, "generate_stream", REPETITION=0) == (200, "")
    assert generate(triton, "generate_stream", REPETITION=1, FAIL_LAST=True) == (200, f"data: {text}\n\n{error}")
    assert generate(triton, "generate_stream", REPETITION=0, FAIL_LAST=True) == (400, error)
    assert '"TEXT":[]' in generate(triton, "generate_stream", OUTPUT_0_DIM=True)[1]
