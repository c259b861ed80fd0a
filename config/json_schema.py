"""A JSON Schema of the configuration file, for editors: `python -m config.json_schema > docs/penstock.schema.json`.

It is draft 7, which editors' YAML plugins know best, and accepts the shorthands. What it cannot say (names that must
exist, patterns that an earlier route takes) only `config.load` finds.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import msgspec
import msgspec.inspect as mi

from config.forms import FORMS
from config.kinds import PICKERS, POLICIES
from config.scalars import bare
from config.schema import Config, PolicySpec

Schema = dict[str, Any]

_DURATION = r"^([0-9.]+|([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?([0-9.]+ms)?([0-9.]+us)?)$"
_HOST_PORT = r"(\[[0-9A-Fa-f:.%\w]+\]|[^\s\[\]/:@]+):[0-9]{1,5}"
_LABEL = "[A-Za-z][A-Za-z0-9_.-]{0,62}"
_TOKEN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
_PLAIN: Schema = {"anyOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]}
_FORMS: dict[str, Schema] = {
    "duration": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "minLength": 1, "pattern": _DURATION}]},
    "size": {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": "^[0-9.]+ ?([kK]B|[MG]B|[KMG]iB|B)?$"},
        ]
    },
    "number": {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "^[0-9.]+%?$"}]},
    "address": {"type": "string", "pattern": f"^{_HOST_PORT}$"},
    "endpoint": {"type": "string", "pattern": f"^{_HOST_PORT}$"},
    "admin": {"type": "string", "pattern": f"^({_HOST_PORT}|unix:/.+)$"},
    "version": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"}]},
    "label": {"type": "string", "pattern": f"^{_LABEL}$"},
    "target_version": {
        "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": f"^([1-9][0-9]{{0,18}}|{_LABEL})$"}]
    },
    "model": {"type": "string", "minLength": 1, "maxLength": 255},
    "pattern": {"type": "string", "minLength": 1, "maxLength": 255},
    "header": {"type": "string", "pattern": _TOKEN},
    "any_header": {"type": "string", "pattern": _TOKEN},
    "cookie": {"type": "string", "pattern": _TOKEN},
    "hash_key": {"type": "string", "pattern": "^(principal|sequence|body|header:.+)$"},
    "regex": {"type": "string", "minLength": 1, "maxLength": 1000},
    "nameserver": {"type": "string", "pattern": f"^{_HOST_PORT}$"},
    "host": {"type": "string", "minLength": 1},
    "dns_name": {"type": "string", "minLength": 1},
    "url_path": {"type": "string", "pattern": "^/"},
    "variable": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "devices": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1}]},
    "json": {"type": "string", "minLength": 2},
    "setting": _PLAIN,
    "value": _PLAIN,
    "path": {"type": "string", "minLength": 1},
    "picker": {"enum": list(PICKERS)},
    "policy": {"enum": list(POLICIES)},
    "text": {"type": "string", "minLength": 1},
}


def json_schema() -> Schema:
    """The schema of a whole file."""
    definitions: dict[str, Schema] = {}
    _schema(mi.type_info(Config), definitions)
    root = definitions.pop(Config.__name__)
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Penstock configuration"}
    return head | root | {"definitions": dict(sorted(definitions.items()))}


def written_default(field: mi.Field) -> Any:
    """A field's default as an operator would write it; None for none, and for a part with defaults of its own."""
    default = field.default
    if default is msgspec.NODEFAULT or isinstance(default, msgspec.Struct):
        return None
    extra = bare(_first_option(field.type))[1]
    if default is None or "form" not in extra:
        return list(default) if isinstance(default, tuple) else default
    return FORMS[extra["form"]].show(default)


def _first_option(kind: mi.Type) -> mi.Type:
    return kind.types[0] if isinstance(kind, mi.UnionType) else kind


def _schema(kind: mi.Type, definitions: dict[str, Schema]) -> Schema:
    says = kind.extra_json_schema or {} if isinstance(kind, mi.Metadata) else {}
    inner, extra = bare(kind)
    return says | _unsaid(inner, extra, definitions)


def _unsaid(kind: mi.Type, extra: dict[str, Any], definitions: dict[str, Schema]) -> Schema:
    if "form" in extra:
        return _FORMS[extra["form"]]
    if isinstance(kind, mi.StructType):
        return _reference(kind, definitions)
    if isinstance(kind, mi.UnionType):
        return {"anyOf": [_schema(option, definitions) for option in kind.types]}
    if isinstance(kind, mi.VarTupleType):
        return _array(kind, extra, definitions)
    if isinstance(kind, mi.DictType):
        return _object_of(kind, definitions)
    if isinstance(kind, mi.LiteralType):
        numbers = [float(word) for word in map(str, kind.values) if re.fullmatch(r"[0-9]+\.[0-9]+", word)]
        return {"enum": [*kind.values, *numbers]}  # what YAML takes for a number is read as it is written
    if isinstance(kind, mi.NoneType | mi.BoolType):
        return {"type": "null" if isinstance(kind, mi.NoneType) else "boolean"}
    assert isinstance(kind, mi.IntType)
    return {"type": "integer", "minimum": kind.ge, "maximum": kind.le}


def _array(kind: mi.VarTupleType, extra: dict[str, Any], definitions: dict[str, Schema]) -> Schema:
    item = _schema(kind.item_type, definitions)
    if getattr(bare(kind.item_type)[0], "cls", None) is PolicySpec:
        item = {"anyOf": [{"type": "string", "minLength": 1}, item]}  # the name of a shared one
    array = {"type": "array", "minItems": extra.get("least", kind.min_length or 0), "items": item}
    return {"anyOf": [item, array]} if "bare_item" in extra else array


def _object_of(kind: mi.DictType, definitions: dict[str, Schema]) -> Schema:
    key, extra = bare(kind.key_type)
    names = {"pattern": key.pattern} if isinstance(key, mi.StrType) and key.pattern else _FORMS[extra["form"]]
    values = _schema(kind.value_type, definitions)
    least = kind.min_length or 0
    return {"type": "object", "minProperties": least, "propertyNames": names, "additionalProperties": values}


def _reference(kind: mi.StructType, definitions: dict[str, Schema]) -> Schema:
    name = kind.cls.__name__
    if name not in definitions:
        definitions[name] = {}  # holds the place while the fields are described
        definitions[name] = _definition(kind, definitions)
    return {"$ref": f"#/definitions/{name}"}


def _definition(kind: mi.StructType, definitions: dict[str, Schema]) -> Schema:
    is_policy = kind.cls is PolicySpec  # the options of its kind stand beside `kind`
    fields = [field for field in kind.fields if field.name == "kind" or not is_policy]
    properties = {field.encode_name: _property(field, definitions) for field in fields}
    mapping: Schema = {
        "type": "object",
        "additionalProperties": is_policy,
        "required": [field.encode_name for field in fields if field.required],
        "properties": properties,
    }
    if choice := getattr(kind.cls, "one_of", ()) or getattr(kind.cls, "some_of", ()):
        mapping["anyOf"] = [{"required": [name]} for name in choice]
    says = {"description": " ".join((kind.cls.__doc__ or "").split())}
    shorthand = getattr(kind.cls, "shorthand", None)
    return says | ({"anyOf": [properties[shorthand], mapping]} if shorthand else mapping)


def _property(field: mi.Field, definitions: dict[str, Schema]) -> Schema:
    default = written_default(field)
    return _schema(field.type, definitions) | ({} if default in (None, "") else {"default": default})


if __name__ == "__main__":
    json.dump(json_schema(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")
