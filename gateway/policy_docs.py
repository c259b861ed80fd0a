"""The page about policies, from their docstrings and options: `python -m gateway.policy_docs > docs/policies.md`."""

from __future__ import annotations

import inspect
from importlib import import_module

import msgspec.inspect as mi

from config.json_schema import written_default
from config.node import Node
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
    rows = [_row(field) for field in described.fields]
    return "\n".join([f"## {kind}", "", text, "", "| Option | Default | |", "|---|---|---|", *rows, ""])


def _row(field: mi.Field) -> str:
    return f"| `{field.encode_name}` | {_default(field)} | {_says(field.type)} |"


def _default(field: mi.Field) -> str:
    if field.required:
        return "required"
    default = written_default(field)
    if isinstance(default, list):
        default = f"[{', '.join(default)}]"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _says(kind: mi.Type) -> str:
    says = kind.extra_json_schema or {} if isinstance(kind, mi.Metadata) else {}
    return str(says.get("description", ""))


if __name__ == "__main__":
    print(page(), end="")
