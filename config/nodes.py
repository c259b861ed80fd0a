"""YAML text to a tree of nodes that know their line and column, and that is safe to walk.

Only what the configuration needs of YAML is let through: mappings, lists and plain values, with anchors, aliases and
merge keys (`<<`) under bounds. Tags are refused, so nothing in a file ever names a Python object. The events of the
text are looked at before nodes are made of them, since an alias costs three bytes there whatever it expands to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, ScalarEvent

from config.problems import quote

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32  # the schema needs 7
MAX_VALUES = 200_000  # a file of 10,000 routes has about 90,000

_Loader: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # YAML 1.1 §5.1
_MERGE = "tag:yaml.org,2002:merge"


class Mark(Protocol):
    """Where a node begins, both from 0. libyaml's marks and PyYAML's own are two classes."""

    line: int
    column: int


Report = Callable[[Mark, str], None]
Pair = tuple[yaml.ScalarNode, yaml.Node]


class Unreadable(Exception):
    """Text that is not one YAML document within the bounds. `line` and `column` count from 1."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column, self.message = line, column, message


class _Extent(NamedTuple):
    """What a value comes to with its aliases expanded."""

    values: int
    depth: int

    def around(self, inner: _Extent) -> _Extent:
        return _Extent(self.values + inner.values, max(self.depth, inner.depth + 1))


def compose(text: str) -> yaml.Node | None:
    """The root node, or None for an empty document. Raises Unreadable."""
    text = text.removeprefix("\ufeff")
    if (bad := _NOT_YAML.search(text)) is not None:
        raise _unreadable_at(text, bad.start(), f"expected printable text, got the character {bad.group()!r}")
    if len(text.encode()) > MAX_BYTES:
        raise Unreadable(1, 1, f"expected at most {MAX_BYTES} bytes, got {len(text.encode())}")
    try:
        _check_events(yaml.parse(text, Loader=_Loader))
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error) from error
    except yaml.YAMLError as error:
        raise Unreadable(1, 1, f"not YAML: {quote(str(error))}") from error


def pairs(node: yaml.MappingNode, report: Report) -> Iterator[Pair]:
    """Keys and values of a mapping, merged ones after its own. What is no key, or given twice, goes to `report`."""
    own: dict[str, Mark] = {}
    merged: list[yaml.Node] = []
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            report(key.start_mark, "expected a name as the key, got a list or a mapping")
        elif key.tag == _MERGE:
            merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
        elif key.value in own:
            report(key.start_mark, f"{quote(key.value)} is given twice, first in line {own[key.value].line + 1}")
        else:
            own[key.value] = key.start_mark
            yield key, value
    for source in merged:
        yield from _merged(source, own, report)


def _merged(source: yaml.Node, own: dict[str, Mark], report: Report) -> Iterator[Pair]:
    if not isinstance(source, yaml.MappingNode):
        report(source.start_mark, "expected a mapping, or a list of mappings, to merge")
        return
    for key, value in pairs(source, report):
        if key.value not in own:
            own[key.value] = key.start_mark
            yield key, value


def _check_events(events: Iterable[Event]) -> None:
    """Raise Unreadable for a tag, or for more values or deeper nesting than the bounds allow."""
    anchors: dict[str | None, _Extent | None] = {}
    stack: list[tuple[str | None, _Extent]] = [(None, _Extent(0, 0))]  # anchor and extent so far, outermost first
    for event in events:
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
            raise _unreadable(event, f"expected a value without a tag, got {quote(event.tag)}")
        if isinstance(event, CollectionStartEvent):
            anchors[event.anchor] = None  # until its end
            stack.append((event.anchor, _Extent(1, 1)))
            extent = _Extent(0, 0)
        elif isinstance(event, CollectionEndEvent):
            anchor, extent = stack.pop()
            anchors[anchor] = extent
        elif isinstance(event, ScalarEvent):
            extent = anchors[event.anchor] = _Extent(1, 1)
        elif isinstance(event, AliasEvent):
            extent = _aliased(event, anchors)
        else:
            continue
        stack[-1] = stack[-1][0], stack[-1][1].around(extent)
        if len(stack) + extent.depth > MAX_DEPTH:
            raise _unreadable(event, f"expected at most {MAX_DEPTH} levels of nesting")
        if stack[-1][1].values > MAX_VALUES:
            raise _unreadable(event, f"expected at most {MAX_VALUES} values, aliases expanded")


def _aliased(event: AliasEvent, anchors: dict[str | None, _Extent | None]) -> _Extent:
    extent = anchors.get(event.anchor, _Extent(1, 1))  # an unknown alias is the composer's to report
    if extent is None:
        raise _unreadable(event, f"expected a value, got *{event.anchor}, which contains this place")
    return extent


def _unreadable(event: Event, message: str) -> Unreadable:
    line, column = _place(event.start_mark)
    return Unreadable(line, column, message)


def _unreadable_at(text: str, index: int, message: str) -> Unreadable:
    before = text[:index].split("\n")
    return Unreadable(len(before), len(before[-1]) + 1, message)


def _syntax_error(error: yaml.MarkedYAMLError) -> Unreadable:
    begins = f" that begins in line {_place(error.context_mark)[0]}" if error.context_mark else ""
    context = f" ({error.context}{begins})" if error.context else ""
    hint = "; a value that begins with * is written in quotes" if "alias" in f"{error.problem}{context}" else ""
    line, column = _place(error.problem_mark or error.context_mark)
    return Unreadable(line, column, f"not YAML: {error.problem}{context}{hint}")


def _place(mark: Mark | None) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)
