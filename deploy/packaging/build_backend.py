"""Builds the distribution with setuptools, and with mypyc when `PENSTOCK_COMPILE=1` (see setup.py)."""

from __future__ import annotations

import os

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the hooks of PEP 517

COMPILER = ["mypy==2.4.*", "hpack", "httptools", "msgspec", "numpy", "orjson", "types-protobuf"]
"""mypyc in the version that is tested, and what the compiled modules take types from."""

Settings = dict[str, str | list[str]] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What a wheel is built with, beside setuptools: nothing unless something is compiled."""
    return [] if os.environ.get("PENSTOCK_COMPILE", "0") in ("", "0") else COMPILER


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    """An editable install runs the source as it is. What is compiled would stand in the source tree and hide it."""
    os.environ.pop("PENSTOCK_COMPILE", None)
    name: str = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    return name
