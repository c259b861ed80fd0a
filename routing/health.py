"""Which endpoints are passed over because calls to them failed: outlier ejection and circuit breaking in one.

There is one breaker for each (endpoint, model, version as it was asked for), and one for an endpoint as a whole, which
broken connections count for. None exists before a first failure, so a healthy pool pays a look at a number per call.
From then on outcomes are counted. A breaker opens after so many failures in a row, or when too small a share of the
last ten seconds' calls was good (exponentially forgotten). It stays open for `base` seconds times the openings in a
row; then exactly one call goes there as a probe, and its end closes the breaker or opens it again. Whatever else is
still under way there changes nothing.

Never more than `max_ejected` of the endpoints of a model is out; when less than `panic` would be left, failures are
ignored. Both look only at endpoints that have the model READY: one that has not is no candidate, which no share undoes.
Each worker process judges by its own calls. The rules are those of Envoy's outlier detection, and Linkerd's probation
of one request; what counts as a failure, and whose, is in `routing.connectors.outcome.blame`.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from config.pools import Outliers
from routing.breaker import ENDPOINT, Breaker, Key
from routing.call import Call
from routing.connectors.outcome import Blame, Expired, blame
from routing.endpoint import Endpoint
from transcoding.status import GatewayError

REFUSED_SECONDS: Final = 1.0
"""How long nothing more is ejected for a model after the cap forbade it; then the share that is out is counted anew."""
SWEEP_SECONDS: Final = 5.0
MAX_BREAKERS: Final = 10_000
REMEMBERED: Final = 4096

_log = logging.getLogger(__name__)


class Passable(NamedTuple):
    """What was left of `candidates`, until a breaker changes or becomes due."""

    candidates: tuple[Endpoint, ...]
    left: tuple[Endpoint, ...]
    until: float


class Health:
    """The breakers of one pool. `out` is how many are open, `watched` how many there are; while these are 0 there is
    nothing to ask and nothing to tell. `ejections` counts, and `ejected` has what is out now, by address and model,
    which is "" for the endpoint as a whole."""

    def __init__(self, pool: str, spec: Outliers, clock: Callable[[], float] = time.monotonic) -> None:
        self.out = 0
        self.watched = 0
        self.ejections: Counter[tuple[str, str]] = Counter()
        self.ejected: Counter[tuple[str, str]] = Counter()
        self._pool = pool
        self.spec = spec
        self._clock = clock
        self._breakers: dict[tuple[Endpoint, Key], Breaker] = {}
        self._passable: dict[tuple[Key, Key], Passable] = {}
        self._refused: dict[Key, float] = {}
        self._sweep_at = 0.0

    # whom to ask ------------------------------------------------------------------------------------------------------

    def allowed(self, endpoint: Endpoint, model: str, version: str, now: float) -> bool:
        """May an inference for this model go to this endpoint, a probe among them?"""
        return not self.out or all(not each.open or each.due(now) for each in self._of(endpoint, (model, version)))

    def passable(self, candidates: tuple[Endpoint, ...], call: Call) -> tuple[Endpoint, ...]:
        """Of the endpoints that have the model READY, those to choose from: one alone when it is due for its probe.
        Empty only if the settings let all of them be out."""
        now = self._clock()
        key = ((call.model, call.version), key_of(call))
        known = self._passable.get(key)
        if known is not None and known.candidates is candidates and now < known.until:
            return known.left
        if now >= self._sweep_at:
            self._sweep(now)
        kept: list[Endpoint] = []
        left_out: list[tuple[float, int]] = []
        until = math.inf
        for place, endpoint in enumerate(candidates):
            opened = [each for each in self._of(endpoint, key[1]) if each.open]
            if not opened:
                kept.append(endpoint)
                continue
            back = max(each.until for each in opened)
            if all(each.due(now) for each in opened):
                if endpoint not in call.tried:
                    return (endpoint,)
                until = now
            elif back > now:
                until = min(until, back)
            left_out.append((back, place))
        left = self._share(candidates, kept, left_out)
        self._remember(key, Passable(candidates, left, until))
        return left

    def _remember(self, key: tuple[Key, Key], left: Passable) -> None:
        if len(self._passable) >= REMEMBERED:
            self._passable.clear()
        self._passable[key] = left

    def _share(
        self, candidates: tuple[Endpoint, ...], kept: list[Endpoint], left_out: list[tuple[float, int]]
    ) -> tuple[Endpoint, ...]:
        """Those that are good, and as many of the others, the first to come back first, as the settings want."""
        count = len(candidates)
        if len(kept) < self.spec.panic * count:
            return candidates
        missing = count - self.most_out(count) - len(kept)
        if missing > 0:
            kept += [candidates[place] for _, place in sorted(left_out)[:missing]]
        return tuple(kept)

    def most_out(self, count: int) -> int:
        """Of `count` endpoints, how many may be out: the share, but one at least if there are several."""
        share = self.spec.max_ejected
        return max(int(share * count), 1 if share and count > 1 else 0)

    def retry_after(self, candidates: Iterable[Endpoint], call: Call) -> float:
        """Seconds until the first of these may be tried again."""
        now, key = self._clock(), key_of(call)
        waits = [
            max((each.until - now for each in self._of(endpoint, key) if each.open), default=0.0)
            for endpoint in candidates
        ]
        return max(0.1, min(waits, default=0.1))

    # what happened ----------------------------------------------------------------------------------------------------

    def sent(self, call: Call, endpoint: Endpoint) -> None:
        """The call goes to this endpoint: as its probe, if one is due. To be told while `out` is not 0."""
        now = self._clock()
        for breaker in self._of(endpoint, key_of(call)):
            if breaker.due(now):
                breaker.probe = call
                self._passable.clear()

    def ended(self, call: Call, endpoint: Endpoint) -> None:
        """The call is over, whatever its outcome: it is no probe any more. To be told while `out` is not 0."""
        for breaker in self._of(endpoint, key_of(call)):
            if breaker.probe is call:
                breaker.probe = None
                self._passable.clear()

    def succeeded(self, call: Call, endpoint: Endpoint) -> None:
        """The endpoint answered the call well. To be told while `watched` is not 0."""
        now = self._clock()
        for breaker in self._of(endpoint, key_of(call)):
            if not breaker.open:
                breaker.count(True, now)
            elif breaker.probe is call:
                self._close(breaker)

    def failed(self, call: Call, endpoint: Endpoint, error: GatewayError, candidates: tuple[Endpoint, ...]) -> None:
        """The endpoint, one of the `candidates` for the call, did not answer it well."""
        whose = blame(error)
        key = ENDPOINT if whose is Blame.ENDPOINT else key_of(call)
        if whose is Blame.NOBODY or (whose is Blame.MODEL and key == ENDPOINT):
            return
        now = self._clock()
        breaker = self._breakers.get((endpoint, key))
        if breaker is None:
            breaker = self._watch(endpoint, key, now)
        if not breaker.open:
            breaker.count(False, now)
            if breaker.tripped and self._may_go(breaker, candidates, key_of(call), now):
                self._open(breaker, now, error.message)
        elif breaker.probe is call:
            self._open(breaker, now, error.message)
        if whose is Blame.MODEL and not isinstance(error, Expired):
            self._reached(call, endpoint)

    def revived(self, endpoint: Endpoint) -> None:
        """Control says that an endpoint is live which was not: what its connections did is past, and what its models
        did is to be tried by one call at once, without being forgiven."""
        now = self._clock()
        self._passable.clear()
        for breaker in [each for each in self._breakers.values() if each.endpoint is endpoint]:
            if breaker.key == ENDPOINT:
                self._drop(breaker)
            elif breaker.open:
                breaker.until = min(breaker.until, now)

    def keep(self, endpoints: Iterable[Endpoint]) -> None:
        """These are the endpoints of the pool from now on."""
        kept = set(endpoints)
        self._passable.clear()
        for breaker in [each for each in self._breakers.values() if each.endpoint not in kept]:
            self._drop(breaker)

    # breakers ---------------------------------------------------------------------------------------------------------

    def _of(self, endpoint: Endpoint, key: Key) -> list[Breaker]:
        whole = self._breakers.get((endpoint, ENDPOINT))
        own = None if key == ENDPOINT else self._breakers.get((endpoint, key))
        return [each for each in (whole, own) if each is not None]

    def _reached(self, call: Call, endpoint: Endpoint) -> None:
        """The model answered, though with an error: the way to the endpoint is good."""
        whole = self._breakers.get((endpoint, ENDPOINT))
        if whole is not None and whole.open and whole.probe is call:
            self._close(whole)

    def _watch(self, endpoint: Endpoint, key: Key, now: float) -> Breaker:
        if now >= self._sweep_at:
            self._sweep(now)
        if self.watched >= MAX_BREAKERS:
            self._drop(next(iter(self._breakers.values())))
        breaker = self._breakers[endpoint, key] = Breaker(endpoint, key, self.spec, now)
        self.watched += 1
        return breaker

    def _may_go(self, breaker: Breaker, candidates: tuple[Endpoint, ...], key: Key, now: float) -> bool:
        """Does the cap let one more go? All are counted, at most once a second for a model once the answer was no."""
        if now < self._refused.get(key, 0.0):
            return False
        others = [endpoint for endpoint in candidates if endpoint is not breaker.endpoint]
        out = sum(any(each.open for each in self._of(endpoint, key)) for endpoint in others)
        if out + 1 <= self.most_out(len(others) + 1):
            return True
        self._refused[key] = now + REFUSED_SECONDS
        return False

    def _open(self, breaker: Breaker, now: float, why: str) -> None:
        name = (breaker.endpoint.address, breaker.key[0])
        self.ejections[name] += 1
        if not breaker.open:
            self.out += 1
            self.ejected[name] += 1
        seconds = breaker.trip(now)
        self._passable.clear()
        _log.warning("pool %s: %s is passed over for %.1f s: %s", self._pool, _named(breaker), seconds, why)

    def _close(self, breaker: Breaker) -> None:
        breaker.close()
        self.out -= 1
        self.ejected[breaker.endpoint.address, breaker.key[0]] -= 1
        self._passable.clear()
        _log.info("pool %s: %s is no longer passed over", self._pool, _named(breaker))

    def _drop(self, breaker: Breaker) -> None:
        if breaker.open:
            self._close(breaker)
        del self._breakers[breaker.endpoint, breaker.key]
        self.watched -= 1

    def _sweep(self, now: float) -> None:
        """Forget what has been good for long, and what nobody asks for any more."""
        self._sweep_at = now + SWEEP_SECONDS
        self._refused = {key: until for key, until in self._refused.items() if now < until}
        for breaker in [each for each in self._breakers.values() if each.stale(now)]:
            self._drop(breaker)


def key_of(call: Call) -> Key:
    """What a call's outcome counts for: its model and version, or only the endpoint if it asks for no inference."""
    return (call.model, call.version) if call.method.kind in ("infer", "stream") else ENDPOINT


def _named(breaker: Breaker) -> str:
    address, (model, version) = breaker.endpoint.address, breaker.key
    if breaker.key == ENDPOINT:
        return address
    return f"model '{model}'{f' version {version}' if version else ''} at {address}"
