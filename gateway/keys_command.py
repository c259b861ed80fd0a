"""`penstock keys`: creates, lists, shows, rotates and revokes API keys in the state store of a configuration.

An embedded store belongs to a running gateway, and is asked there. When none runs, but its data have a directory, the
store is started for as long as the command takes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import yaml

from config.schema import Config
from gateway.embedded import Busy, visit
from gateway.rundir import RunDirectory
from gateway.store import settings_of
from gateway.store_place import is_embedded, located
from state import State, StateError
from state.cluster import make
from state.key_file import entry_of
from state.key_store import KeyStore
from state.keys import KeyRecord, mint, standing
from state.server import NoServer
from state.settings import Settings

PATIENCE = 5.0
"""Seconds that a command to the store may take."""
LOADING = 2.0
"""Seconds that a store gets which has just been started and reads its data."""

_COLUMNS = ("id", "principal", "tenant", "name", "scopes", "status", "expires")
_NOTE = "This is the only time that the key is shown."


class KeysError(Exception):
    """The command cannot go on: the text is for stderr."""


def run(config: Config, options: argparse.Namespace, now: Callable[[], float] = time.time) -> None:
    """Do what the arguments say, and print what came of it. Raises `KeysError`."""
    _check_limits(config, getattr(options, "limit", []))
    if options.action == "create" and options.offline:
        print_entry(*new_key(options, now()))
        return
    try:
        with where(config, options.file) as settings:
            print(asyncio.run(_act(settings, options, now())))
    except (StateError, Busy, NoServer, OSError) as error:
        raise KeysError(str(error)) from error


@contextlib.contextmanager
def where(config: Config, file: str) -> Iterator[Settings]:
    """The store of this configuration, for as long as it is needed. Raises `KeysError`, and what `visit` does."""
    if not is_embedded(config):
        settings = settings_of(config)
        if settings is None:
            raise KeysError(f"{file}: the configuration has no state store; name one with `state:`")
        yield settings
        return
    running = RunDirectory.find(config.state_directory, file)
    if running is not None:
        yield _settings(located(config, running))
    elif config.state_directory is None:
        what = "keeps its state for as long as it runs, as it has no state_directory"
        raise KeysError(f"{file}: no gateway with this file runs here, and it {what}: start it with `penstock serve`")
    else:
        with visit(config) as directory:
            yield _settings(located(config, directory))


def _settings(config: Config) -> Settings:
    settings = settings_of(config)
    assert settings is not None
    return settings


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[KeyStore]:
    """The keys there. Raises `StateError` if the store is away."""
    async with reached(settings) as store:
        yield KeyStore(store)


@contextlib.asynccontextmanager
async def reached(settings: Settings) -> AsyncIterator[State]:
    """The store, which takes its time for a person. Raises `StateError` if it is away."""
    client = make(replace(settings, timeout=PATIENCE, connect_timeout=max(PATIENCE, settings.connect_timeout)))
    running = asyncio.get_running_loop().create_task(client.run())
    try:
        await client.settled()
        limit = time.monotonic() + LOADING
        while not client.up and time.monotonic() < limit:  # noqa: ASYNC110 - the client says it when it is asked
            await asyncio.sleep(0.02)
        await client.do("PING")
        yield client
    finally:
        running.cancel()
        await asyncio.wait([running])


async def _act(settings: Settings, options: argparse.Namespace, now: float) -> str:
    async with opened(settings) as keys:
        match options.action:
            case "create":
                return created(*await _add(keys, *new_key(options, now)), options.output, now)
            case "list":
                return listed(_chosen(await keys.all(), options), options.output, now)
            case "show":
                return shown(await _find(keys, options.id), options.output, now)
            case "rotate":
                return created(*await rotate(keys, options, now), options.output, now)
            case _:
                return shown(await revoke(keys, options.id, now), options.output, now)


def new_key(options: argparse.Namespace, now: float) -> tuple[str, KeyRecord]:
    """A key as the arguments say: its text, and what is kept of it."""
    minted = mint()
    record = KeyRecord(
        minted.id,
        minted.digest,
        options.principal,
        options.name,
        options.tenant,
        tuple(options.scope),
        created=now,
        not_before=now + options.starts if options.starts else 0.0,
        expires=now + options.expires if options.expires else 0.0,
        limits=dict(options.limit),
    )
    return minted.text, record


async def _add(keys: KeyStore, text: str, record: KeyRecord) -> tuple[str, KeyRecord]:
    await keys.add(record)
    return text, record


async def rotate(keys: KeyStore, options: argparse.Namespace, now: float) -> tuple[str, KeyRecord]:
    """A key in place of another: the same but for its secret and, if wanted, its end; the other ends after the grace.
    Raises `KeysError` and `StateError`."""
    old = await _find(keys, options.id)
    if standing(old, now) in ("revoked", "expired"):
        raise KeysError(f"key {old.id} is {standing(old, now)}: create a new one")
    minted = mint()
    lasts = options.expires or (old.expires - (old.not_before or old.created) if old.expires else 0.0)
    record = msgspec.structs.replace(
        old,
        id=minted.id,
        digest=minted.digest,
        created=now,
        not_before=0.0,
        expires=now + lasts if lasts else 0.0,
        replaces=old.id,
    )
    await keys.add(record)
    end = now + options.grace
    await keys.change(old.id, expires=min(old.expires, end) if old.expires else end)
    return minted.text, record


async def revoke(keys: KeyStore, id: str, now: float) -> KeyRecord:
    """Refuse a key from now on. Raises `KeysError` and `StateError`."""
    record = await _find(keys, id)
    if not record.revoked:
        await keys.change(id, revoked=now)
    return await _find(keys, id)


async def _find(keys: KeyStore, id: str) -> KeyRecord:
    record = await keys.find(id)
    if record is None:
        hint = "; an id is what stands between psk_ and the next _" if id.startswith("psk_") else ""
        raise KeysError(f"there is no such key{hint}" if hint else f"there is no key {id}")
    return record


def _chosen(records: Iterable[KeyRecord], options: argparse.Namespace) -> list[KeyRecord]:
    return sorted(
        (
            record
            for record in records
            if options.principal in (None, record.principal) and options.tenant in (None, record.tenant)
        ),
        key=lambda record: (record.principal, record.created),
    )


def _check_limits(config: Config, limits: Iterable[tuple[str, str]]) -> None:
    known = [name for name, spec in config.policies.items() if spec.kind == "rate_limit"]
    for name, _ in limits:
        if name not in known:
            there = f"there are {', '.join(known)}" if known else "there are none"
            raise KeysError(f"--limit {name}: no rate_limit with this name is in `policies:`; {there}")


# What is printed


def described(record: KeyRecord, now: float) -> dict[str, Any]:
    """A key as JSON: everything but its digest; times in RFC 3339, null for none."""
    return {
        "id": record.id,
        "principal": record.principal,
        "tenant": record.tenant,
        "name": record.name,
        "scopes": list(record.scopes),
        "limits": record.limits,
        "status": standing(record, now),
        "created": _time(record.created),
        "not_before": _time(record.not_before),
        "expires": _time(record.expires),
        "revoked": _time(record.revoked),
        "replaces": record.replaces or None,
    }


def created(text: str, record: KeyRecord, output: str, now: float) -> str:
    """A new key, with what opens it."""
    if output == "json":
        return json.dumps({"key": text, **described(record, now)}, indent=2)
    print(_NOTE, file=sys.stderr)
    return "\n".join(f"{name:<11} {value}" for name, value in [("key", text), *_rows(record, now)])


def shown(record: KeyRecord, output: str, now: float) -> str:
    """One key."""
    if output == "json":
        return json.dumps(described(record, now), indent=2)
    return "\n".join(f"{name:<11} {value}" for name, value in _rows(record, now))


def listed(records: list[KeyRecord], output: str, now: float) -> str:
    """All of these keys."""
    if output == "json":
        return json.dumps([described(record, now) for record in records], indent=2)
    lines = [
        [name.upper() for name in _COLUMNS],
        *([_cell(described(record, now)[name]) for name in _COLUMNS] for record in records),
    ]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_COLUMNS))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def print_entry(text: str, record: KeyRecord) -> None:
    """An entry for a key file on stdout, and the key itself on stderr."""
    entry = {name: value for name, value in entry_of(record).items() if value}
    print(yaml.safe_dump([entry], sort_keys=False, allow_unicode=True), end="")
    print(f"key {text}\n{_NOTE} The entry belongs under `keys:` of the file that `key_file` names.", file=sys.stderr)


def _rows(record: KeyRecord, now: float) -> list[tuple[str, str]]:
    return [(name, _cell(value)) for name, value in described(record, now).items() if value or name == "status"]


def _cell(value: Any) -> str:
    """Control characters, which names may have, do nothing to a terminal."""
    if isinstance(value, dict):
        value = [f"{name}={rate}" for name, rate in value.items()]
    text = (",".join(value) if isinstance(value, list) else str(value or "")) or "-"
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _time(seconds: float) -> str | None:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else None
