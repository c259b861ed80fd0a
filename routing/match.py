"""Rules: which requests are exceptions to where a route sends the rest, compiled once into checks of a `View`.

Of a header, or gRPC metadata, names are compared without case and values with it. A name that comes several times is
a list: its values are joined with commas on the way (RFC 9110 §5.3, and gRPC's PROTOCOL-HTTP2.md for metadata), so a
condition holds when it holds of the whole value or of one of its first `MOST_ITEMS` items. Over gRPC the value of a
name that ends in `-bin` is compared as the bytes that the client gave, not as the base64 that travels.

Regular expressions are RE2's (google-re2, kept by RE2's own authors): it takes time linear in the value for any
expression, so neither an operator's slip nor a client's value can stall a worker. Python's `re` would need a subset
that is proven harmless, and nobody knows that subset by heart; RE2's is that of Envoy. A match costs 2 us; what was
decided for a short value is remembered, which makes it 0.1 us.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence

from config.match import Patterns, compile_patterns
from config.regex import Regex, compile_regex
from config.routes import Condition
from routing.identity import Certificate

REST, GRPC = "rest", "grpc"
INFER, STREAM, GENERATE = "infer", "stream", "generate"
MOST_ITEMS = 32
REMEMBERED_VALUES = 1024
LONGEST_REMEMBERED = 256


class View:
    """What rules and splits see of a request. `headers` has lower-case names, repeated ones joined with a comma; `api`
    is "rest" or "grpc", `method` "infer", "stream" or "generate"; `address` is the client's as text, `principal` who it
    is known to be, `sequence` the stateful sequence that the request belongs to, each "" where there is none;
    `certificate` is what the client's certificate says, None without a verified one; `listener` is the name of the one
    that it came to, and `repeated` are the names of headers that came more than once. Of what carries no tensors,
    `method` is the class of its API, such as "metadata"."""

    __slots__ = ("address", "api", "certificate", "headers", "listener", "method", "model", "principal", "repeated",
                 "sequence")  # fmt: skip

    def __init__(
        self,
        api: str,
        method: str,
        model: str,
        headers: dict[bytes, bytes],
        address: str = "",
        sequence: str = "",
        principal: str = "",
    ) -> None:
        self.api = api
        self.method = method
        self.model = model
        self.headers = headers
        self.address = address
        self.sequence = sequence
        self.principal = principal
        self.certificate: Certificate | None = None
        self.listener = ""
        self.repeated: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"<View {self.api} {self.method} {self.model!r} from {self.address or 'nowhere'}>"


class Check:
    """One thing that must hold of a request."""

    __slots__ = ()

    def holds(self, view: View) -> bool:
        """Whether it does."""
        raise NotImplementedError


class HeaderCheck(Check):
    """Something that must hold of a header's value, or of one of its items."""

    __slots__ = ("_binary", "_name")

    def __init__(self, name: str) -> None:
        self._name = name.lower().encode()
        self._binary = self._name.endswith(b"-bin")

    def holds(self, view: View) -> bool:
        """Whether the header is there and its value fits."""
        value = view.headers.get(self._name)
        if value is None:
            return False
        if self._binary and view.api == GRPC:
            return any(map(self.fits, binary_items(value)))
        return self.fits(value) or (b"," in value and any(map(self.fits, items(value))))

    def fits(self, value: bytes) -> bool:
        """Whether this value, or item, is one that is looked for."""
        raise NotImplementedError


class OneOf(HeaderCheck):
    """`equals` and `in`."""

    __slots__ = ("_values",)

    def __init__(self, name: str, values: Iterable[str]) -> None:
        super().__init__(name)
        self._values = frozenset(value.encode() for value in values)

    def fits(self, value: bytes) -> bool:
        """It is one of them."""
        return value in self._values


class Prefix(HeaderCheck):
    """`prefix`."""

    __slots__ = ("_prefix",)

    def __init__(self, name: str, prefix: str) -> None:
        super().__init__(name)
        self._prefix = prefix.encode()

    def fits(self, value: bytes) -> bool:
        """It begins so."""
        return value.startswith(self._prefix)


class Expression(HeaderCheck):
    """`regex`, for the whole value."""

    __slots__ = ("_known", "_regex")

    def __init__(self, name: str, regex: str) -> None:
        super().__init__(name)
        self._regex: Regex = compile_regex(regex)
        self._known: dict[bytes, bool] = {}

    def fits(self, value: bytes) -> bool:
        """All of it matches."""
        known = self._known.get(value)
        if known is None:
            known = self._regex.fullmatch(value) is not None
            if len(value) <= LONGEST_REMEMBERED:
                if len(self._known) >= REMEMBERED_VALUES:
                    self._known.clear()
                self._known[value] = known
        return known


class Present(Check):
    """`present`: the header is there, whatever its value, or is not."""

    __slots__ = ("_name", "_wanted")

    def __init__(self, name: str, wanted: bool) -> None:
        self._name = name.lower().encode()
        self._wanted = wanted

    def holds(self, view: View) -> bool:
        """As wanted."""
        return (self._name in view.headers) is self._wanted


class ApiIs(Check):
    """`api`."""

    __slots__ = ("_api",)

    def __init__(self, api: str) -> None:
        self._api = api

    def holds(self, view: View) -> bool:
        """The client speaks it."""
        return view.api == self._api


class MethodIs(Check):
    """`method`."""

    __slots__ = ("_method",)

    def __init__(self, method: str) -> None:
        self._method = method

    def holds(self, view: View) -> bool:
        """The client calls it."""
        return view.method == self._method


class PrincipalIs(Check):
    """`principal`: names or globs. Nobody's request fits none of them, be it `*`."""

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns: Patterns = compile_patterns(patterns)

    def holds(self, view: View) -> bool:
        """It is one of them."""
        return view.principal != "" and self._patterns.matches(view.principal)


class ModelIs(Check):
    """`model`: names or globs of the model that the client asks for."""

    __slots__ = ("_patterns",)

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns: Patterns = compile_patterns(patterns)

    def holds(self, view: View) -> bool:
        """It is one of them."""
        return self._patterns.matches(view.model)


def compile_conditions(conditions: Sequence[Condition]) -> tuple[Check, ...]:
    """The checks of a rule, cheap ones first; it fits when all hold. Raises ValueError for an expression that RE2 does
    not take."""
    checks = [check for condition in conditions for check in _checks(condition)]
    return tuple(sorted(checks, key=lambda check: type(check) in (Expression, PrincipalIs, ModelIs)))


def _checks(condition: Condition) -> list[Check]:
    checks: list[Check] = []
    if condition.api is not None:
        checks.append(ApiIs(condition.api))
    if condition.method is not None:
        checks.append(MethodIs(condition.method))
    if condition.header is not None:
        checks.append(_header_check(condition.header, condition))
    if condition.principal:
        checks.append(PrincipalIs(condition.principal))
    if condition.model:
        checks.append(ModelIs(condition.model))
    return checks


def _header_check(name: str, condition: Condition) -> Check:
    if condition.equals is not None:
        return OneOf(name, (condition.equals,))
    if condition.in_:
        return OneOf(name, condition.in_)
    if condition.prefix is not None:
        return Prefix(name, condition.prefix)
    if condition.regex is not None:
        return Expression(name, condition.regex)
    return Present(name, condition.present is not False)


def items(value: bytes) -> list[bytes]:
    """The first items of a list with commas, without the white space around them."""
    return [item.strip() for item in value.split(b",", MOST_ITEMS)[:MOST_ITEMS]]


def binary_items(value: bytes) -> list[bytes]:
    """The bytes of a `-bin` value, or of several joined with commas; what is no base64 is left out."""
    found = []
    for item in items(value):
        try:
            found.append(binascii.a2b_base64(item + b"=" * (-len(item) % 4)))
        except binascii.Error:
            continue
    return found
