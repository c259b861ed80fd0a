"""Builds the data path as C extensions when `PENSTOCK_COMPILE=1`; without it the package is pure Python.

The same source runs either way. mypyc compiles the modules that `[tool.penstock.compile]` in pyproject.toml names; a
C compiler and Python's headers are needed for it.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).resolve().parent


def modules() -> list[str]:
    """The files to compile: the patterns of pyproject.toml, but for those that it excludes."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["penstock"]["compile"]
    found = {path for pattern in table["modules"] for path in ROOT.glob(pattern)}
    return sorted(str(path.relative_to(ROOT)) for path in found if path.name != "__init__.py")


def extensions() -> list[object]:
    """The extensions that were asked for, none by default."""
    if os.environ.get("PENSTOCK_COMPILE", "0") in ("", "0"):
        return []
    from mypyc.build import mypycify

    return list(
        mypycify(
            ["--config-file", "pyproject.toml", "--ignore-missing-imports", *modules()], opt_level="3", debug_level="0"
        )
    )


setup(ext_modules=extensions())
