"""The data path as C extensions: `python -m deploy.packaging.compiled build/compiled`.

With the folder first on Python's path what lies there runs instead of the source. Nothing is done when it is what the
sources would give now; what is built on the way is left nowhere else.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
COMPILED = PROJECT / "build" / "compiled"
STAMP = ".sources"
PACKAGES = ("config", "transcoding", "state", "routing", "policies", "gateway", "deploy")
LOG_LINES = 30


class CompileError(RuntimeError):
    """It could not be built; the text says why, or holds the end of the compiler's output."""


def missing() -> str | None:
    """What is not here that the build needs, and where it comes from, or None."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler}): apt-get install gcc, or set CC"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's C headers are not installed: apt-get install python3-dev"
    return None


def digest(project: Path = PROJECT) -> str:
    """Of all that the build depends on: the sources, how they are built, and this Python."""
    found = hashlib.sha256(f"{sys.implementation.cache_tag} {sysconfig.get_platform()}".encode())
    sources = [path for package in PACKAGES for path in (project / package).rglob("*.py")]
    for path in sorted([*sources, project / "pyproject.toml", project / "setup.py"]):
        content = path.read_bytes()
        found.update(f"\n{path.relative_to(project)} {len(content)}\n".encode() + content)
    return found.hexdigest()


def current(target: Path = COMPILED) -> bool:
    """Does `target` hold what the sources would give now?"""
    stamp = target / STAMP
    return stamp.exists() and stamp.read_text() == digest()


def build(target: Path = COMPILED) -> None:
    """Put the compiled distribution into `target`, replacing what was there. Raises CompileError."""
    wanted = digest()
    fresh = target.with_name(f"{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--target"]
    done = subprocess.run(
        [*command, str(fresh), str(PROJECT)],
        env={**os.environ, "PENSTOCK_COMPILE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise CompileError("\n".join(["compiling failed:", *done.stdout.splitlines()[-LOG_LINES:]]))
    (fresh / STAMP).write_text(wanted)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build unless that is done. 1 when it cannot be; with `--if-possible` 0 and no folder when a part is missing."""
    parser = argparse.ArgumentParser(prog="python -m deploy.packaging.compiled", description=__doc__)
    parser.add_argument("target", type=Path, nargs="?", default=COMPILED)
    parser.add_argument("--if-possible", action="store_true", help="no error without a C compiler")
    chosen = parser.parse_args(arguments)
    if current(chosen.target):
        return 0
    reason = missing()
    if reason is not None:
        print(f"not compiled: {reason}", flush=True)
        shutil.rmtree(chosen.target, ignore_errors=True)
        return 0 if chosen.if_possible else 1
    print("compiling the data path, which takes a minute or two ...", flush=True)
    try:
        build(chosen.target)
    except CompileError as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
