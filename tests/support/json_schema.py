"""Whether a value fits a JSON Schema: the few keywords of draft 7 that `config.json_schema` writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}
_NO_CHECK = {"description", "default", "definitions", "$schema", "title", "additionalProperties"}


def fits(value: Any, schema: Schema, root: Schema) -> bool:
    """Raises KeyError for a keyword that is not known here, so none goes unchecked."""
    if "$ref" in schema:
        return fits(value, root["definitions"][schema["$ref"].removeprefix("#/definitions/")], root)
    keywords = [(word, rule) for word, rule in schema.items() if word not in _NO_CHECK]
    return all(_CHECKS[word](value, rule, schema, root) for word, rule in keywords)


def _properties(value: Any, rule: Schema, schema: Schema, root: Schema) -> bool:
    known = all(fits(value[name], part, root) for name, part in rule.items() if name in value)
    return known and (schema["additionalProperties"] is not False or set(value) <= set(rule))


def _names(value: Any, rule: Schema, schema: Schema, root: Schema) -> bool:
    return all(fits(k, rule, root) and fits(v, schema["additionalProperties"], root) for k, v in value.items())


_CHECKS: dict[str, Callable[[Any, Any, Schema, Schema], bool]] = {
    "type": lambda value, rule, *_: isinstance(value, _TYPES[rule]) and isinstance(value, bool) == (rule == "boolean"),
    "enum": lambda value, rule, *_: value in rule,
    "anyOf": lambda value, rule, _, root: any(fits(value, option, root) for option in rule),
    "pattern": lambda value, rule, *_: re.search(rule, value) is not None,
    "minLength": lambda value, rule, *_: len(value) >= rule,
    "maxLength": lambda value, rule, *_: len(value) <= rule,
    "minimum": lambda value, rule, *_: value >= rule,
    "maximum": lambda value, rule, *_: value <= rule,
    "minItems": lambda value, rule, *_: len(value) >= rule,
    "items": lambda value, rule, _, root: all(fits(item, rule, root) for item in value),
    "minProperties": lambda value, rule, *_: len(value) >= rule,
    "required": lambda value, rule, *_: set(rule) <= set(value),
    "properties": _properties,
    "propertyNames": _names,
}
