"""The error of a call, for tests where an error is one of two right outcomes."""

from __future__ import annotations

from collections.abc import Callable

from transcoding.status import GatewayError


def error_from(call: Callable[[], object]) -> GatewayError | None:
    """What the call raised, or None when it succeeded. Any other exception passes, and fails the test."""
    try:
        call()
    except GatewayError as error:
        return error
    return None
