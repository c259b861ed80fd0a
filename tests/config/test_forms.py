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
        ("number", "20%", 0.2),
        ("model", "resnet50", "resnet50"),
        ("nameserver", "[fd00::1]:53", "[fd00::1]:53"),
        ("host", "::1", "::1"),
        ("dns_name", "_grpc._tcp.triton.example.", "_grpc._tcp.triton.example."),
        ("cookie", "session_id", "session_id"),
        ("any_header", "X-User", "x-user"),
        ("hash_key", "header:X-User", "header:x-user"),
        ("regex", "v[12]", "v[12]"),
        ("url_path", "/metrics?a=b", "/metrics?a=b"),
        ("url", "https://a.example/b", "https://a.example/b"),
        ("variable", "OMP_NUM_THREADS", "OMP_NUM_THREADS"),
        ("devices", "0,1", "0,1"),
        ("devices", "MIG-GPU-5fd4/1/0", "MIG-GPU-5fd4/1/0"),
        ("json", '{"backend": "python"}', '{"backend": "python"}'),
        ("setting", "", ""),
        ("value", "--log-verbose=1", "--log-verbose=1"),
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


@pytest.mark.parametrize("text", ["2", "latest", "stable", "Canary-2.x"])
def test_a_version_of_a_target(text: str) -> None:
    assert FORMS["target_version"].read(text) == text


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("target_version", "0", "expected a model version: a whole number ≥ 1, got '0'"),
        ("target_version", "sta ble", "expected a label of at most 63 letters, .* got 'sta ble'"),
        ("target_version", "", "expected a model version: a whole number ≥ 1, got ''"),
        ("label", "latest", "expected a label other than 'latest'"),
        ("label", "2nd", "expected a label of at most 63 letters, digits, .* with a letter first, got '2nd'"),
        ("label", "x" * 64, "expected a label of at most 63 letters"),
        ("model", "a/b", "expected a model's name of at most 255 characters, without '/', got 'a/b'"),
        ("model", "x" * 256, "expected a model's name of at most 255 characters"),
        ("nameserver", "dns:53", "expected the IP address of a name server, got the name 'dns'"),
        ("nameserver", "10.0.0.1", "expected host:port, e.g. 10.0.0.10:53, got '10.0.0.1'"),
        ("regex", "(", "expected a regular expression of RE2, got '\\('"),
        ("regex", "a" * 1001, "expected at most 1000 characters, got 1001"),
        ("url", "http://a.example", "expected https://, or http:// on this machine, got 'http://a.example'"),
        ("url_path", "metrics", "expected a path that begins with '/', got 'metrics'"),
        ("url_path", "/a b", "expected a path that begins with '/', got '/a b'"),
        ("url_path", "/a#b", "expected a path that begins with '/', got '/a#b'"),
        ("variable", "A-B", "expected the name of a variable such as OMP_NUM_THREADS, got 'A-B'"),
        ("devices", "0, 1", "expected devices such as 0, .* got '0, 1'"),
        ("json", "{", "expected a JSON object, got '{': Input data was truncated"),
        ("json", "[" * 4000, "expected a JSON object, got "),
        ("json", "5", "expected a JSON object, got '5': Expected `object`, got `int`"),
        ("host", "a b", "expected an IP address or a host name, got 'a b'"),
        ("dns_name", "10.0.0.1", "expected a DNS name such as _grpc._tcp.triton.example, got '10.0.0.1'"),
        ("number", "1e3", "expected a number such as 0.2, 20% or 3, got '1e3'"),
    ],
)
def test_what_each_form_refuses(form: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FORMS[form].read(text)


@given(st.sampled_from(sorted(FORMS)), st.text(max_size=20))
def test_any_text_is_read_or_a_value_error(form: str, text: str) -> None:
    try:
        said = "expected " + FORMS[form].show(FORMS[form].read(text))
    except ValueError as error:
        said = str(error)
    assert said.startswith("expected ")
