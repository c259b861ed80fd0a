"""Raw binary requests: the shape from the bytes."""

from __future__ import annotations

import pytest

from transcoding.message import InferRequest, ModelSignature, Tensor
from transcoding.raw_input import decode_raw
from transcoding.status import GatewayError


def model(datatype: str, *shape: int, batch: int = 0, inputs: int = 1) -> ModelSignature:
    tensors = {f"INPUT{index}": (datatype, shape) for index in range(inputs)}
    return ModelSignature("m", "1", batch, False, tensors, {})


@pytest.mark.parametrize(
    ("signature", "size", "shape"),
    [
        (model("FP32", -1), 12, (3,)),
        (model("FP32", 3), 12, (3,)),
        (model("FP32", -1, 16, batch=8), 64, (1, 16)),
        (model("INT8", -1, -1, 2, batch=8), 6, (1, 3, 2)),
        (model("FP16", -1), 0, (0,)),
        (model("INT64", 2, -1), 32, (2, 2)),
    ],
)
def test_the_shape_is_deduced_for_a_batch_of_one(signature: ModelSignature, size: int, shape: tuple[int, ...]) -> None:
    body = bytes(size)
    datatype = signature.inputs["INPUT0"][0]
    assert decode_raw(body, "m", "2", signature) == InferRequest(
        "m", "2", inputs=[Tensor("INPUT0", datatype, shape, body)], binary_output=True
    )


@pytest.mark.parametrize("signature", [model("BYTES", 1), model("BYTES", -1, 1, batch=4)])
def test_bytes_are_one_element_with_its_length_before_it(signature: ModelSignature) -> None:
    (tensor,) = decode_raw(b"abc", "m", "", signature).inputs
    assert set(tensor.shape) == {1}
    assert tensor.data == b"\x03\0\0\0abc"


@pytest.mark.parametrize(
    ("signature", "size", "message"),
    [
        (model("FP32", -1, inputs=2), 4, "Raw request must only have 1 input .* but got 2 inputs in 'm' model config"),
        (model("FP32", -1, inputs=0), 4, "Raw request must only have 1 input .* but got 0 inputs"),
        (model("FP32", -1, -1), 4, "The shape of the raw input 'INPUT0' can not be deduced because"),
        (model("FP32", -1), 118, "input byte size mismatch for input 'INPUT0' for model 'm'. Expected 116, got 118"),
        (model("FP32", 3), 8, "input byte size mismatch for input 'INPUT0' for model 'm'. Expected 12, got 8"),
        (model("FP32", -1, 0), 8, "input byte size mismatch"),
        (model("BYTES", -1), 8, r"For BYTE datatype raw input 'INPUT0', the model must have input shape \[1\]"),
        (model("BYTES", 2), 8, r"For BYTE datatype raw input 'INPUT0', the model must have input shape \[1\]"),
    ],
)
def test_what_can_not_be_deduced_has_tritons_words(signature: ModelSignature, size: int, message: str) -> None:
    with pytest.raises(GatewayError, match=f"^{message}") as error:
        decode_raw(bytes(size), "m", "", signature)
    assert error.value.http_status == 400
