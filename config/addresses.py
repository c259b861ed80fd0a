"""Addresses as an operator writes them: `host:port`, `[v6]:port`, `unix:/path`."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from config.problems import quote

_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:/@\s]+)):([0-9]{1,5})")
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_NAME = 253  # RFC 1035 §2.3.4, without the final dot
_LONGEST_SOCKET = 107  # sun_path of Linux's sockaddr_un, without its final NUL
UNIX = "unix:"


def split_address(text: str, example: str = "0.0.0.0:8080") -> tuple[str, int]:
    """Host without brackets, and port 1..65535. Raises ValueError, whose message says what was expected."""
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        hint = "; an IPv6 address is written in brackets" if text.count(":") > 1 and "/" not in text else ""
        raise ValueError(f"expected host:port, e.g. {example}, got {quote(text)}{hint}")
    v6, name, port = match.groups()
    if not 1 <= int(port) <= 65535:
        raise ValueError(f"expected a port between 1 and 65535, got {port}")
    if not (_is_ip(v6, 6) if v6 else _is_name(name)):
        raise ValueError(f"expected a host name or an IP address before the port, got {quote(v6 or name)}")
    return v6 or name, int(port)


def check_admin(text: str) -> str:
    """`text`, where it is `host:port` or `unix:` with an absolute path. Raises ValueError."""
    if not text.startswith(UNIX):
        split_address(text, "127.0.0.1:9901")
        return text
    path = text.removeprefix(UNIX)
    if not path.startswith("/") or len(path.encode()) > _LONGEST_SOCKET:
        raise ValueError(f"expected unix:/path, absolute and at most {_LONGEST_SOCKET} bytes, got {quote(text)}")
    return text


def check_url(text: str) -> str:
    """`text`, where it is an address of HTTPS, or of HTTP on this machine, without a user and a fragment. Raises
    ValueError."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise ValueError(f"expected https://host/path, got {quote(text)}") from None
    if not (_is_ip(host) or _is_name(host)) or port == 0 or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"expected https://host/path, got {quote(text)}")
    if "@" in url.netloc or "#" in text:
        raise ValueError(f"expected https://host/path without a user and a fragment, got one with {host!r}")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(host)):
        raise ValueError(f"expected https://, or http:// on this machine, got {quote(text)}")
    return text


def check_host(text: str) -> str:
    """`text`, where it is an IP address without brackets, or a name. Raises ValueError."""
    if not (_is_ip(text) or _is_name(text)):
        raise ValueError(f"expected an IP address or a host name, got {quote(text)}")
    return text


def check_name(text: str) -> str:
    """`text`, where it is a DNS name, with or without its final dot. Raises ValueError."""
    if _is_ip(text) or not _is_name(text.removesuffix(".")):
        raise ValueError(f"expected a DNS name such as _grpc._tcp.triton.example, got {quote(text)}")
    return text


def normal(text: str) -> tuple[str, int]:
    """What two spellings of one valid `host:port` have in common."""
    host, port = split_address(text)
    return _normal_host(host), port


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the host. Names other than `localhost` are not looked up."""
    normal_host = _normal_host(host)
    return normal_host == "localhost" or (_is_ip(normal_host) and ipaddress.ip_address(normal_host).is_loopback)


def is_wildcard(host: str) -> bool:
    """Whether the host stands for every interface."""
    return _normal_host(host) in ("0.0.0.0", "::")


def _normal_host(host: str) -> str:
    return str(ipaddress.ip_address(host)) if _is_ip(host) else host.lower()


def _is_ip(host: str, version: int | None = None) -> bool:
    try:
        return version in (None, ipaddress.ip_address(host).version)
    except ValueError:
        return False


def _is_name(host: str) -> bool:
    if re.fullmatch("[0-9.]+", host):
        return _is_ip(host, 4)  # 10.0.0 and 256.1.1.1 are mistakes, not names
    return len(host) <= _LONGEST_NAME and all(_LABEL.fullmatch(label) for label in host.split("."))
