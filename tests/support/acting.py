"""Policies that tests write themselves, under a kind that no file has: what they are asked is noted.

with acting(monkeypatch, badge=Badge(), note=Note()): a route may say `PolicySpec("badge")`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gateway.policies
from config.routes import PolicySpec
from policies import Services, make
from routing.call import Call, Handler, Reply
from routing.identity import Identity
from transcoding.status import Code, GatewayError

RETRY_INFO = b"\x08\x08\x12\x04wait"
REFUSAL = GatewayError(
    Code.UNAUTHENTICATED,
    "who are you?",
    fields=[(b"www-authenticate", b"Bearer")],
    problem={"type": "about:who"},
    details=RETRY_INFO,
)


class Acting:
    """Notes what it saw of each call, and lets it pass."""

    identifies = guards = needs_view = needs_body = False
    hides = b""

    def __init__(self, before: Callable[[Call], None] = lambda call: None) -> None:
        self.seen: list[dict[str, Any]] = []
        self._before = before

    async def __call__(self, call: Call, next: Handler, /) -> Reply:
        view = call.view
        self.seen.append(
            {
                "message": bool(call.message),
                "model": call.model,
                "version": call.version,
                "principal": call.principal,
                "infer": call.infer is not None,
                "view": None if view is None else (view.api, view.method, view.model),
            }
        )
        self._before(call)
        return await next(call)

    async def or_else(self, call: Call, next: Handler, otherwise: Handler, /) -> Reply:
        """Of several ways to say who calls, this one always knows."""
        return await self(call, next)


class Badge(Acting):
    """Knows a caller by the header `x-badge`, refuses those without one, and tells them so."""

    identifies = needs_view = True

    async def __call__(self, call: Call, next: Handler, /) -> Reply:
        assert call.view is not None
        name = call.view.headers.get(b"x-badge", b"").decode()
        call.tell(b"x-checked", b"yes")
        if not name:
            raise REFUSAL
        call.caller = Identity(principal=name, kind="badge")
        call.principal = name
        return await super().__call__(call, next)


def act(monkeypatch: pytest.MonkeyPatch, **kinds: Any) -> None:
    """These policies stand for their kinds, as long as the test lasts."""

    def made(spec: PolicySpec, services: Services) -> Any:
        return kinds[spec.kind] if spec.kind in kinds else make(spec, services)

    monkeypatch.setattr(gateway.policies, "make", made)


BADGE = PolicySpec("badge")
