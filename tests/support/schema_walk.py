"""The fields of the configuration as documentation names them: `listen[].limits.headers`, `pools.NAME.pick`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec.inspect as mi

from config.forms import FORMS
from config.json_schema import written_default
from config.scalars import bare
from config.schema import Config, PolicySpec

_WORDS = {
    "endpoint": "address",
    "nameserver": "address",
    "admin": "address or unix:path",
    "header": "header name",
    "any_header": "header name",
    "sent_header": "header name",
    "answered_header": "header name",
    "cookie": "cookie name",
    "dns_name": "DNS name",
    "url": "URL",
    "url_path": "URL path",
    "hash_key": "hash key",
    "regex": "regular expression",
    "target_version": "version, `latest` or label",
    "model": "model name",
    "setting": "value",
    "json": "JSON",
    "policy": "kind of policy",
}


def fields(kind: mi.Type | None = None, prefix: str = "") -> Iterator[tuple[str, mi.Field]]:
    """Every field with its path, parts before their own fields."""
    inner, path = kind or mi.type_info(Config), prefix
    if isinstance(inner, mi.Metadata | mi.UnionType):
        yield from fields(inner.type if isinstance(inner, mi.Metadata) else inner.types[0], path)
    elif isinstance(inner, mi.VarTupleType):
        yield from fields(inner.item_type, f"{path}[]")
    elif isinstance(inner, mi.DictType):
        yield from fields(inner.value_type, f"{path}.NAME")
    elif isinstance(inner, mi.StructType):
        for field in inner.fields:
            if inner.cls is PolicySpec and field.name != "kind":
                continue  # the options of its kind stand beside `kind`
            below = f"{path}.{field.encode_name}".removeprefix(".")
            yield below, field
            yield from fields(field.type, below)


def type_words(kind: mi.Type) -> str:
    """A type with its bounds, as the documentation writes it."""
    inner, extra = bare(kind)
    if isinstance(inner, mi.UnionType):
        return " or ".join(type_words(option) for option in inner.types if not isinstance(option, mi.NoneType))
    if isinstance(inner, mi.StructType) and inner.cls is PolicySpec:
        return "policy"
    if isinstance(inner, mi.StructType | mi.DictType):
        return "mapping" if isinstance(inner, mi.StructType) else "mapping from names"
    if isinstance(inner, mi.VarTupleType):
        items = f"list of {type_words(inner.item_type)}"
        return f"{type_words(inner.item_type)} or {items}" if "bare_item" in extra else items
    if isinstance(inner, mi.BoolType):
        return "`true`, `false`"
    if isinstance(inner, mi.LiteralType):
        return ", ".join(f"`{value}`" for value in inner.values)
    form = str(extra.get("form", "integer"))
    if isinstance(inner, mi.IntType | mi.FloatType):
        show = FORMS[form].show if form in FORMS else str
        return f"{form}, {show(inner.ge)} to {show(inner.le)}"
    return _WORDS.get(form, form)


def default_words(field: mi.Field) -> str:
    """A default as the documentation writes it."""
    if field.required:
        return "required"
    default = written_default(field)
    if default is None:
        return "none" if field.default is None or field.default_factory is dict else "as below"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    text = f"[{', '.join(default)}]" if isinstance(default, list) else str(default)
    return f"`{text}`" if default not in ("", []) else "none"
