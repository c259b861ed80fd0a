"""The Redis protocol, RESP2: commands to bytes and bytes to answers. https://redis.io/docs/latest/develop/reference/protocol-spec/

Ours because it is on the path of a request: with the connection around it, a command costs 2 to 5 µs of CPU where the
library's pipelines cost 10 to 47 (`loadtests/micro_state.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from state import Argument, Reason, StateError

LONGEST_LINE: Final = 64 * 1024
LARGEST: Final = 128 * 1024 * 1024
"""Bytes of one string of an answer. What says it sends more is no store of ours."""
DEEPEST: Final = 16

_BULK, _NUMBER, _STATUS, _ARRAY, _ERROR = b"$:+*-"
_REASONS: Final[dict[str, Reason]] = {"OOM": "full", "LOADING": "down", "MASTERDOWN": "down", "READONLY": "down"}


class Garbage(Exception):
    """These bytes are not the Redis protocol."""


class Refusal(StateError):
    """The store's own error. `code` is its first word, such as NOSCRIPT."""

    def __init__(self, text: str) -> None:
        self.code = text.partition(" ")[0]
        super().__init__(text, _REASONS.get(self.code, "refused"))


class _Incomplete(Exception):
    """The rest is still to come; at `until` bytes of the buffer, a look is worth while."""

    def __init__(self, until: int = 0) -> None:
        self.until = until


def encode(commands: Iterable[tuple[Argument, ...]]) -> bytes:
    """The bytes of these commands."""
    parts: list[bytes] = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for word in command:
            if isinstance(word, str):
                word = word.encode("utf-8", "surrogatepass")
            elif not isinstance(word, bytes):
                word = repr(word).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(parts)


class Reader:
    """Takes bytes as they come and gives answers. A string is bytes, an integer is one, an array is a list, nothing is
    None and an error is a `Refusal`, which is not raised."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at_least = 0

    def feed(self, data: bytes) -> list[Any]:
        """The answers that are whole now. Raises `Garbage`, after which the reader is of no use."""
        buffer = self._buffer + data if self._buffer else data
        if len(buffer) < self._at_least:
            self._buffer = buffer
            return []
        answers, at = [], 0
        self._at_least = 0
        try:
            while at < len(buffer):
                answer, at = _parse(buffer, at, 0)
                answers.append(answer)
        except _Incomplete as more:
            self._at_least = max(0, more.until - at)
        except ValueError as error:
            raise Garbage(str(error)) from error
        self._buffer = buffer[at:]
        return answers


def _parse(buffer: bytes, at: int, depth: int) -> tuple[Any, int]:
    end = buffer.find(b"\r\n", at)
    if end < 0:
        if len(buffer) - at > LONGEST_LINE:
            raise Garbage(f"a line of more than {LONGEST_LINE} bytes")
        _check_kind(buffer[at])
        raise _Incomplete
    kind = buffer[at]
    if kind == _BULK:
        return _bulk(buffer, end, _size(buffer[at + 1 : end]))
    if kind == _NUMBER:
        return int(buffer[at + 1 : end]), end + 2
    if kind == _STATUS:
        return buffer[at + 1 : end], end + 2
    if kind == _ERROR:
        return Refusal(buffer[at + 1 : end].decode("utf-8", "replace")), end + 2
    _check_kind(kind)
    return _array(buffer, end, _size(buffer[at + 1 : end]), depth + 1)


def _bulk(buffer: bytes, end: int, size: int) -> tuple[bytes | None, int]:
    if size < 0:
        return None, end + 2
    start = end + 2
    stop = start + size
    if len(buffer) < stop + 2:
        raise _Incomplete(stop + 2)
    if buffer[stop : stop + 2] != b"\r\n":
        raise Garbage("a string that does not end where it says")
    return buffer[start:stop], stop + 2


def _array(buffer: bytes, end: int, size: int, depth: int) -> tuple[list[Any] | None, int]:
    if size < 0:
        return None, end + 2
    if depth > DEEPEST:
        raise Garbage(f"arrays nested more than {DEEPEST} deep")
    items, at = [], end + 2
    for _ in range(size):
        if at >= len(buffer):
            raise _Incomplete
        item, at = _parse(buffer, at, depth)
        items.append(item)
    return items, at


def _size(text: bytes) -> int:
    size = int(text)
    if not -1 <= size <= LARGEST:
        raise Garbage(f"a size of {size}")
    return size


def _check_kind(kind: int) -> None:
    if kind not in b"$:+*-":
        raise Garbage(f"an answer that begins with {bytes((kind,))!r}")
