"""Where the requests of a route go: its variants, and the choice among them by rules, by shares, or at once.

Everything that a request needs of its variant is resolved when the table is built: the pool, the chain of handlers, the
version unless that may change, and the bytes that tell the client what was chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from routing.call import Call, Handler
from routing.match import Check, View
from routing.pool import Pool
from routing.split import Split
from routing.versions import VersionSource
from transcoding.http2 import hpack

ROUTE, VARIANT, VERSION = b"penstock-route", b"penstock-variant", b"penstock-model-version"
MOST_TOLD = 64
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")


class Told:
    """What an answer says of its choice, as bytes: `fields`; `lines`, the end of a head of HTTP/1.1 (RFC 9112 §5); and
    `block`, a header block of HTTP/2 to go behind another."""

    __slots__ = ("block", "fields", "lines")

    def __init__(self, fields: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.fields = tuple(fields)
        self.lines = b"".join([b"%b: %b\r\n" % field for field in fields]) + b"\r\n"
        self.block = hpack.encode(fields) if fields else b""

    def __repr__(self) -> str:
        return f"Told({self.fields!r})"


NOTHING_TOLD = Told()


class Variant:
    """One target of a route. `name` is that of a share or a rule, "" for the only target there is; `model` is asked for
    in place of the client's, "" for none; `version` is for requests that name none, "" for none or one that may change,
    which `versions` then knows."""

    __slots__ = ("_decides", "_told", "_versions", "alters", "handler", "model", "name", "pool", "route", "told",
                 "version")  # fmt: skip

    def __init__(
        self,
        route: str,
        name: str,
        pool: Pool,
        handler: Handler,
        *,
        model: str = "",
        version: str = "",
        versions: VersionSource | None = None,
    ) -> None:
        self.route = route
        self.name = name
        self.pool = pool
        self.handler = handler
        self.model = model
        self.version = version
        self._decides = bool(version) or versions is not None
        self.alters = self._decides or bool(model)
        self.told = Told(self._fields())
        self._versions = versions
        self._told: dict[str, Told] = {}

    def resolve(self, model: str, version: str) -> tuple[str, str, Told]:
        """The model and version to ask for when the client asks for these, "" where it names no version; and what to
        tell the client. The same again, and `told`, unless the variant `alters` requests. Raises `GatewayError` for a
        model without the label."""
        model = self.model or model
        if version or not self._decides:
            return model, version, self.told
        version = self.version if self._versions is None else self._versions.of(model)
        told = self._told.get(version)
        return model, version, told if told is not None else self._tell(version)

    def pinned(self, model: str, version: str) -> tuple[str, str, Told]:
        """The same for a version that was decided before."""
        told = self._told.get(version)
        return self.model or model, version, told if told is not None else self._tell(version)

    def _tell(self, version: str) -> Told:
        if len(self._told) >= MOST_TOLD:
            self._told.clear()
        fields = self._fields()
        told = self._told[version] = Told([*fields, (VERSION, printable(version))]) if version else self.told
        return told

    def elsewhere(self, call: Call) -> Told:
        """What to tell the client when a policy sent the call somewhere else than here."""
        key = f"{call.variant}\0{call.version}"
        told = self._told.get(key)
        if told is None:
            if len(self._told) >= MOST_TOLD:
                self._told.clear()
            fields = [(ROUTE, printable(self.route)), (VARIANT, printable(call.variant))]
            version = [(VERSION, printable(call.version))] if call.version else []
            told = self._told[key] = Told([*fields, *version])
        return told

    def _fields(self) -> list[tuple[bytes, bytes]]:
        fields = [(ROUTE, printable(self.route))]
        return [*fields, (VARIANT, printable(self.name))] if self.name else fields

    def __repr__(self) -> str:
        name = f"/{self.name}" if self.name else ""
        model = f" model {self.model}" if self.model else ""
        version = f" version {self.version or 'by label or latest'}" if self._decides else ""
        return f"<Variant {self.route}{name} to {self.pool.name}{model}{version}>"


class Rule:
    """Requests for which all checks hold go to `variant`."""

    __slots__ = ("checks", "variant")

    def __init__(self, checks: Sequence[Check], variant: Variant) -> None:
        self.checks = tuple(checks)
        self.variant = variant

    def holds(self, view: View) -> bool:
        """Whether it takes this request."""
        for check in self.checks:  # noqa: SIM110 - half the cost of a generator
            if not check.holds(view):
                return False
        return True


class Shares(NamedTuple):
    """A split and the variants that share, by their position in it; `weights` are theirs."""

    split: Split
    variants: tuple[Variant, ...]
    weights: tuple[int, ...]


class Decision(NamedTuple):
    """A choice, and by what it was made: the position of a rule, or a bucket with its key, b"" for chance; both None
    when there was nothing to choose."""

    variant: Variant
    rule: int | None = None
    bucket: int | None = None
    key: bytes = b""


class Table:
    """Rules in order, then a split or a single target. `only` is the variant of all requests, None if that depends;
    `defaults` are those that take requests without a rule, `variants` all of them, each time the defaults first."""

    __slots__ = ("_default", "_shares", "_split", "defaults", "only", "rules", "shares", "variants")

    def __init__(self, rules: Sequence[Rule], default: Variant | Shares) -> None:
        self.rules = tuple(rules)
        self.shares = default if isinstance(default, Shares) else None
        taking = [default] if isinstance(default, Variant) else weighted(default)
        idle = [] if isinstance(default, Variant) else [each for each in default.variants if each not in taking]
        self._default = taking[0]
        self._split = default.split if isinstance(default, Shares) and len(taking) > 1 else None
        self._shares = default.variants if isinstance(default, Shares) else ()
        self.defaults = tuple(taking)
        ruled = [rule.variant for rule in self.rules]
        self.variants = (*taking, *ruled, *idle)
        self.only = self._default if self._split is None and not self.rules else None

    def choose(self, view: View) -> Variant:
        """The variant that takes this request."""
        for rule in self.rules:
            if rule.holds(view):
                return rule.variant
        split = self._split
        return self._default if split is None else self._shares[split.choose(view)]

    def explain(self, view: View) -> Decision:
        """The same, with the reason; of what chance decides, one outcome."""
        for position, rule in enumerate(self.rules):
            if rule.holds(view):
                return Decision(rule.variant, rule=position)
        split = self._split
        if split is None:
            return Decision(self._default)
        bucket = split.bucket(view)
        return Decision(self._shares[split.owner(bucket)], bucket=bucket, key=split.key.of(view))


def weighted(shares: Shares) -> list[Variant]:
    """The variants of a split that take requests at all."""
    return [variant for variant, weight in zip(shares.variants, shares.weights, strict=True) if weight > 0]


def printable(text: str) -> bytes:
    """Text as the value of a header: visible ASCII, the rest percent-encoded."""
    return quote_from_bytes(text.encode(), safe=_PRINTABLE).encode()
