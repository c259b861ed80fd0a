"""JSON bodies of management requests: objects whose fields are checked one by one, errors naming the field."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import orjson

from transcoding.message import Content
from transcoding.status import GatewayError, invalid

_TYPES = {bool: "a boolean", str: "a string", list: "an array", dict: "an object", type(None): "null"}
_MISSING = object()


class Fields:
    """A JSON object and the path that errors give for its members, "" for the body itself."""

    def __init__(self, value: object, path: str = "") -> None:
        if not isinstance(value, dict):
            raise invalid(f"{path or 'body'}: expected an object, got {kind(value)}")
        self.value: dict[str, Any] = value
        self.path = path

    def __iter__(self) -> Iterable[str]:
        return iter(self.value)

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def at(self, key: str) -> str:
        """The path of a member."""
        return f"{self.path}.{key}" if self.path else key

    def wrong(self, key: str, expected: str) -> GatewayError:
        return invalid(f"{self.at(key)}: expected {expected}, got {kind(self.value.get(key))}")

    def raw(self, key: str) -> Any:
        """A member that must be there."""
        value = self.value.get(key, _MISSING)
        if value is _MISSING:
            raise invalid(f"{self.at(key)}: missing")
        return value

    def text(self, key: str) -> str:
        value = self.raw(key)
        if type(value) is not str:
            raise self.wrong(key, "a string")
        return value

    def boolean(self, key: str) -> bool:
        value = self.raw(key)
        if type(value) is not bool:
            raise self.wrong(key, "a boolean")
        return value

    def natural(self, key: str, limit: int) -> int:
        """An integer from 0 to `limit`."""
        value = self.raw(key)
        if type(value) is not int or not 0 <= value <= limit:
            raise self.wrong(key, f"an integer from 0 to {limit}")
        return value

    def base64(self, key: str) -> bytes:
        """The bytes that a base64 string stands for."""
        try:
            return base64.b64decode(self.text(key), validate=True)
        except (binascii.Error, ValueError):
            raise invalid(f"{self.at(key)}: not valid base64") from None

    def fields(self, key: str) -> Fields:
        """A member that is an object itself."""
        return Fields(self.raw(key), self.at(key))


def parse(body: Content) -> Fields:
    """The object that a body holds. Raises `GatewayError` 400 for anything else, an empty body included."""
    if not body:
        raise invalid("body: expected a JSON object, got nothing")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid(f"body: not valid JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
    return Fields(value)


def kind(value: object) -> str:
    """What a JSON value is, as an error tells it: numbers as they are, the rest by type."""
    if type(value) in (int, float):
        return repr(value)
    return _TYPES[type(value)]
