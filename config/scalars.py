"""Single values: what a type asks for in words, and a plain YAML value read as that type.

Numbers are decimal and nothing else: YAML 1.1 reads `010` as eight, `1:30` as ninety and `1e9` as text, so each of
these is a mistake here; and a flag is `true` or `false`, not `yes` or `on`. Text that YAML takes for a number or a
boolean (`model: 123`, `name: on`) has to be quoted, but for the forms that keep any value as it is written.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec.inspect as mi
import yaml

from config.forms import FORMS
from config.problems import did_you_mean, listed, quote

_TAG = "tag:yaml.org,2002:"
_WHOLE = re.compile("-?(?:0|[1-9][0-9]*)")
_MAX_DIGITS = 18  # beyond every bound, and within what int() takes


def bare(kind: mi.Type) -> tuple[mi.Type, dict[str, Any]]:
    """A type without its annotations, and their `extra`."""
    if isinstance(kind, mi.Metadata):
        return kind.type, kind.extra or {}
    return kind, {}


def is_null(node: yaml.Node) -> bool:
    """Whether the value is `null`, `~` or not there."""
    return isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}null"


def found(node: yaml.Node) -> str:
    """A value in words, for the end of a message."""
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    if not isinstance(node, yaml.ScalarNode):
        return "a mapping"
    if is_null(node):
        return "nothing"
    return quote(node.value) if _is_text(node) else quote(node.value)[1:-1]


def describe(kind: mi.Type) -> str:
    """What the type asks for, to complete "expected …"."""
    kind, extra = bare(kind)
    if isinstance(kind, mi.UnionType):
        return " or ".join(map(describe, _options(kind)))
    if isinstance(kind, mi.LiteralType):
        one, *more = map(str, kind.values)
        return f"one of: {listed([one, *more])}" if more else one
    if "form" in extra:
        return FORMS[extra["form"]].expected
    if isinstance(kind, mi.BoolType):
        return "true or false"
    return "a whole number" + _bounds(kind, extra)


def read_scalar(kind: mi.Type, node: yaml.Node) -> Any:
    """The value of `node` as `kind`. Raises ValueError, whose message says what was expected and what was found."""
    bare_kind, extra = bare(kind)
    if isinstance(bare_kind, mi.UnionType):
        return _read_union(bare_kind, node)
    if not isinstance(node, yaml.ScalarNode) or is_null(node):
        raise ValueError(f"expected {describe(kind)}, got {found(node)}")
    if isinstance(bare_kind, mi.LiteralType):
        return _read_literal(bare_kind, node)
    if isinstance(bare_kind, mi.BoolType):
        return _read_flag(node)
    if "form" in extra:
        value = _read_form(extra["form"], node)
    else:
        value = _read_whole(kind, node)
    if _outside(bare_kind, value):
        raise ValueError(f"expected a value{_bounds(bare_kind, extra)}, got {node.value[:40]}")
    return value


def _read_union(kind: mi.UnionType, node: yaml.Node) -> Any:
    if is_null(node) and any(isinstance(option, mi.NoneType) for option in kind.types):
        return None
    options = _options(kind)
    if len(options) == 1:
        return read_scalar(options[0], node)
    for option in options:
        try:
            return read_scalar(option, node)
        except ValueError:
            continue
    raise ValueError(f"expected {describe(kind)}, got {found(node)}")


def _read_literal(kind: mi.LiteralType, node: yaml.ScalarNode) -> Any:
    for value in kind.values:
        if str(value) == node.value:  # as written: `1.3` needs no quotes to be a version
            return value
    hint = did_you_mean(node.value, map(str, kind.values))
    raise ValueError(f"expected {describe(kind)}; got {found(node)}{hint}")


def _read_flag(node: yaml.ScalarNode) -> bool:
    if node.style or node.value not in ("true", "false"):
        raise ValueError(f"expected true or false, got {found(node)}")
    return bool(node.value == "true")


def _read_form(name: str, node: yaml.ScalarNode) -> Any:
    form = FORMS[name]
    if form.free and not _is_text(node):
        raise ValueError(f"expected {form.expected}, got {found(node)}; if it is meant as text, write it in quotes")
    return form.read(node.value)


def _read_whole(kind: mi.Type, node: yaml.ScalarNode) -> int:
    if node.style or not _WHOLE.fullmatch(node.value):
        raise ValueError(f"expected {describe(kind)}, got {'the text ' if _is_text(node) else ''}{found(node)}")
    return int(node.value[:_MAX_DIGITS])


def _is_text(node: yaml.ScalarNode) -> bool:
    """A plain value has the style None, or an empty one from libyaml."""
    return bool(node.style) or node.tag.removeprefix(_TAG) not in ("int", "float", "bool", "null")


def _options(kind: mi.UnionType) -> list[mi.Type]:
    return [option for option in kind.types if not isinstance(option, mi.NoneType)]


def _outside(kind: mi.Type, value: Any) -> bool:
    return isinstance(kind, mi.IntType | mi.FloatType) and not (
        (kind.ge is None or kind.ge <= value) and (kind.le is None or value <= kind.le)
    )


def _bounds(kind: mi.Type, extra: dict[str, Any]) -> str:
    if not isinstance(kind, mi.IntType | mi.FloatType) or kind.ge is None or kind.le is None:
        return ""
    show = FORMS[extra["form"]].show if "form" in extra else str
    return f" between {show(kind.ge)} and {show(kind.le)}"
