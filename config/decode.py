"""YAML nodes to the types of `config.schema`, as far as they can be read.

A value that is wrong is reported and leaves a `HOLE`, so that one walk finds every mistake and the checks across parts
(`config.checks`) still see the rest. A HOLE answers every question with another HOLE, with nothing, or with no.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec.inspect as mi
import yaml

from config.nodes import Mark, Pair, pairs
from config.problems import ConfigError, Path, Problem, did_you_mean, listed, path_text, quote
from config.scalars import bare, found, is_null, read_scalar

MAX_PROBLEMS = 500  # nobody reads on after so many, and each may take a search for a near word


class _Hole:
    """The place of a value that could not be read."""

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: object) -> Any:
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __bool__(self) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return False

    __lt__ = __gt__


HOLE: Any = _Hole()


class Decoder:
    """One walk over one file. `problems` gathers mistakes, `marks` where each value that was written begins."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.marks: dict[Path, Mark] = {}

    def decode(self, kind: mi.Type, node: yaml.Node, path: Path = ()) -> Any:
        """The value of `node` as `kind`, with a HOLE for each part that is wrong."""
        self.marks[path] = node.start_mark
        annotated, (kind, extra) = kind, bare(kind)
        if isinstance(kind, mi.StructType):
            return self._struct(kind, node, path)
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
        while path not in self.marks:
            path = path[:-1]
        self.report(self.marks[path], path, message)

    def _struct(self, kind: mi.StructType, node: yaml.Node, path: Path) -> Any:
        fields = {field.name: field for field in kind.fields}
        shorthand = getattr(kind.cls, "shorthand", None)
        if shorthand is not None and isinstance(node, yaml.ScalarNode) and not is_null(node):
            return kind.cls(**{shorthand: self.decode(fields[shorthand].type, node, path)})
        if not isinstance(node, yaml.MappingNode):
            self.report(node.start_mark, path, f"expected a mapping with {listed(fields)}, got {found(node)}")
            return HOLE
        values = {}
        for key, value in self._pairs(node, path):
            if key.value in fields:
                values[key.value] = self.decode(fields[key.value].type, value, (*path, key.value))
            else:
                self._unknown(key, fields, path)
        for name in [field.name for field in kind.fields if field.required and field.name not in values]:
            self.report(node.start_mark, path, f"expected the key {quote(name)}, which is missing")
            values[name] = HOLE
        return kind.cls(**values)

    def _unknown(self, key: yaml.ScalarNode, known: Iterable[str], path: Path) -> None:
        hint = did_you_mean(key.value, known) or f"; known are {listed(known)}"
        self.report(key.start_mark, path, f"unknown key {quote(key.value)}{hint}")

    def _list(self, kind: mi.VarTupleType, extra: dict[str, Any], node: yaml.Node, path: Path) -> Any:
        if "bare_item" in extra and isinstance(node, yaml.ScalarNode) and not is_null(node):
            return (self.decode(kind.item_type, node, path),)
        if not isinstance(node, yaml.SequenceNode):
            self.report(node.start_mark, path, f"expected a list, got {found(node)}")
            return HOLE
        if len(node.value) < (kind.min_length or 0):
            self.report(node.start_mark, path, "expected at least one, got an empty list")
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
        kind, _ = bare(kind)
        if isinstance(kind, mi.StrType) and not re.search(kind.pattern or "", key.value):
            what = "a name of at most 63 letters, digits, '.', '_' and '-', with a letter or digit first"
            self.report(key.start_mark, path, f"expected {what}, got {quote(key.value)}")
        return str(key.value)

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[Pair]:
        return pairs(node, lambda mark, message: self.report(mark, path, message))
