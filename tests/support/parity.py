"""What differs between an answer of Triton and one of the gateway, and what `docs/compatibility.md` allows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.rest import LENGTH, Answer

DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "compatibility.md"
HEADERS = ("content-type", "content-encoding", "accept-encoding", "allow")

ERROR_TYPE, EMPTY_TYPE, ALLOW = "error-content-type", "empty-answer-content-type", "allow-header"
EVERYWHERE = {ERROR_TYPE, EMPTY_TYPE, ALLOW}
"""Differences in headers alone that any answer may show; `unlike` leaves them out."""


@dataclass(frozen=True)
class Case:
    """One request. With a `difference`, the identifier of one that is documented, the gateway answers `status` where
    Triton answers something else; without, both answer alike."""

    name: str
    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    difference: str = ""
    status: int = 0


def documented() -> set[str]:
    """The identifiers in the tables of the document: the first cell of each row, in backquotes."""
    return set(re.findall(r"^\| `([a-z0-9-]+)` \|", DOCUMENT.read_text(), re.MULTILINE))


def unlike(triton: Answer, gateway: Answer) -> dict[str, tuple[Any, Any]]:
    """Aspect to its two values, for each aspect in which the answers differ beyond `EVERYWHERE`."""
    pairs: dict[str, tuple[Any, Any]] = {
        "status": (triton.status, gateway.status),
        "body": (_body(triton), _body(gateway)),
        LENGTH: (LENGTH in triton.headers, LENGTH in gateway.headers),
    }
    pairs |= {name: (triton.headers.get(name), gateway.headers.get(name)) for name in HEADERS}
    different = {name: pair for name, pair in pairs.items() if not _same(*pair)}
    for name in excused(triton, gateway):
        different.pop({ERROR_TYPE: "content-type", EMPTY_TYPE: "content-type", ALLOW: "allow"}[name])
    return different


def excused(triton: Answer, gateway: Answer) -> set[str]:
    """Those of `EVERYWHERE` that this pair of answers shows."""
    before, after = triton.headers.get("content-type"), gateway.headers.get("content-type")
    shown = set()
    if triton.status >= 400 and (before, after) == ("text/plain", "application/json"):
        shown.add(ERROR_TYPE)
    if not triton.body and not gateway.body and before != after is None:
        shown.add(EMPTY_TYPE)
    if triton.status == gateway.status == 405 and "allow" in gateway.headers and "allow" not in triton.headers:
        shown.add(ALLOW)
    return shown


def _body(answer: Answer) -> Any:
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        return answer.events
    try:
        return answer.json, answer.tail
    except ValueError:
        return answer.content


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON whatever the order of keys; 1 is not 1.0, and NaN is itself."""
    return _canonical(one) == _canonical(other)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=bytes.hex)
