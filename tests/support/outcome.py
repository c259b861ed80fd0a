"""What a call came to, for tests that allow one kind of error and no other."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from transcoding.status import GatewayError

P = ParamSpec("P")
R = TypeVar("R")


def outcome(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R | GatewayError:
    """The result of a call, or the `GatewayError` that it raised; any other exception passes through."""
    try:
        return call(*args, **kwargs)
    except GatewayError as error:
        return error
