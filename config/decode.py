"""YAML nodes to the types of `config.schema`, as far as they can be read.

A value that is wrong is reported and leaves a `HOLE`, so that one walk finds every mistake and the checks across parts
(`config.checks`) still see the rest. A HOLE answers every question with another HOLE, with nothing, or with no.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import msgspec.inspect as mi
import yaml

from config.fields import text
from config.forms import FORMS
from config.hole import HOLE
from config.node import Node
from config.nodes import Mark, Pair, pairs
from config.problems import ConfigError, Path, Problem, did_you_mean, joined, listed, path_text, quote
from config.routes import PolicySpec
from config.scalars import bare, found, is_null, read_scalar

MAX_PROBLEMS = 500  # nobody reads on after so many, and each may take a search for a near word

_NAME = mi.type_info(Annotated[str, text("The name of a shared policy")])
_KIND = mi.type_info(Annotated[str, text("What a policy does", "policy")])


class Decoder:
    """One walk over one file. `problems` gathers mistakes, `marks` where each value that was written begins, and
    `options` what each policy was given, as the type that `policies` has for its kind."""

    def __init__(self, file: str, policies: Mapping[str, type[Node]] = MappingProxyType({})) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.marks: dict[Path, Mark] = {}
        self.options: dict[Path, Node] = {}
        self._bare: set[Path] = set()  # lists of which the one item was written without a list
        self._policies = {kind: _struct_type(options) for kind, options in policies.items()}

    def decode(self, kind: mi.Type, node: yaml.Node, path: Path = ()) -> Any:
        """The value of `node` as `kind`, with a HOLE for each part that is wrong."""
        self.marks[path] = node.start_mark
        annotated, (kind, extra) = kind, bare(kind)
        if isinstance(kind, mi.StructType):
            return self._policy(node, path) if kind.cls is PolicySpec else self._struct(kind, node, path)
        if isinstance(kind, mi.VarTupleType):
            return self._list(kind, extra, node, path)
        if isinstance(kind, mi.DictType):
            return self._dict(kind, node, path)
        if isinstance(kind, mi.UnionType) and isinstance(kind.types[0], mi.StructType):
            return None if is_null(node) else self.decode(kind.types[0], node, path)
        try:
            return read_scalar(annotated, node)
        except ValueError as error:
            self.report(node.start_mark, path, str(error))
            return HOLE

    def report(self, mark: Mark, path: Path, message: str) -> None:
        """Note a mistake at `mark`. Raises ConfigError once there are too many to go on."""
        self.problems.append(Problem(self.file, mark.line + 1, mark.column + 1, path_text(path), message))
        if len(self.problems) >= MAX_PROBLEMS:
            stopped = f"these are {MAX_PROBLEMS} mistakes; there may be more"
            raise ConfigError([*self.problems, Problem(self.file, mark.line + 1, mark.column + 1, "", stopped)])

    def report_at(self, path: Path, message: str) -> None:
        """Note a mistake in the value at `path`, or in the nearest part above it that was written."""
        path = self._as_written(path)
        while path not in self.marks:
            path = path[:-1]
        self.report(self.marks[path], path, message)

    def _as_written(self, path: Path) -> Path:
        """The path without the index of an item that has no list around it."""
        written: Path = ()
        for part in path:
            if not (part == 0 and written in self._bare):
                written += (part,)
        return written

    def _struct(self, kind: mi.StructType, node: yaml.Node, path: Path) -> Any:
        fields = {field.encode_name: field for field in kind.fields}
        shorthand = getattr(kind.cls, "shorthand", None)
        if shorthand is not None and isinstance(node, yaml.ScalarNode) and not is_null(node):
            return kind.cls(**{shorthand: self.decode(fields[shorthand].type, node, path)})
        if not isinstance(node, yaml.MappingNode):
            self.report(node.start_mark, path, f"expected a mapping with {listed(fields)}, got {found(node)}")
            return HOLE
        return self._filled(kind, self._pairs(node, path), node, path)

    def _filled(self, kind: mi.StructType, written: Iterable[Pair], node: yaml.Node, path: Path) -> Any:
        fields = {field.encode_name: field for field in kind.fields}
        values = {}
        for key, value in written:
            if (field := fields.get(key.value)) is not None:
                values[field.name] = self.decode(field.type, value, (*path, key.value))
            else:
                self._unknown(key, fields, path)
        for field in kind.fields:
            if field.required and field.name not in values:
                self._missing(field.encode_name, node, path)
                values[field.name] = HOLE
        self._check_choice(kind.cls, values, node, path)
        return kind.cls(**values)

    def _check_choice(self, cls: type, values: Mapping[str, Any], node: yaml.Node, path: Path) -> None:
        choice = getattr(cls, "one_of", ())
        given = [name for name in choice if values.get(name) is HOLE or values.get(name) not in (None, False)]
        if choice and len(given) != 1:
            mark = self.marks[(*path, given[1])] if given else node.start_mark
            self.report(mark, path, f"expected one of {joined(choice)}, got {joined(given)}")
        some = getattr(cls, "some_of", ())
        if some and all(values.get(name) is None for name in some):
            self.report(node.start_mark, path, f"expected at least one of {joined(some)}, got none")

    def _missing(self, key: str, node: yaml.Node, path: Path) -> None:
        self.report(node.start_mark, path, f"expected the key {quote(key)}, which is missing")

    def _policy(self, node: yaml.Node, path: Path) -> Any:
        """A policy by its kind and options. In a route a bare name is that of a shared one, whose kind is not here."""
        if isinstance(node, yaml.ScalarNode) and not is_null(node) and path[0] == "routes":
            name = self.decode(_NAME, node, path)
            return name if name is HOLE else PolicySpec("", name=name)
        if not isinstance(node, yaml.MappingNode):
            self.report(node.start_mark, path, f"expected a mapping with kind and options, got {found(node)}")
            return HOLE
        written = list(self._pairs(node, path))
        kinds = [value for key, value in written if key.value == "kind"]
        if not kinds:
            self._missing("kind", node, path)
            return HOLE
        kind = self.decode(_KIND, kinds[0], (*path, "kind"))
        if kind is HOLE or kind not in self._policies:
            self._unknown_kind(kind, (*path, "kind"))
            return HOLE
        return self._options(kind, [pair for pair in written if pair[0].value != "kind"], node, path)

    def _options(self, kind: str, written: list[Pair], node: yaml.Node, path: Path) -> PolicySpec:
        before = len(self.problems)
        options = self.options[path] = self._filled(self._policies[kind], written, node, path)
        return PolicySpec(kind, _builtins(options) if len(self.problems) == before else {})

    def _unknown_kind(self, kind: str, path: Path) -> None:
        if kind is not HOLE:
            known = f"one of: {listed(self._policies)}" if self._policies else "no policy, since none are known here"
            self.report_at(path, f"expected {known}; got {quote(kind)}{did_you_mean(kind, self._policies)}")

    def _unknown(self, key: yaml.ScalarNode, known: Iterable[str], path: Path) -> None:
        hint = did_you_mean(key.value, known) or f"; known are {listed(known)}"
        self.report(key.start_mark, path, f"unknown key {quote(key.value)}{hint}")

    def _list(self, kind: mi.VarTupleType, extra: dict[str, Any], node: yaml.Node, path: Path) -> Any:
        if "bare_item" in extra and _is_item(node, kind.item_type):
            self._bare.add(path)
            return (self.decode(kind.item_type, node, path),)
        if not isinstance(node, yaml.SequenceNode):
            self.report(node.start_mark, path, f"expected a list, got {found(node)}")
            return HOLE
        if len(node.value) < extra.get("least", kind.min_length or 0):
            self.report(node.start_mark, path, "expected at least one, got an empty list")
            return HOLE
        return tuple(self.decode(kind.item_type, item, (*path, i)) for i, item in enumerate(node.value))

    def _dict(self, kind: mi.DictType, node: yaml.Node, path: Path) -> Any:
        if not isinstance(node, yaml.MappingNode):
            self.report(node.start_mark, path, f"expected a mapping from names, got {found(node)}")
            return HOLE
        if len(node.value) < (kind.min_length or 0):
            self.report(node.start_mark, path, "expected at least one, got an empty mapping")
        return {
            self._name(kind.key_type, key, path): self.decode(kind.value_type, value, (*path, key.value))
            for key, value in self._pairs(node, path)
        }

    def _name(self, kind: mi.Type, key: yaml.ScalarNode, path: Path) -> str:
        kind, extra = bare(kind)
        try:
            if "form" in extra:
                FORMS[extra["form"]].read(key.value)
            elif isinstance(kind, mi.StrType) and not re.search(kind.pattern or "", key.value):
                what = "a name of at most 63 letters, digits, '.', '_' and '-', with a letter or digit first"
                raise ValueError(f"expected {what}, got {quote(key.value)}")
        except ValueError as error:
            self.report(key.start_mark, path, str(error))
        return str(key.value)

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[Pair]:
        return pairs(node, lambda mark, message: self.report(mark, path, message))


def _builtins(options: Node) -> dict[str, Any]:
    """As they arrive over a wire, with lists for tuples, so that both compare equal."""
    values: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(options))
    return values


def _is_item(node: yaml.Node, kind: mi.Type) -> bool:
    """Whether the node is one item of that type, not a list of them."""
    if isinstance(kind, mi.StructType):
        return not isinstance(node, yaml.SequenceNode)
    return isinstance(node, yaml.ScalarNode) and not is_null(node)


def _struct_type(kind: type[Node]) -> mi.StructType:
    described = mi.type_info(kind)
    assert isinstance(described, mi.StructType)
    return described
