"""Which answers of a cache still hold: of which load of a model they are, and what was purged since.

A model version that is loaded anew may answer differently under the same name. Control tells each load apart by a
token; one that was not known before begins a new line of answers. In the store a line has a number, in
`cache:line:{pool/model/version}` beside the tokens that it knows, so that whoever sees a load first begins the line for
all gateways, and the others find it begun. Purges count up in `cache:purges`, by what they purge. Gateways hear of both
by messages on the channel `cache`.

Without the store a process knows its own: its answers still end with the load that they are of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final
from weakref import WeakMethod

from state import Script, State, StateError

CHANNEL: Final = "cache"
RETRY: Final = 1.0
"""Seconds until the store is asked again after it did not answer."""
MOST_TOKENS: Final = 4096
EVERYTHING: Final = "everything"

# Numbers are the store's time in microseconds, or one more than the last: one that was given never comes again, even
# if the store forgot it. A line that nobody asks for is forgotten after three days, longer than any answer lives.
MEET = """
local key, channel, name, fresh = KEYS[1], ARGV[1], ARGV[2], false
local known = tonumber(redis.call('HGET', key, 'number') or '0')
for at = 3, #ARGV, 2 do
  if redis.call('HGET', key, 'at:' .. ARGV[at]) ~= ARGV[at + 1] then fresh = true end
end
if fresh or known == 0 then
  if redis.call('HLEN', key) > 4096 then redis.call('DEL', key) end
  for at = 3, #ARGV, 2 do redis.call('HSET', key, 'at:' .. ARGV[at], ARGV[at + 1]) end
  local now = redis.call('TIME')
  known = math.max(known + 1, tonumber(now[1]) * 1000000 + tonumber(now[2]))
  redis.call('HSET', key, 'number', string.format('%.0f', known))
  redis.call('PUBLISH', channel, string.format('line %.0f ', known) .. name)
end
redis.call('EXPIRE', key, 259200)
return string.format('%.0f', known)
"""
PURGE = """
local count = redis.call('HINCRBY', KEYS[1], ARGV[2], 1)
redis.call('PUBLISH', ARGV[1], string.format('purge %d ', count) .. ARGV[2])
return count
"""


def of_model(model: str, version: str = "") -> str:
    """What a purge names: a model, or one version of it."""
    return f"version:{len(model)}:{model}:{version}" if version else f"model:{model}"


def of_scope(kind: str, name: str) -> str:
    """What a purge names: all answers of a `tenant` or a `principal`, or what is `shared`."""
    return f"scope:{kind}:{name}"


async def purge(state: State, subject: str) -> None:
    """Let no gateway use an answer again that it has now of `subject`: `EVERYTHING`, or what `of_model` and `of_scope`
    give. Raises `StateError`; then nothing may have been purged."""
    await state.do("EVAL", PURGE, 1, state.key("cache", "purges"), state.key(CHANNEL), subject)


class Line:
    """The answers of one load of a model version, as far as this process knows. `mark` is another object for each load.
    `number` is the store's last word, and `sure` while nothing speaks against it; `met` says that the store knows
    `tokens`, which are those of the loads by address; `loads` counts those that were seen."""

    __slots__ = ("asking", "loads", "mark", "met", "name", "number", "retry_at", "sure", "tokens")

    def __init__(self, name: str, tokens: Mapping[str, int]) -> None:
        self.name = name
        self.mark = object()
        self.number = self.loads = 0
        self.tokens = dict(tokens)
        self.met = self.sure = False
        self.asking: asyncio.Task[None] | None = None
        self.retry_at = 0.0

    def follow(self, tokens: Mapping[str, int]) -> bool:
        """These are the tokens now. True if one of them is of a load that was not known."""
        known = self.tokens
        if all(known.get(address) == token for address, token in tokens.items()):
            return False
        if len(known) > MOST_TOKENS:
            known.clear()
        known.update(tokens)
        self.mark = object()
        self.loads += 1
        self.met = self.sure = False
        return True

    def learn(self, number: int) -> None:
        """The number that the store has."""
        if number < self.number:
            return  # an old message
        if self.number not in (0, number):
            self.mark = object()
        self.number, self.sure = number, True


class Ledger:
    """What a process knows of both. `on_purge` is called with the subject of each purge that it hears of; `mark` is
    another object after each."""

    def __init__(
        self,
        state: State | None,
        clock: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, Any], str], asyncio.Task[Any]],
        on_purge: Callable[[str], None],
    ) -> None:
        self.mark = object()
        self._state = state
        self._clock = clock
        self._spawn = spawn
        self._on_purge = on_purge
        self._lines: dict[str, Line] = {}
        self._purges: dict[bytes, bytes] | None = None
        self._purges_sure = False
        self._reading: asyncio.Task[None] | None = None
        self._read_at = 0.0
        if state is not None:
            self._meet: Script = state.script("cache_meet", MEET)
            _listen(state, self)
            self._read_purges()

    def line(self, pool: str, model: str, version: str, tokens: Mapping[str, int]) -> Line:
        """The line of answers of a model version, whose endpoints have these tokens now."""
        name = "/".join(f"{len(each)}:{each}" for each in (pool, model, version))
        line = self._lines.get(name)
        if line is None:
            line = self._lines[name] = Line(name, tokens)
            self._ask(line)
        elif line.follow(tokens):
            self._ask(line)
        return line

    def stamp(self, line: Line, subjects: Sequence[str]) -> str | None:
        """What tells the answers of this line in the store from those before it or before a purge of these subjects.
        None as long as the store did not say."""
        if not (line.sure and line.met and self._purges_sure):
            if not (line.sure and line.met):
                self._ask(line)
            if not self._purges_sure:
                self._read_purges()
            return None
        purges = self._purges
        counts = [purges.get(each.encode(), b"").decode() for each in (EVERYTHING, *subjects)] if purges else ()
        return ".".join((str(line.number), *counts))

    async def settled_stamp(self, line: Line, subjects: Sequence[str], timeout: float) -> str | None:
        """The same, waited for as long if the store is being asked: else whoever asks first of a model would compute
        what others have."""
        stamp = self.stamp(line, subjects)
        if stamp is None and (asking := {each for each in (line.asking, self._reading) if each is not None}):
            await asyncio.wait(asking, timeout=timeout)
            stamp = self.stamp(line, subjects)
        return stamp

    # what others say --------------------------------------------------------------------------------------------------

    def heard(self, message: bytes) -> None:
        """A message of the channel: a line that begins anew, a purge, or b"" when some may have been missed."""
        if not message:
            self._doubt(self._lines.values())
            return
        kind, _, rest = message.decode(errors="replace").partition(" ")
        number, _, name = rest.partition(" ")
        if not number.isdecimal():
            return
        if kind == "line" and name in self._lines:
            self._lines[name].learn(int(number))
        elif kind == "purge":
            self._purged(name, number)

    def _doubt(self, lines: Iterable[Line]) -> None:
        for line in lines:
            line.met = line.sure = False
            self._ask(line)
        self._purges_sure = False
        self._read_purges()

    def _purged(self, subject: str, count: str) -> None:
        self.mark = object()
        if self._purges is not None:
            self._purges[subject.encode()] = count.encode()
        self._on_purge(subject)

    # what the store says ----------------------------------------------------------------------------------------------

    def _ask(self, line: Line) -> None:
        if line.asking is None and (state := self._reachable(line.retry_at)) is not None:
            line.asking = self._spawn(self._ask_store(state, line), "cache: the line of a model")

    def _reachable(self, retry_at: float) -> State | None:
        """The store, if it is worth asking."""
        state = self._state
        return state if state is not None and state.up and self._clock() >= retry_at else None

    async def _ask_store(self, state: State, line: Line) -> None:
        loads, arguments = line.loads, [state.key(CHANNEL), line.name]
        for address, token in line.tokens.items():
            arguments += (address, str(token))
        try:
            number = await self._meet([state.key("cache", "line", f"{{{line.name}}}")], arguments)
        except StateError:
            line.retry_at = self._clock() + RETRY
            return
        finally:
            line.asking = None
        if line.loads != loads:
            self._ask(line)  # there was another load meanwhile
            return
        line.met = True
        line.learn(int(number))

    def _read_purges(self) -> None:
        if self._reading is None and (state := self._reachable(self._read_at)) is not None:
            self._reading = self._spawn(self._read_store(state), "cache: the purges")

    async def _read_store(self, state: State) -> None:
        mark = self.mark
        try:
            found = await state.do("HGETALL", state.key("cache", "purges"))
        except StateError:
            self._read_at = self._clock() + RETRY
            return
        finally:
            self._reading = None
        if self.mark is not mark:
            self._read_purges()
            return
        purges = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
        if self._purges not in (None, purges):
            self.mark = object()
            self._on_purge(EVERYTHING)  # it was not heard which
        self._purges, self._purges_sure = purges, True


def _listen(state: State, ledger: Ledger) -> None:
    """Have the ledger hear messages for as long as somebody has it."""
    heard = WeakMethod(ledger.heard)
    ends: list[Callable[[], None]] = []

    def told(message: bytes) -> None:
        method = heard()
        if method is not None:
            method(message)
        elif ends:
            ends.pop()()

    ends.append(state.on_message(CHANNEL, told))
