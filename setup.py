"""Builds the data path as C extensions when `PENSTOCK_COMPILE=1`; without it the package is pure Python.

The same source runs either way. mypyc compiles the modules that `[tool.penstock.compile]` in pyproject.toml names; a C
compiler and Python's headers are needed for it. What is built on the way stays out of the source tree: setuptools would
put whatever an earlier build left there into the next wheel.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).resolve().parent
SCRATCH = tempfile.mkdtemp(prefix="penstock-build-")
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

# `make lint` judges the types. Here most libraries are absent, and what mypy cannot know for that is no error.
OPTIONS = (
    "--config-file=pyproject.toml",
    "--ignore-missing-imports",
    "--follow-imports=silent",
    "--no-warn-return-any",
    "--no-warn-unused-ignores",
    "--allow-subclassing-any",
)


def modules() -> list[str]:
    """The files to compile. Raises SystemExit for a pattern of pyproject.toml that finds none."""
    found: set[Path] = set()
    for pattern in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["penstock"]["compile"]["modules"]:
        paths = [path for path in ROOT.glob(pattern) if path.name != "__init__.py"]
        if not paths:
            sys.exit(f"pyproject.toml: tool.penstock.compile.modules: no such file: {pattern}")
        found.update(paths)
    return sorted(str(path.relative_to(ROOT)) for path in found)


def extensions() -> list[Extension]:
    """The extensions that were asked for, none by default, and none for commands that only ask for metadata."""
    if os.environ.get("PENSTOCK_COMPILE", "0") in ("", "0") or {"egg_info", "dist_info"} & {*sys.argv}:
        return []
    from mypyc.build import mypycify

    options = [*OPTIONS, f"--cache-dir={SCRATCH}/mypy"]
    built = list(mypycify([*options, *modules()], opt_level="3", debug_level="0", target_dir=SCRATCH))
    for extension in built:  # another compiler may warn of other things
        extension.extra_compile_args = [each for each in extension.extra_compile_args if each != "-Werror"]
    return built


setup(ext_modules=extensions(), options={"build": {"build_base": SCRATCH}})
