"""Text or file to `Config`, or one `ConfigError` with every mistake in it.

Four steps, each of which adds its mistakes: nodes with positions (`nodes`), typed values (`decode`), what holds between
them (`checks`), and the files they name (`files`).
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from types import MappingProxyType

import msgspec
import msgspec.inspect

from config.checks import check, listener_name, route_name
from config.decode import Decoder
from config.files import check_files, resolve_paths
from config.kinds import PICKERS
from config.node import Node
from config.nodes import MAX_BYTES, Unreadable, compose
from config.policy_files import check_policies, resolve_policies
from config.problems import ConfigError, Path, Problem
from config.schema import Config, PolicySpec, Route

__all__ = ["ConfigError", "Problem", "load", "parse"]

Review = Callable[[Config], Iterable[tuple[Path, str, bool]]]
"""Looks at a configuration without mistakes: where, what, and whether that is a mistake after all or a warning."""

_NONE: Mapping[str, type[Node]] = MappingProxyType({})
_CONFIG = msgspec.inspect.type_info(Config)


def nothing(config: Config) -> Iterable[tuple[Path, str, bool]]:
    """Finds nothing."""
    return ()


def ignore(problem: Problem) -> None:
    """Nobody is told."""


def load(
    path: str | os.PathLike[str],
    pickers: Collection[str] = PICKERS,
    policies: Mapping[str, type[Node]] = _NONE,
    review: Review = nothing,
    warn: Callable[[Problem], None] = ignore,
) -> Config:
    """The configuration in a file. Relative paths in it start at its folder. Raises ConfigError."""
    file = pathlib.Path(path).absolute()
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise _whole(str(path), f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise _whole(str(path), f"expected at most {MAX_BYTES} bytes, got more")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(str(path), error) from error
    return parse(text, str(path), file.parent, pickers, policies, review, warn)


def parse(
    text: str,
    source_name: str,
    base_dir: str | os.PathLike[str] | None = None,
    pickers: Collection[str] = PICKERS,
    policies: Mapping[str, type[Node]] = _NONE,
    review: Review = nothing,
    warn: Callable[[Problem], None] = ignore,
) -> Config:
    """The configuration in `text`; `source_name` stands for the file in messages. With `base_dir`, relative paths start
    there and the files are looked at; without, paths stay as written and no file is touched. `policies` is the type of
    the options of each kind of policy; without it a policy is a mistake. What `review` finds that is no mistake goes to
    `warn`, in the order of the file. Raises ConfigError."""
    try:
        root = compose(text)
    except Unreadable as error:
        raise ConfigError([Problem(source_name, error.line, error.column, "", error.message)]) from error
    if root is None:
        raise _whole(source_name, "expected a mapping with listen, pools and routes, got an empty file")
    decoder = Decoder(source_name, policies)
    config: Config = decoder.decode(_CONFIG, root)
    findings = [check(config, pickers, decoder.marks, decoder.options)]
    if base_dir is not None and config:
        folder = pathlib.Path(base_dir)
        config = resolve_policies(resolve_paths(config, folder), folder, policies)
        findings += [check_files(config), check_policies(config, policies)]
    for path, message in chain.from_iterable(findings):
        decoder.report_at(path, message)
    if decoder.problems:
        raise ConfigError(decoder.problems)
    config = _named(config)
    for warning in _reviewed(decoder, review(config)):
        warn(warning)
    return config


def _reviewed(decoder: Decoder, findings: Iterable[tuple[Path, str, bool]]) -> list[Problem]:
    """The warnings among these findings. Raises ConfigError for mistakes."""
    listed = list(findings)
    for path, message, fatal in listed:
        if fatal:
            decoder.report_at(path, message)
    if decoder.problems:
        raise ConfigError(decoder.problems)
    for path, message, _ in listed:
        decoder.report_at(path, message)
    warnings, decoder.problems = decoder.problems, []
    return sorted(warnings, key=lambda each: (each.line, each.column))


def _named(config: Config) -> Config:
    """The configuration with the names that nobody wrote, and with shared policies where routes name them."""
    replace = msgspec.structs.replace
    shared = {name: replace(policy, name=name) for name, policy in config.policies.items()}

    def meant(policies: tuple[PolicySpec, ...]) -> tuple[PolicySpec, ...]:
        return tuple(shared[policy.name] if policy.name else policy for policy in policies)

    def named(route: Route) -> Route:
        name = route_name(route)
        rules = tuple(replace(rule, name=rule.name or f"rules[{i}]") for i, rule in enumerate(route.rules))
        split = replace(route.split, salt=route.split.salt or name) if route.split else None
        return replace(route, name=name, rules=rules, split=split, policies=meant(route.policies))

    listen = tuple(replace(item, name=listener_name(item), policies=meant(item.policies)) for item in config.listen)
    return replace(config, listen=listen, policies=shared, routes=tuple(map(named, config.routes)))


def _whole(file: str, message: str) -> ConfigError:
    return ConfigError([Problem(file, 1, 1, "", message)])


def _not_utf8(file: str, error: UnicodeDecodeError) -> ConfigError:
    before = error.object[: error.start].decode().split("\n")
    bad = error.object[error.start]
    message = f"expected UTF-8 text, got the byte 0x{bad:02x}"
    return ConfigError([Problem(file, len(before), len(before[-1]) + 1, "", message)])
