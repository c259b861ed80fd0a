"""The demo's models on a real Triton: what they are for, and that they load."""

from __future__ import annotations

import http.client
import json
import queue
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from deploy.demo.stack import MODELS
from deploy.triton import Triton
from deploy.triton.environment import PROJECT
from tests.support.processes import cpu_seconds

pytestmark = pytest.mark.triton


@pytest.fixture(scope="module")
def triton() -> Iterator[Triton]:
    with Triton(MODELS) as triton:
        yield triton


@pytest.fixture(scope="module")
def client(triton: Triton) -> Iterator[grpcclient.InferenceServerClient]:
    with grpcclient.InferenceServerClient(triton.grpc_address) as client:
        yield client


def tensor(name: str, datatype: str, values: Any) -> grpcclient.InferInput:
    array = np.asarray(values)
    return grpcclient.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def test_all_models_are_ready(client: grpcclient.InferenceServerClient) -> None:
    index = client.get_model_repository_index().models
    assert {(model.name, model.version, model.state) for model in index} == {
        ("add_sub", "1", "READY"),
        ("digits", "1", "READY"),
        ("digits", "2", "READY"),
        ("tokens", "1", "READY"),
    }


@pytest.mark.parametrize(("version", "right"), [("1", 322), ("2", 357)])
def test_the_digit_model_tells_held_out_digits(
    client: grpcclient.InferenceServerClient, version: str, right: int
) -> None:
    with np.load(PROJECT / "deploy" / "demo" / "held_out.npz") as held_out:
        images, labels = held_out["images"], held_out["labels"]
    assert images.shape == (360, 8, 8)
    found = []
    for start in range(0, 360, 60):
        result = client.infer("digits", [tensor("image", "UINT8", images[start : start + 60])], model_version=version)
        probabilities: npt.NDArray[np.float32] = result.as_numpy("probabilities")
        assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert (probabilities.argmax(axis=1) == result.as_numpy("label")[:, 0]).all()
        found.append(result.as_numpy("label")[:, 0])
    assert (np.concatenate(found) == labels).sum() == right


def test_without_a_version_the_newest_digit_model_answers(client: grpcclient.InferenceServerClient) -> None:
    result = client.infer("digits", [tensor("image", "UINT8", np.zeros((1, 8, 8), np.uint8))])
    assert result.get_response().model_version == "2"


def test_add_sub(client: grpcclient.InferenceServerClient) -> None:
    numbers = [tensor(name, "INT32", np.array([values], np.int32)) for name, values in (("A", [5, -1]), ("B", [3, 4]))]
    result = client.infer("add_sub", numbers)
    assert result.as_numpy("SUM").tolist() == [[8, 3]]
    assert result.as_numpy("DIFFERENCE").tolist() == [[2, -5]]


def test_add_sub_of_different_shapes_is_the_client_s_mistake(client: grpcclient.InferenceServerClient) -> None:
    numbers = [tensor(name, "INT32", np.zeros((1, size), np.int32)) for name, size in (("A", 2), ("B", 3))]
    with pytest.raises(InferenceServerException, match="A and B differ in shape") as caught:
        client.infer("add_sub", numbers)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def generate_stream(triton: Triton, body: dict[str, Any]) -> list[tuple[float, str]]:
    """(seconds, token) of each event."""
    connection = http.client.HTTPConnection(triton.http_address, timeout=10)
    began = time.monotonic()
    connection.request("POST", "/v2/models/tokens/generate_stream", json.dumps(body))
    with connection.getresponse() as response:
        assert response.status == 200
        lines = [(time.monotonic() - began, line.decode()) for line in response if line.startswith(b"data: ")]
    connection.close()
    return [(at, json.loads(line.removeprefix("data: "))["text_output"]) for at, line in lines]


def test_tokens_come_one_by_one(triton: Triton) -> None:
    events = generate_stream(triton, {"text_input": "The water", "max_tokens": 6, "delay_ms": 50})
    assert len(events) == 6
    assert events[-1][0] - events[0][0] > 0.15
    again = generate_stream(triton, {"text_input": "The water", "max_tokens": 6, "delay_ms": 0})
    assert [token for _, token in again] == [token for _, token in events]


def test_tokens_have_a_length_by_default(triton: Triton) -> None:
    assert len(generate_stream(triton, {"text_input": "", "delay_ms": 0})) == 24


def test_a_cancelled_token_stream_ends(triton: Triton, client: grpcclient.InferenceServerClient) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put(error or result))
    inputs = [
        tensor("text_input", "BYTES", np.array([b"a"], np.object_)),
        tensor("max_tokens", "INT32", np.array([2**31 - 1], np.int32)),
        tensor("delay_ms", "INT32", np.array([0], np.int32)),
    ]
    client.async_stream_infer("tokens", inputs)
    assert answers.get(timeout=5).as_numpy("text_output") is not None
    assert work(triton, 0.3) > 0.05
    client.stop_stream(cancel_requests=True)
    time.sleep(0.3)
    assert work(triton, 0.3) < 0.05


def work(triton: Triton, seconds: float) -> float:
    """Seconds of CPU that the server and its models take in `seconds`."""
    before = cpu_seconds(triton.pid)
    time.sleep(seconds)
    return cpu_seconds(triton.pid) - before


def test_both_versions_have_the_same_code() -> None:
    first, second = (Path(MODELS, "digits", version, "model.py").read_text() for version in "12")
    assert first == second
