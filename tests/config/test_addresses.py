"""Addresses as operators write them, right and wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.addresses import (
    check_admin,
    check_host,
    check_name,
    check_url,
    is_loopback,
    is_wildcard,
    normal,
    split_address,
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:8080", "0.0.0.0", 8080),
        ("gpu-0:8001", "gpu-0", 8001),
        ("triton_0.triton.svc.cluster.local:65535", "triton_0.triton.svc.cluster.local", 65535),
        ("[::1]:1", "::1", 1),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("[::ffff:10.0.0.1]:80", "::ffff:10.0.0.1", 80),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        ":8080",
        "8080",
        "gpu-0",
        "gpu-0:",
        "http://gpu-0:8001",
        "a b:1",
        "a:http",
        "a:-1",
        "user@a:1",
        "[::1]",
        "",
        "a:1/",
    ],
)
def test_what_has_no_host_and_port(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected host:port, e\.g\. 0\.0\.0\.0:8080, got "):
        split_address(text)


def test_ipv6_without_brackets_is_told_so() -> None:
    with pytest.raises(ValueError, match="written in brackets"):
        split_address("::1:8080")


@pytest.mark.parametrize("port", ["0", "65536", "99999", "00000"])
def test_a_port_out_of_range(port: str) -> None:
    with pytest.raises(ValueError, match=f"expected a port between 1 and 65535, got {port}"):
        split_address(f"a:{port}")


@pytest.mark.parametrize(
    "host", ["256.1.1.1", "10.0.0", "-a", "a-", "a..b", ".", "a.", "x" * 64, "[10.0.0.1]", "[:::]", "é"]
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match="expected a host name or an IP address before the port"):
        split_address(f"{host}:80")


@pytest.mark.parametrize("text", ["127.0.0.1:9901", "[::1]:9901", "unix:/run/penstock.sock"])
def test_admin_addresses(text: str) -> None:
    assert check_admin(text) == text


@pytest.mark.parametrize("text", ["unix:", "unix:relative.sock", "unix:/" + "x" * 107])
def test_admin_sockets_are_absolute_and_fit_the_kernel(text: str) -> None:
    with pytest.raises(ValueError, match="expected unix:/path, absolute and at most 107 bytes"):
        check_admin(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "::", "fd00::1", "gpu-0", "localhost"])
def test_hosts(host: str) -> None:
    assert check_host(host) == host


@pytest.mark.parametrize("host", ["", "[::1]", "10.0.0", "a b", "gpu-0:80", "256.1.1.1"])
def test_what_is_no_host_alone(host: str) -> None:
    with pytest.raises(ValueError, match="expected an IP address or a host name, got "):
        check_host(host)


@pytest.mark.parametrize("name", ["triton", "_grpc._tcp.triton.example", "triton.example."])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "10.0.0.1", "::1", "a..b", "triton.example..", "a b"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected a DNS name such as _grpc\._tcp\.triton\.example, got "):
        check_name(name)


def test_two_spellings_of_one_address() -> None:
    assert normal("[0:0::1]:80") == normal("[::1]:80")
    assert normal("GPU-0:80") == normal("gpu-0:80")
    assert normal("gpu-0:80") != normal("gpu-0:81")


def test_loopback_and_wildcard_hosts() -> None:
    hosts = ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST", "0.0.0.0", "::", "10.0.0.1", "gpu-0"]
    assert [host for host in hosts if is_loopback(host)] == hosts[:5]
    assert [host for host in hosts if is_wildcard(host)] == ["0.0.0.0", "::"]


@given(st.text(alphabet="[]:.%a0-/x é", max_size=12) | st.text(max_size=12))
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        _, port = split_address(text)
    except ValueError as error:
        message = str(error)
    else:
        message = f"expected {normal(text)[1]} to be {port}"
        assert 1 <= port == normal(text)[1] <= 65535
    assert message.startswith("expected ")


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example/.well-known/jwks.json",
        "https://login.example:8443/keys?v=1",
        "https://10.0.0.1/",
        "http://127.0.0.1:8000/keys",
        "http://localhost/keys",
        "http://[::1]:1/keys",
    ],
)
def test_urls(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://login.example/keys", "expected https://, or http:// on this machine"),
        ("http://169.254.169.254/latest", "expected https://, or http:// on this machine"),
        ("http://127.0.0.1.example/keys", "expected https://, or http:// on this machine"),
        ("file:///etc/passwd", "expected https://host/path"),
        ("ftp://login.example/keys", "expected https://, or"),
        ("https://user:word@login.example/keys", "without a user and a fragment"),
        ("https://login.example/keys#x", "without a user and a fragment"),
        ("https://login.example:99999/", "expected https://host/path"),
        ("https://login.example:0/", "expected https://host/path"),
        ("https:///keys", "expected https://host/path"),
        ("https://a b/keys", "expected https://host/path"),
        ("https://[::1/keys", "expected https://host/path"),
        ("login.example/keys", "expected https://host/path"),
        ("", "expected https://host/path"),
    ],
)
def test_what_is_no_url_to_ask(url: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected) as caught:
        check_url(url)
    assert "word" not in str(caught.value)
