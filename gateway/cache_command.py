"""`penstock cache`: has all gateways forget answers that they keep, in memory and in the state store."""

from __future__ import annotations

import argparse
import asyncio

from config.schema import Config
from gateway.embedded import Busy
from gateway.keys_command import reached, where
from state import StateError
from state.cache_ledger import EVERYTHING, of_model, of_scope, purge
from state.server import NoServer
from state.settings import Settings


class CacheError(Exception):
    """The command cannot go on: the text is for stderr."""


def run(config: Config, options: argparse.Namespace) -> None:
    """Purge what the arguments say. Raises `CacheError`; then nothing may have been purged."""
    subject = subject_of(options)
    try:
        with where(config, options.file) as settings:
            asyncio.run(_purge(settings, subject))
    except (StateError, Busy, NoServer, OSError) as error:
        raise CacheError(str(error)) from error
    print("purged: gateways that are connected to the store forget it now, the others when they are again")


async def _purge(settings: Settings, subject: str) -> None:
    async with reached(settings) as store:
        await purge(store, subject)


def subject_of(options: argparse.Namespace) -> str:
    """What the arguments mean. Raises `CacheError` for a version of nothing."""
    if options.version and not options.model:
        raise CacheError("--version: expected --model with it")
    if options.model:
        return of_model(options.model, options.version)
    if options.everything:
        return EVERYTHING
    if options.shared:
        return of_scope("shared", "")
    return of_scope("tenant", options.tenant) if options.tenant else of_scope("principal", options.principal)
