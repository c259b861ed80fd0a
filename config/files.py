"""The files that a configuration names: where they are, and whether they hold what they should.

Looked at when a configuration is loaded, so that `penstock check` finds a missing key before a restart does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path as FilePath

import msgspec

from config.findings import Finding
from config.problems import Path
from config.schema import Config, Pool, State, Tls

_MAX_PEM = 1024 * 1024
_MARKERS = {"certificate": b"CERTIFICATE-----", "key": b"PRIVATE KEY-----", "client_ca": b"CERTIFICATE-----"}
_STORE_MARKERS = {"ca": b"CERTIFICATE-----", "certificate": b"CERTIFICATE-----", "key": b"PRIVATE KEY-----"}
_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")  # RFC 5958 and RFC 1421


def resolve_paths(config: Config, base: FilePath) -> Config:
    """The same configuration with paths that start at `base` where they were relative."""
    listeners = tuple(
        msgspec.structs.replace(listener, tls=_resolve_tls(listener.tls, base)) if listener.tls else listener
        for listener in config.listen
    )
    state = str(base / config.state_directory) if config.state_directory else config.state_directory
    pools = {name: _resolve_pool(pool, base) for name, pool in config.pools.items()}
    return msgspec.structs.replace(
        config,
        listen=listeners,
        pools=pools,
        state_directory=state,
        state=_resolve_state(config.state, base) if config.state else config.state,
        key_file=str(base / config.key_file) if config.key_file else config.key_file,
    )


def check_files(config: Config) -> Iterator[Finding]:
    """Every file that is missing, unreadable or of another kind. Paths are used as they are."""
    for i, listener in enumerate(config.listen):
        if listener.tls:
            yield from _check_tls(listener.tls, ("listen", i, "tls"))
    for name, pool in config.pools.items():
        for i, folder in enumerate(pool.managed.repository if pool.managed else ()):
            if folder and not os.path.isdir(folder):
                yield ("pools", name, "managed", "repository", i), f"expected a folder of models, got {folder!r}"
    state = config.state_directory
    if state and os.path.exists(state) and not os.path.isdir(state):
        yield ("state_directory",), f"expected a folder, got the file {state!r}"
    if config.key_file and not os.access(config.key_file, os.R_OK):
        yield ("key_file",), f"cannot read {config.key_file!r}"
    if config.state:
        yield from _check_state(config.state)


def _resolve_pool(pool: Pool, base: FilePath) -> Pool:
    if not pool.managed:
        return pool
    repository = tuple(str(base / folder) if folder else folder for folder in pool.managed.repository)
    return msgspec.structs.replace(pool, managed=msgspec.structs.replace(pool.managed, repository=repository))


def _resolve_state(state: State, base: FilePath) -> State:
    written = {field: getattr(state, field) for field in ("password_file", *_STORE_MARKERS)}
    return msgspec.structs.replace(state, **{field: str(base / path) for field, path in written.items() if path})


def _check_state(state: State) -> Iterator[Finding]:
    for field, marker in _STORE_MARKERS.items():
        file = getattr(state, field)
        if file and (problem := _check_pem(file, marker)):
            yield ("state", field), problem
    if state.password_file and not os.access(state.password_file, os.R_OK):
        yield ("state", "password_file"), f"cannot read {state.password_file!r}"


def _resolve_tls(tls: Tls, base: FilePath) -> Tls:
    written = {field: getattr(tls, field) for field in _MARKERS}
    return msgspec.structs.replace(tls, **{field: str(base / path) for field, path in written.items() if path})


def _check_tls(tls: Tls, path: Path) -> Iterator[Finding]:
    for field, marker in _MARKERS.items():
        file = getattr(tls, field)
        if file and (problem := _check_pem(file, marker)):
            yield (*path, field), problem


def _check_pem(file: str, marker: bytes) -> str:
    """What is wrong with the file, or nothing."""
    try:
        with open(file, "rb") as stream:
            content = stream.read(_MAX_PEM)
    except OSError as error:
        return f"cannot read {file!r}: {error.strerror}"
    if any(sign in content for sign in _ENCRYPTED):
        return f"expected a private key without a passphrase, got an encrypted one in {file!r}"
    if marker not in content:
        return f"expected a PEM file with '{marker.decode()}', got {file!r} without it"
    return ""
