"""The version that runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed


def version() -> str:
    """The version of the installed distribution; `0+source` when run from a checkout that is not installed."""
    try:
        return installed("penstock")
    except PackageNotFoundError:
        return "0+source"
