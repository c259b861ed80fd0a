"""What does not fit a model's metadata is named with its place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.message import InferRequest, ModelSignature, RequestedOutput, Tensor
from transcoding.signature_check import check_request, elements_of
from transcoding.status import Code, GatewayError
from transcoding.tensor import join_elements

INPUTS = {"A": ("INT32", (-1, 3)), "B": ("FP32", (-1, -1)), "T": ("BYTES", (-1, 2))}
TEXTS = join_elements([b"one", b""])


def a_model(max_batch_size: int = 4, **more: Any) -> ModelSignature:
    return ModelSignature("m", "1", max_batch_size, False, INPUTS, {"OUT": ("INT32", (-1, 3))}, **more)


def a_tensor(
    name: str = "A", datatype: str = "INT32", shape: tuple[int, ...] = (1, 3), data: Any = b"\0" * 12
) -> Tensor:
    return Tensor(name, datatype, shape, data)


def others(batch: int = 1) -> list[Tensor]:
    return [a_tensor("B", "FP32", (batch, 2), b"\0" * 8 * batch), a_tensor("T", "BYTES", (batch, 2), TEXTS * batch)]


def said(inputs: list[Tensor], model: ModelSignature | None = None, outputs: list[str] = []) -> str:  # noqa: B006
    """What is wrong, "" for nothing."""
    request = InferRequest("m", inputs=inputs, outputs=[RequestedOutput(name) for name in outputs])
    try:
        check_request(request, model or a_model())
    except GatewayError as error:
        return error.message if error.code is Code.INVALID_ARGUMENT else repr(error)
    return ""


def test_what_fits() -> None:
    assert said([a_tensor(), *others()], outputs=["OUT"]) == ""
    assert said([a_tensor(shape=(4, 3), data=b"\0" * 48), *others(4)]) == ""
    assert said([*others(), a_tensor()]) == ""
    assert said([a_tensor(shape=(0, 3), data=b""), *others(0)]) == ""


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (a_tensor("X"), "inputs[0].name: expected one of A, B, T, got 'X'"),
        (a_tensor(datatype="FP32"), "inputs[0].datatype: expected INT32 for 'A', got 'FP32'"),
        (a_tensor(datatype="INT64"), "inputs[0].datatype: expected INT32 for 'A', got 'INT64'"),
        (a_tensor(shape=(3,)), "inputs[0].shape: expected [-1,3] for 'A', got [3]"),
        (a_tensor(shape=(1, 4)), "inputs[0].shape: expected [-1,3] for 'A', got [1,4]"),
        (a_tensor(shape=(1, 1, 3)), "inputs[0].shape: expected [-1,3] for 'A', got [1,1,3]"),
        (a_tensor(shape=(5, 3)), "inputs[0].shape[0]: expected a batch of at most 4 for 'A', got 5"),
        (a_tensor(shape=(-1, 3)), "inputs[0].shape[0]: expected an integer ≥ 0, got -1"),
        (a_tensor(data=b"\0" * 11), "inputs[0].data: expected 12 bytes for 'A', INT32[1,3], got 11"),
        (a_tensor(data=b"\0" * 24), "inputs[0].data: expected 12 bytes for 'A', INT32[1,3], got 24"),
        (a_tensor(data=b""), "inputs[0].data: expected 12 bytes for 'A', INT32[1,3], got 0"),
        (a_tensor("B", "FP32", (1, 2**62)), "inputs[0].shape: the tensor would have more than 2^63 - 1 bytes"),
        (
            a_tensor("T", "BYTES", (1, 2), join_elements([b"one"])),
            "inputs[0].data: expected 2 elements for 'T', BYTES[1,2], got 1",
        ),
        (
            a_tensor("T", "BYTES", (1, 2), TEXTS[:-1]),
            "inputs[0].data: expected 2 elements for 'T', BYTES[1,2], got a length that points behind the end",
        ),
    ],
)  # fmt: skip
def test_a_tensor_that_does_not_fit(tensor: Tensor, message: str) -> None:
    assert said([tensor, *(each for each in others() if each.name != tensor.name)]) == message


def test_inputs_as_a_whole() -> None:
    assert said([a_tensor()]) == "inputs: expected 'B', 'T' too, which the model needs"
    assert said([a_tensor()], a_model(optional=frozenset("BT"))) == ""
    assert said([a_tensor(), a_tensor(), *others()]) == "inputs[1].name: expected each input once, got 'A' again"
    assert said([a_tensor(), *others(2)]) == "inputs: expected one batch size for all, got 1 ('A') and 2 ('B')"
    assert said([]) == "inputs: expected 'A', 'B', 'T' too, which the model needs"


def test_an_output_that_there_is_not() -> None:
    message = "outputs[1].name: expected one of OUT, got 'X'"
    assert said([a_tensor(), *others()], outputs=["OUT", "X"]) == message


def test_without_a_batch_every_dimension_is_the_models() -> None:
    assert said([a_tensor(shape=(9, 3), data=b"\0" * 108), *others()], a_model(0)) == ""


def test_shape_tensors_have_rules_of_their_own() -> None:
    model = a_model(shaped_freely=frozenset("A"))
    assert said([a_tensor(shape=(2,), data=b"\0" * 8), *others(3)], model) == ""


def test_tensors_in_shared_memory_have_no_bytes_here() -> None:
    shared = Tensor("A", "INT32", (1, 3), None, {"shared_memory_region": "r"})
    assert said([shared, *others()]) == ""
    shared.shape = (1, 4)
    assert said([shared, *others()]).startswith("inputs[0].shape")


@given(st.binary(max_size=64))
def test_elements_of_any_bytes(raw: bytes) -> None:
    count = elements_of(memoryview(raw))
    assert count is None or 0 <= count <= len(raw) // 4


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_elements_are_counted(elements: list[bytes]) -> None:
    assert elements_of(memoryview(join_elements(elements))) == len(elements)
