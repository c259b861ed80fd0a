"""Forms of text and numbers that a type alone does not tell: an address, a duration, a glob.

A field of `config.schema` names its form; the form reads what the operator wrote. Every `read` raises ValueError with a
message that says what was expected and what was found.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from config.addresses import check_admin, check_host, check_name, check_url, split_address
from config.headers import answered_header, forwarded_header, hash_key, header_value, matched_header, sent_header
from config.match import tokens
from config.problems import quote
from config.regex import compile_regex
from config.store_url import EXPECTED, check_store
from config.units import (
    DURATION,
    NUMBER,
    SIZE,
    format_duration,
    format_number,
    format_size,
    parse_duration,
    parse_number,
    parse_size,
)

_LONGEST_TEXT = 4095  # PATH_MAX of Linux, without its final NUL
_LONGEST_PATTERN = 255  # a model is a folder, and NAME_MAX is 255
_LATEST = 2**63 - 1  # Triton parses a version as int64
LATEST = "latest"
"""The word that stands for the highest version that is READY."""


class Form(NamedTuple):
    """`expected` completes "expected …"; `read` turns text into the value; `show` writes a value back. Any text may be
    meant where it is `free`, so a value that YAML takes for a number or a boolean is likely to be a slip."""

    expected: str
    read: Callable[[str], Any]
    show: Callable[[Any], str] = str
    free: bool = False


def _address(example: str) -> Form:
    def read(text: str) -> str:
        split_address(text, example)
        return text

    return Form(f"host:port, e.g. {example}", read)


def _plain(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_TEXT:
        raise ValueError(f"expected 1 to {_LONGEST_TEXT} printable characters, got {quote(text)}")
    return text


def _setting(text: str) -> str:
    return _plain(text) if text else text


def _like(pattern: str, expected: str) -> Form:
    """Text that `pattern` matches as a whole."""
    compiled = re.compile(pattern)

    def read(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(f"expected {expected}, got {quote(text)}")
        return text

    return Form(expected, read)


def _pattern(text: str) -> str:
    if len(text) > _LONGEST_PATTERN:
        raise ValueError(f"expected at most {_LONGEST_PATTERN} characters, got {len(text)}")
    tokens(_plain(text))
    return text


def _model(text: str) -> str:
    if len(text) > _LONGEST_PATTERN or "/" in _plain(text):
        what = f"a model's name of at most {_LONGEST_PATTERN} characters, without '/'"
        raise ValueError(f"expected {what}, got {quote(text)}")
    return text


def _version(text: str) -> str:
    if not re.fullmatch("[1-9][0-9]{0,18}", text) or int(text) > _LATEST:
        raise ValueError(f"expected a model version: a whole number ≥ 1, got {quote(text)}")
    return text


def _label(text: str) -> str:
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_.-]{0,62}", text):
        what = "a label of at most 63 letters, digits, '.', '_' and '-', with a letter first"
        raise ValueError(f"expected {what}, got {quote(text)}")
    if text == LATEST:
        raise ValueError(f"expected a label other than {LATEST!r}, which always is the highest version that is ready")
    return text


def _target_version(text: str) -> str:
    if text == LATEST:
        return text
    return _label(text) if text[:1].isalpha() else _version(text)


def _nameserver(text: str) -> str:
    host, _ = split_address(text, "10.0.0.10:53")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise ValueError(f"expected the IP address of a name server, got the name {quote(host)}") from None
    return text


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"expected an address or a network such as 10.0.0.0/8, got {quote(text)}: {error}") from None
    return text


def _regex(text: str) -> str:
    compile_regex(_plain(text))
    return text


def _url_path(text: str) -> str:
    if not re.fullmatch("/[!-~]{0,1023}", text) or "#" in text:
        raise ValueError(f"expected a path that begins with '/', got {quote(text)}")
    return text


def _json(text: str) -> str:
    try:
        msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"expected a JSON object, got {quote(text)}: {error}") from error
    return text


FORMS: dict[str, Form] = {
    "duration": Form(DURATION, parse_duration, format_duration),
    "size": Form(SIZE, parse_size, format_size),
    "number": Form(NUMBER, parse_number, format_number),
    "address": _address("0.0.0.0:8080"),
    "endpoint": _address("gpu-0:8001"),
    "admin": Form("host:port or unix:/path, e.g. 127.0.0.1:9901", check_admin),
    "store": Form(EXPECTED, check_store),
    "key_prefix": _like("[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", "a prefix such as penstock"),
    "nameserver": Form("IP:port, e.g. 10.0.0.10:53", _nameserver),
    "network": Form("an address or a network such as 10.0.0.0/8", _network),
    "host": Form("an IP address or a host name", check_host),
    "dns_name": Form("a DNS name such as _grpc._tcp.triton.example", check_name),
    "version": Form("a model version such as 2", _version),
    "label": Form("a label such as stable", _label, free=True),
    "target_version": Form("a model version, latest or a label", _target_version),
    "model": Form("the name of a model", _model, free=True),
    "pattern": Form("a model name or a glob such as resnet*", _pattern, free=True),
    "header": Form("a header name such as x-request-id", forwarded_header),
    "sent_header": Form("a header name such as x-team", sent_header),
    "answered_header": Form("a header name such as x-served-by", answered_header),
    "header_value": Form("text", header_value, free=True),
    "any_header": Form("a header name such as x-model-version", matched_header),
    "cookie": _like("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}", "the name of a cookie such as session"),  # a token of RFC 6265
    "hash_key": Form("header:NAME, principal, sequence or body", hash_key),
    "regex": Form("a regular expression", _regex, free=True),
    "path": Form("a path", _plain, free=True),
    "url": Form("an address such as https://login.example/keys", check_url),
    "url_path": Form("a path such as /metrics", _url_path),
    "picker": Form("the name of a picker", _plain, free=True),
    "policy": Form("the kind of a policy", _plain, free=True),
    "variable": _like("[A-Za-z_][A-Za-z0-9_]{0,254}", "the name of a variable such as OMP_NUM_THREADS"),
    "devices": _like("[0-9A-Za-z_./-]{1,255}(,[0-9A-Za-z_./-]{1,255}){0,63}", 'devices such as 0, "0,1" or GPU-5fd4'),
    "json": Form("a JSON object as text", _json, free=True),
    "setting": Form("text", _setting),
    "value": Form("text", _plain),
    "text": Form("text", _plain, free=True),
}
