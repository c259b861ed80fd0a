"""What must hold between the parts of a configuration. Each check yields (path, message) for each mistake it finds.

The configuration may have holes (`config.hole.HOLE`) where a part could not be read; a check passes over those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from config.addresses import UNIX, is_loopback, is_wildcard, normal, split_address
from config.check_patterns import check_patterns
from config.check_pools import check_pools
from config.check_routes import check_routes
from config.findings import Finding, repeated
from config.hole import HOLE
from config.node import Node
from config.problems import Path, quote
from config.schema import Config, Listener, Route
from config.store_url import parse_store

_NONE: Mapping[Path, Node] = MappingProxyType({})


def check(
    config: Config,
    pickers: Collection[str],
    written: Collection[Path] = (),
    options: Mapping[Path, Node] = _NONE,
) -> Iterator[Finding]:
    """Every mistake between the parts. `pickers` are the values that a pool's `pick` may have, `written` the places of
    values that do not come from a default, `options` what each policy was given."""
    yield from _addresses(config)
    yield from _listeners(config)
    yield from _admin(config)
    yield from _state(config)
    yield from check_pools(config, pickers, written)
    yield from check_routes(config, options)
    yield from _names(config)
    yield from check_patterns(config)


def listener_name(listener: Listener) -> str:
    """The name as written, or the address."""
    return listener.name or listener.address


def route_name(route: Route) -> str:
    """The name as written, or the first pattern."""
    return route.name or next(iter(route.match.model), "")


def _addresses(config: Config) -> Iterator[Finding]:
    written = [(("listen", i, "address"), listener.address) for i, listener in enumerate(config.listen)]
    for path, first, address in repeated((path, text, normal(text)) for path, text in written if text is not HOLE):
        yield path, f"expected an address of its own, got {quote(address)}, where {first} listens already"


def _listeners(config: Config) -> Iterator[Finding]:
    for i, listener in enumerate(config.listen):
        for field, values in (("apis", listener.apis), ("forward_headers", listener.forward_headers)):
            paths = ((("listen", i, field, j), value, value) for j, value in enumerate(values) if value is not HOLE)
            for path, first, value in repeated(paths):
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


def _state(config: Config) -> Iterator[Finding]:
    state = config.state
    if not state or not state.url:
        return
    store = parse_store(state.url)
    if state.password_file and state.password_env:
        yield ("state", "password_env"), "expected one of password_file and password_env, got both"
    if state.key and not state.certificate:
        yield ("state", "key"), "expected a certificate beside the key"
    if not store.addresses and not store.path:
        for field in ("password_file", "password_env"):
            if getattr(state, field):
                yield ("state", field), f"expected no password, as {store.form} has none"
    for field in ("ca", "certificate", "key"):
        if getattr(state, field) and not store.tls:
            yield ("state", field), "expected a URL with TLS, which begins with rediss"


def _share_a_port(one: str, other: str) -> bool:
    hosts = {normal(one)[0], normal(other)[0]}
    return normal(one)[1] == normal(other)[1] and (len(hosts) == 1 or any(map(is_wildcard, hosts)))


def _names(config: Config) -> Iterator[Finding]:
    """Two names that nobody wrote are equal only where the addresses or patterns are, which other checks report."""
    listeners = [(("listen", i, "name"), listener_name(item), item.name) for i, item in enumerate(config.listen)]
    routes = [(("routes", i, "name"), route_name(item), item.name) for i, item in enumerate(config.routes)]
    for named in (listeners, routes):
        written = {name for _, name, own in named if own}
        places = ((path, name, name) for path, name, _ in named if name is not HOLE and name in written)
        for path, first, name in repeated(places):
            yield path, f"expected a name of its own, got {quote(name)}, which {first} has already"
