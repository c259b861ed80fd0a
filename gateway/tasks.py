"""`spawn`, for the gateway's own modules. It is made in `routing`, which needs it too and is to the right."""

from routing.tasks import spawn

__all__ = ["spawn"]
