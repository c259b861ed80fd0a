"""API keys in the store: a hash for each, an index in the order of their last change, and a channel that tells of it.

    PREFIX:{keys}:key:ID     hash     the fields of `state.keys.KeyRecord`, digest in hex, scopes and limits as JSON
    PREFIX:{keys}:index      zset     each ID, scored by the version at which it last changed
    PREFIX:{keys}:version    integer  counts changes
    PREFIX:{keys}:epoch      string   random, set once: another one is another store, of which nothing is known
    PREFIX:keys              channel  the version, after each change

All are in one slot, so that one script changes them in one step.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from state import State, StateError
from state.keys import KeyRecord

CHANNEL = "keys"
AT_ONCE = 1000
"""Keys that are read together."""
_SLOT = "{keys}"

_WRITE = """
local exists = redis.call('EXISTS', KEYS[1])
if ARGV[3] == 'new' and exists == 1 then return redis.error_reply('EXISTS there is such a key') end
if ARGV[3] == 'change' and exists == 0 then return 0 end
redis.call('SET', KEYS[4], ARGV[4], 'NX')
local version = redis.call('INCR', KEYS[3])
redis.call('HSET', KEYS[1], unpack(ARGV, 5))
redis.call('ZADD', KEYS[2], version, ARGV[1])
redis.call('PUBLISH', ARGV[2], version)
return version
"""

_REMOVE = """
if redis.call('DEL', KEYS[1]) == 0 then return 0 end
local version = redis.call('INCR', KEYS[3])
redis.call('ZADD', KEYS[2], version, ARGV[1])
redis.call('PUBLISH', ARGV[2], version)
return version
"""


class Changes(NamedTuple):
    """What changed since a version: `records` are as they are now, `gone` are ids without one. With `whole`, whatever
    was known before is void."""

    epoch: str
    version: int
    whole: bool
    records: tuple[KeyRecord, ...]
    gone: tuple[str, ...]


class KeyStore:
    """The keys in a store. All of it raises `StateError`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._write = state.script("keys.write", _WRITE)
        self._remove = state.script("keys.remove", _REMOVE)

    def on_change(self, told: Callable[[], None]) -> Callable[[], None]:
        """Have `told` called after each change, and when one may have been missed; the answer ends that."""
        return self._state.on_message(CHANNEL, lambda message: told())

    async def add(self, record: KeyRecord) -> None:
        """Keep a new key."""
        await self._put(record.id, "new", fields_of(record))

    async def change(self, id: str, **fields: Any) -> bool:
        """Change some fields of a key; False if there is no such key."""
        whole = fields_of(KeyRecord(id, b"", "", **fields))
        return bool(await self._put(id, "change", {name: whole[name] for name in fields}))

    async def remove(self, id: str) -> bool:
        """Forget a key; False if there was none."""
        return bool(await self._remove(self._names(id), [id, self._state.key(CHANNEL)]))

    async def find(self, id: str) -> KeyRecord | None:
        """The key with this id."""
        return record_of(id, await self._state.do("HGETALL", self._key(id)))

    async def all(self) -> list[KeyRecord]:
        """All keys, the latest change last."""
        return list((await self.since("", 0)).records)

    async def since(self, epoch: str, version: int) -> Changes:
        """What changed since that version of that epoch, with as much of it as is there: what changes while it is read
        is in the next answer, perhaps again."""
        state = self._state
        now, there = await asyncio.gather(state.do("GET", self._name("version")), state.do("GET", self._name("epoch")))
        known, found = int(now or 0), (there or b"").decode()
        whole = found != epoch or known < version
        if not whole and known == version:
            return Changes(found, known, False, (), ())
        after = "-inf" if whole else f"({version}"
        ids = [id.decode() for id in await state.do("ZRANGEBYSCORE", self._name("index"), after, "+inf")]
        read: dict[str, KeyRecord | None] = {}
        for part in (ids[at : at + AT_ONCE] for at in range(0, len(ids), AT_ONCE)):
            answers = await asyncio.gather(*(state.do("HGETALL", self._key(id)) for id in part))
            read |= {id: record_of(id, answer) for id, answer in zip(part, answers, strict=True)}
        records = tuple(record for record in read.values() if record is not None)
        return Changes(found, known, whole, records, tuple(id for id, record in read.items() if record is None))

    async def _put(self, id: str, mode: str, fields: Mapping[str, str]) -> Any:
        words = [word for pair in fields.items() for word in pair]
        return await self._write(self._names(id), [id, self._state.key(CHANNEL), mode, secrets.token_hex(8), *words])

    def _names(self, id: str) -> list[str]:
        return [self._key(id), self._name("index"), self._name("version"), self._name("epoch")]

    def _key(self, id: str) -> str:
        return self._name(f"key:{id}")

    def _name(self, name: str) -> str:
        return self._state.key(_SLOT, name)


def fields_of(record: KeyRecord) -> dict[str, str]:
    """As text, for a hash or for people."""
    return {
        "digest": record.digest.hex(),
        "principal": record.principal,
        "name": record.name,
        "tenant": record.tenant,
        "scopes": json.dumps(record.scopes),
        "created": repr(record.created),
        "not_before": repr(record.not_before),
        "expires": repr(record.expires),
        "revoked": repr(record.revoked),
        "limits": json.dumps(record.limits),
        "replaces": record.replaces,
    }


def record_of(id: str, answer: list[bytes]) -> KeyRecord | None:
    """The record of an answer to HGETALL; None for an empty one. Raises `StateError` for what is none."""
    if not answer:
        return None
    try:
        texts = [word.decode() for word in answer]
        fields = dict(zip(texts[::2], texts[1::2], strict=True))
        return KeyRecord(
            id,
            bytes.fromhex(fields["digest"]),
            fields["principal"],
            fields["name"],
            fields["tenant"],
            tuple(map(str, json.loads(fields["scopes"]))),
            float(fields["created"]),
            float(fields["not_before"]),
            float(fields["expires"]),
            float(fields["revoked"]),
            {str(name): str(rate) for name, rate in json.loads(fields["limits"]).items()},
            fields["replaces"],
        )
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise StateError(f"the key {id} in the store cannot be read: {error!r}", "garbage") from error
