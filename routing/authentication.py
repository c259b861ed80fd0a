"""What the ways to say who calls have in common: where a credential is found, and how a call without one is refused.

Refusals are those of RFC 6750 §3 (and RFC 9110 §11.6.1): 401 with a challenge that says `error="invalid_token"` where
there was a credential and nothing where there was none; gRPC's UNAUTHENTICATED. Of what was wrong a caller hears only
what it may know: that its credential is expired is told to who showed that it had the right one.
"""

from __future__ import annotations

from typing import ClassVar, Final, Protocol

from routing.call import Call, Handler, Reply
from routing.identity import Identity, introduce
from routing.match import View
from transcoding.http2.fragment import without
from transcoding.status import Code, GatewayError

AUTHORIZATION: Final = b"authorization"
REALM: Final = "penstock"
_BEARER: Final = b"bearer "


class Authenticator:
    """Base of the policies of identity. In a chain they are alternatives, which `routing.call.link` makes them."""

    identifies: ClassVar = True
    needs_view: ClassVar = True
    guards: ClassVar = True
    hides = b""

    async def identify(self, call: Call) -> Identity | None:
        """Who calls, None if the credential that this policy looks for is not there. Raises `GatewayError` for one that
        is there and is wrong, and when it cannot be said."""
        raise NotImplementedError

    def missing(self, call: Call) -> GatewayError:
        """The answer where no credential is there that any policy of the chain takes."""
        raise NotImplementedError

    async def __call__(self, call: Call, next: Handler) -> Reply:
        """Answer by `next` if it is known who calls. Raises `GatewayError` UNAUTHENTICATED if not."""
        identity = await self.identify(call)
        if identity is None:
            raise self.missing(call)
        introduce(call, identity)
        return await next(call)

    async def or_else(self, call: Call, next: Handler, otherwise: Handler) -> Reply:
        """Answer by `next` if the credential is there and right, by `otherwise` if it is not there."""
        identity = await self.identify(call)
        if identity is None:
            return await otherwise(call)
        introduce(call, identity)
        return await next(call)

    async def passed_by(self, call: Call, next: Handler) -> Reply:
        """Answer by `next`; another policy knows who calls, and the credential of this one goes no further all the
        same."""
        hide(call, self.hides)
        return await next(call)


def hide(call: Call, name: bytes) -> None:
    """Take a header out of what travels upstream with the call."""
    if name and name in call.metadata:
        call.metadata = without(call.metadata, name)


def bearer(view: View) -> bytes | None:
    """The token of `Authorization: Bearer`, None where there is no such header or it is of another scheme. It may be
    anything; two headers, which travel as one with a comma, are no token of anybody."""
    value = view.headers.get(AUTHORIZATION)
    if value is None or value[:7].lower() != _BEARER:
        return None
    return value[7:].strip(b" ")


class Count(Protocol):
    """One counter of the metrics."""

    value: float


class Counters(Protocol):
    """Counters by family and label values."""

    def __call__(self, family: str, labels: tuple[str, ...] = (), /) -> Count:
        """The counter; the same labels give the same one."""
        ...


class Challenge:
    """The refusals of one policy of this `kind`, counted, for a `realm` and `scheme`; `more` are further parameters of
    the challenge."""

    def __init__(self, kind: str, counters: Counters, realm: str = REALM, scheme: str = "Bearer", **more: str) -> None:
        self._kind = kind
        self._counters = counters
        self._scheme = scheme
        self._parameters = {"realm": realm, **more}

    def missing(self, message: str) -> GatewayError:
        """No credential was shown: no error code, as RFC 6750 §3.1 has it."""
        return self._refusal("missing", message, {})

    def invalid(self, message: str, reason: str = "invalid") -> GatewayError:
        """One was shown that is not good; `reason` is a word for the metrics."""
        return self._refusal(reason, message, {"error": "invalid_token", "error_description": message})

    def _refusal(self, reason: str, message: str, more: dict[str, str]) -> GatewayError:
        self._counters("penstock_unauthenticated_total", (self._kind, reason)).value += 1
        fields = ", ".join(f"{name}={_quoted(value)}" for name, value in (self._parameters | more).items())
        challenge = (b"www-authenticate", f"{self._scheme} {fields}".encode("ascii"))
        return GatewayError(Code.UNAUTHENTICATED, message, fields=(challenge,))


def _quoted(text: str) -> str:
    """A quoted-string of RFC 9110 §5.6.4, in visible ASCII."""
    plain = "".join(each if " " <= each <= "~" else "?" for each in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
