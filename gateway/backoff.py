"""`Backoff`, for the gateway's own modules. It is made in `state`, which needs it too and is to the right."""

from state.backoff import Backoff

__all__ = ["Backoff"]
