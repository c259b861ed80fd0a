"""The hub's messages start empty and share nothing."""

from __future__ import annotations

from transcoding.message import InferReply, InferRequest, ModelSignature


def test_messages_share_no_lists() -> None:
    one, two = InferRequest("a"), InferRequest("b")
    one.inputs.append(None)
    one.outputs.append(None)
    assert (two.inputs, two.outputs) == ([], [])
    assert InferReply("a", "1").outputs is not InferReply("a", "1").outputs


def test_a_request_asks_for_json_and_any_version_unless_told_otherwise() -> None:
    request = InferRequest("a")
    assert (request.version, request.id, request.parameters, request.binary_output) == ("", "", None, False)


def test_a_signature_is_a_value() -> None:
    made = [ModelSignature("m", "1", 8, False, {"x": ("FP32", (-1, 3))}, {}) for _ in range(2)]
    assert made[0] == made[1]
