"""What must hold between the parts of a configuration. Each check yields (path, message) for each mistake it finds.

The configuration may have holes (`config.decode.HOLE`) where a part could not be read; a check passes over those.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator

from config.addresses import UNIX, is_loopback, is_wildcard, normal, split_address
from config.decode import HOLE
from config.match import covers, is_literal, tokens
from config.problems import Path, did_you_mean, listed, path_text, quote
from config.schema import Config, Listener, Route

Finding = tuple[Path, str]

_MAX_COMPARISONS = 300_000  # a second or two; beyond some 700 globs that begin alike, the rest are taken on trust


def check(config: Config, pickers: Collection[str]) -> Iterator[Finding]:
    """Every mistake between the parts; `pickers` are the values that a pool's `pick` may have."""
    yield from _addresses(config)
    yield from _listeners(config)
    yield from _admin(config)
    yield from _pools(config, pickers)
    yield from _targets(config)
    yield from _names(config)
    yield from _dead_patterns(config)


def listener_name(listener: Listener) -> str:
    """The name as written, or the address."""
    return listener.name or listener.address


def route_name(route: Route) -> str:
    """The name as written, or the first pattern."""
    return route.name or next(iter(route.match.model), "")


def _addresses(config: Config) -> Iterator[Finding]:
    written = [(("listen", i, "address"), listener.address) for i, listener in enumerate(config.listen)]
    for path, first, address in _repeated((path, text, normal(text)) for path, text in written if text is not HOLE):
        yield path, f"expected an address of its own, got {quote(address)}, where {first} listens already"


def _listeners(config: Config) -> Iterator[Finding]:
    for i, listener in enumerate(config.listen):
        for field, values in (("apis", listener.apis), ("forward_headers", listener.forward_headers)):
            paths = ((("listen", i, field, j), value, value) for j, value in enumerate(values) if value is not HOLE)
            for path, first, value in _repeated(paths):
                yield path, f"expected each value once, got {quote(value)} again, as in {first}"
        limits = listener.limits
        if (limits.connections_per_address or 0) > limits.connections:
            got = f"got {limits.connections_per_address}"
            path = ("listen", i, "limits", "connections_per_address")
            yield path, f"expected at most `connections`, which is {limits.connections}, {got}"


def _admin(config: Config) -> Iterator[Finding]:
    address, path = config.admin.address, ("admin", "address")
    if address is HOLE or address.startswith(UNIX):
        return
    host, port = split_address(address)
    if not is_loopback(host):
        why = "the admin port has no authentication yet"
        yield path, f"{why}; expected a loopback address or unix:/path, got {quote(address)}"
    for i, listener in enumerate(config.listen):
        if listener.address is not HOLE and _share_a_port(address, listener.address):
            yield path, f"expected a port of its own, got {port}, where listen[{i}] listens already"


def _share_a_port(one: str, other: str) -> bool:
    hosts = {normal(one)[0], normal(other)[0]}
    return normal(one)[1] == normal(other)[1] and (len(hosts) == 1 or any(map(is_wildcard, hosts)))


def _pools(config: Config, pickers: Collection[str]) -> Iterator[Finding]:
    for name, pool in config.pools.items():
        if pool.pick is not HOLE and pool.pick not in pickers:
            hint = did_you_mean(pool.pick, pickers)
            yield ("pools", name, "pick"), f"expected one of: {listed(pickers)}; got {quote(pool.pick)}{hint}"
        places = [(("pools", name, "endpoints", i), endpoint.address) for i, endpoint in enumerate(pool.endpoints)]
        for path, first, address in _repeated((path, text, normal(text)) for path, text in places if text is not HOLE):
            yield path, f"expected each endpoint once, got {quote(address)} again, as in {first}"


def _targets(config: Config) -> Iterator[Finding]:
    if config.pools is HOLE:
        return
    for i, route in enumerate(config.routes):
        pool = route.to.pool
        if pool is not HOLE and pool not in config.pools:
            known = f" (one of: {listed(config.pools)})" if config.pools else ""
            hint = did_you_mean(pool, config.pools)
            yield ("routes", i, "to", "pool"), f"expected the name of a pool{known}, got {quote(pool)}{hint}"


def _names(config: Config) -> Iterator[Finding]:
    """Two names that nobody wrote are equal only where the addresses or patterns are, which other checks report."""
    listeners = [(("listen", i, "name"), listener_name(item), item.name) for i, item in enumerate(config.listen)]
    routes = [(("routes", i, "name"), route_name(item), item.name) for i, item in enumerate(config.routes)]
    for named in (listeners, routes):
        written = {name for _, name, own in named if own}
        places = ((path, name, name) for path, name, _ in named if name is not HOLE and name in written)
        for path, first, name in _repeated(places):
            yield path, f"expected a name of its own, got {quote(name)}, which {first} has already"


def _repeated(places: Iterable[tuple[Path, str, Hashable]]) -> Iterator[tuple[Path, str, str]]:
    """Of (path, value as written, what makes it equal): each repeat with its path, and where its equal stands first."""
    first: dict[Hashable, Path] = {}
    for path, text, key in places:
        if key in first:
            yield path, path_text(first[key]), text
        else:
            first[key] = path


def _dead_patterns(config: Config) -> Iterator[Finding]:
    taken = _Taken()
    for i, route in enumerate(config.routes):
        for j, pattern in enumerate(route.match.model):
            if pattern is HOLE:
                continue
            glob = tokens(pattern)
            if (earlier := taken.by(glob)) is not None:
                taker, by = earlier
                what = "expected a model that no earlier route takes"
                yield ("routes", i, "match", "model", j), f"{what}, got {quote(pattern)}, which {taker} takes by {by}"
            else:
                taken.add(glob, path_text(("routes", i)), quote(pattern))


class _Taken:
    """The patterns of earlier routes, by the plain text that they begin with, so that few are looked at for each."""

    def __init__(self) -> None:
        self._patterns: dict[tuple[str, ...], list[tuple[tuple[str, ...], str, str]]] = {}
        self._comparisons = 0

    def add(self, glob: tuple[str, ...], route: str, pattern: str) -> None:
        self._patterns.setdefault(_beginning(glob), []).append((glob, route, pattern))

    def by(self, glob: tuple[str, ...]) -> tuple[str, str] | None:
        """Route and pattern that take whatever `glob` matches, if any do."""
        beginning = _beginning(glob)
        for length in range(len(beginning) + 1):
            for general, route, pattern in self._patterns.get(beginning[:length], ()):
                self._comparisons += 1
                if self._comparisons > _MAX_COMPARISONS:
                    return None
                if covers(general, glob):
                    return route, pattern
        return None


def _beginning(glob: tuple[str, ...]) -> tuple[str, ...]:
    end = next((i for i, token in enumerate(glob) if not is_literal(token)), len(glob))
    return glob[:end]
