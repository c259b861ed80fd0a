"""What each form of text reads and refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.forms import FORMS


@pytest.mark.parametrize(
    ("form", "text", "value"),
    [
        ("duration", "1m30s", 90.0),
        ("size", "64MiB", 67108864),
        ("address", "[::]:80", "[::]:80"),
        ("endpoint", "gpu-0:8001", "gpu-0:8001"),
        ("admin", "unix:/run/a.sock", "unix:/run/a.sock"),
        ("version", "2", "2"),
        ("version", "9223372036854775807", "9223372036854775807"),
        ("pattern", "resnet*", "resnet*"),
        ("header", "X-Request-Id", "x-request-id"),
        ("path", "tls/server.pem", "tls/server.pem"),
        ("picker", "round_robin", "round_robin"),
        ("text", "any text", "any text"),
    ],
)
def test_what_each_form_reads(form: str, text: str, value: object) -> None:
    assert FORMS[form].read(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "01", "1e3", "1.0", "latest", "", "9223372036854775808", "٢"])
def test_not_a_version(text: str) -> None:
    with pytest.raises(ValueError, match="expected a model version: a whole number ≥ 1, got "):
        FORMS["version"].read(text)


@pytest.mark.parametrize("text", ["", " ", "a\nb", "a\x00", "\x1b[31m", "a\u202eb", "x" * 4096])
def test_not_plain_text(text: str) -> None:
    with pytest.raises(ValueError, match="expected 1 to 4095 printable characters, got "):
        FORMS["text"].read(text)


@pytest.mark.parametrize("text", ["", "a b", "a:b", "é", ":path"])
def test_not_a_header(text: str) -> None:
    with pytest.raises(ValueError, match="expected a header name such as x-request-id, got "):
        FORMS["header"].read(text)


@pytest.mark.parametrize(
    "text",
    ["Host", "connection", "TE", "content-length", "grpc-timeout", "triton_grpc_error", "triton-grpc-protocol-x"],
)
def test_a_header_that_is_never_forwarded(text: str) -> None:
    with pytest.raises(ValueError, match=f"got '{text}', which the gateway keeps"):
        FORMS["header"].read(text)


def test_a_pattern_is_as_long_as_a_folder_name_at_most() -> None:
    assert FORMS["pattern"].read("x" * 255)
    with pytest.raises(ValueError, match="expected at most 255 characters, got 256"):
        FORMS["pattern"].read("x" * 256)


@given(st.sampled_from(sorted(FORMS)), st.text(max_size=20))
def test_any_text_is_read_or_a_value_error(form: str, text: str) -> None:
    try:
        said = FORMS[form].show(FORMS[form].read(text))
    except ValueError as error:
        said = str(error) if str(error).startswith("expected ") else ""
    assert said
