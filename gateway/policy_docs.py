"""The page about policies, from their docstrings and options: `python -m gateway.policy_docs > docs/policies.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

import msgspec.inspect as mi

from config.json_schema import written_default
from config.node import Node
from config.routes import Target
from config.scalars import bare
from policies import registry

HEAD = """# Policies

What happens around a call. A route lists them from the outside in; one that several routes share is named once, and is
then one policy, with one budget, for all of them:

```yaml
policies:
  again: {kind: retry, attempts: 3, idempotent: true}
routes:
  - match: {model: "resnet*"}
    to: vision
    policies: [{kind: timeout, total: 2s}, {kind: fallback, to: spare}, again, {kind: hedge}]
```

A sensible order is timeout, fallback, retry, hedge: one deadline for all attempts, another pool only after retries, and
a pair of requests as one attempt.

Without any policy a call that provably never ran (no connection, a refused stream, a full queue, a model that is no
longer loaded) goes to another endpoint of its pool, three tries in all; those after a full queue stay within a fifth of
the pool's calls.

Streams have all of this until the first message of their answer: policies go around its beginning, and what failed
before it may be sent somewhere else. Each request of a gRPC stream is a call of its own, and goes through the policies
of the route of its model, in the order in which the requests came. One is sent again only if its answer cannot be taken
for another's: with an id of its own, or while none that was sent after it has no id, or is of the same sequence; and
only while it is among the first MiB of the stream that waits for an answer.

Who is passed over because of failures is a setting of the pool, `outliers` in [Configuration](configuration.md).
"""


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([HEAD, *(_section(kind, options) for kind, options in registry().items())])


def _section(kind: str, options: type[Node]) -> str:
    text = inspect.cleandoc(import_module(f"policies.{kind}").__doc__ or "")
    described = mi.type_info(options)
    assert isinstance(described, mi.StructType)
    rows = list(_rows(described))
    return "\n".join([f"## {kind}", "", text, "", "| Option | Default | |", "|---|---|---|", *rows, ""])


def _rows(described: mi.StructType, prefix: str = "") -> Iterator[str]:
    """A row for each option, and below those that have parts one for each of these."""
    for field in described.fields:
        yield f"| `{prefix}{field.encode_name}` | {_default(field)} | {_says(field.type)} |"
        if (part := _part(field.type)) is not None and part.cls is not Target:
            yield from _rows(part, f"{prefix}{field.encode_name}.")


def _part(kind: mi.Type) -> mi.StructType | None:
    """The type of an option that has parts, or of the items of one that is a list of them."""
    parts = kind.types if isinstance(kind, mi.UnionType) else (kind,)
    for each in parts:
        plain = bare(each)[0]
        plain = bare(plain.item_type)[0] if isinstance(plain, mi.VarTupleType) else plain
        if isinstance(plain, mi.StructType):
            return plain
    return None


def _default(field: mi.Field) -> str:
    if field.required:
        return "required"
    default = written_default(field)
    if default is None or _part(field.type) is not None:
        return ""
    if isinstance(default, list):
        default = f"[{', '.join(default)}]"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _says(kind: mi.Type) -> str:
    parts = kind.types if isinstance(kind, mi.UnionType) else (kind,)  # what may be left out is a union with None
    for part in parts:
        if isinstance(part, mi.Metadata):
            return str((part.extra_json_schema or {}).get("description", ""))
        if isinstance(part, mi.StructType):
            return inspect.getdoc(part.cls) or ""
    return ""


if __name__ == "__main__":
    print(page(), end="")
