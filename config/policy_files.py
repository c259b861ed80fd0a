"""The files that the options of policies name: where they are, and whether they can be read.

Options are known by the type of their kind, whose fields of the form `path` are files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath

import msgspec
import msgspec.inspect as mi

from config.findings import Finding
from config.node import Node
from config.problems import Path
from config.scalars import bare
from config.schema import Config, PolicySpec

Types = Mapping[str, type[Node]]


def resolve_policies(config: Config, base: FilePath, types: Types) -> Config:
    """The same configuration with paths in options that start at `base` where they were relative."""
    replace = msgspec.structs.replace

    def resolved(spec: PolicySpec) -> PolicySpec:
        files = {name: str(base / spec.options[name]) for name in _files(spec, types)}
        return replace(spec, options={**spec.options, **files}) if files else spec

    def all_of(specs: tuple[PolicySpec, ...]) -> tuple[PolicySpec, ...]:
        return tuple(spec and resolved(spec) for spec in specs)

    return replace(
        config,
        policies={name: spec and resolved(spec) for name, spec in config.policies.items()},
        listen=tuple(each and replace(each, policies=all_of(each.policies)) for each in config.listen),
        routes=tuple(each and replace(each, policies=all_of(each.policies)) for each in config.routes),
    )


def check_policies(config: Config, types: Types) -> Iterator[Finding]:
    """Every file that cannot be read. Paths are used as they are."""
    for path, spec in _specs(config):
        for name in _files(spec, types) if spec else ():
            if not os.access(spec.options[name], os.R_OK):
                yield (*path, name), f"cannot read {spec.options[name]!r}"


def _specs(config: Config) -> Iterator[tuple[Path, PolicySpec]]:
    yield from ((("policies", name), spec) for name, spec in config.policies.items())
    for i, listener in enumerate(config.listen):
        yield from ((("listen", i, "policies", j), spec) for j, spec in enumerate(listener.policies))
    for i, route in enumerate(config.routes):
        yield from ((("routes", i, "policies", j), spec) for j, spec in enumerate(route.policies))


def _files(spec: PolicySpec, types: Types) -> list[str]:
    """The options that are files, of those that are given."""
    if spec.kind not in types:
        return []
    described = mi.type_info(types[spec.kind])
    assert isinstance(described, mi.StructType)
    return [
        field.encode_name
        for field in described.fields
        if bare(field.type)[1].get("form") == "path" and spec.options.get(field.encode_name)
    ]
