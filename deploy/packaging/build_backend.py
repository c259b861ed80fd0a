"""Builds the distribution with setuptools, and with mypyc when `PENSTOCK_COMPILE=1` (see setup.py)."""

from __future__ import annotations

import os

from setuptools.build_meta import *  # noqa: F403 - the hooks of PEP 517

COMPILER = ["mypy>=1.13", "hpack", "httptools", "msgspec", "numpy", "orjson", "types-protobuf"]
"""mypyc, and what the compiled modules take types from."""


def get_requires_for_build_wheel(config_settings: dict[str, str | list[str]] | None = None) -> list[str]:
    """What a wheel is built with, beside setuptools: nothing unless something is compiled."""
    return [] if os.environ.get("PENSTOCK_COMPILE", "0") in ("", "0") else COMPILER
