"""The virtual environment that holds a real Triton Inference Server: made once, then found again.

PyPI's `nvidia-pytriton` wheel carries the server's own binary, its Python backend and its caches. It pins
numpy < 2, and a worker machine shares nothing with the gateway's, so it gets an environment of its own. Only the binary
is used: the wheel is installed without its Python dependencies, and numpy is what the models need.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.progress import Progress, Say

TRITON_VERSION = "2.51.0"
PACKAGE = "nvidia-pytriton==0.7.0"
NUMPY = "numpy>=1.26,<2"
STUB = "triton_python_backend_stub"
PROJECT = Path(__file__).resolve().parents[2]
# numpy < 2 has wheels for these, and the Triton wheel has a Python backend for each; numpy 2 makes that one crash.
PYTHON_MINORS = (12, 11, 10, 9)
_DESCRIBE = "import sys, sysconfig; print(sys.version_info[1], sysconfig.get_config_var('LIBDIR') or '', sep='\\n')"


class TritonError(RuntimeError):
    """Triton could not be installed, started or stopped; the text says what to do or which log file to read."""


@dataclass(frozen=True)
class Python:
    """An interpreter that Triton's Python backend can embed: 3.`minor`, its shared library in `library_directory`."""

    executable: str
    minor: int
    library_directory: Path


@dataclass(frozen=True)
class Environment:
    """An installed Triton: where its parts are."""

    venv: Path
    python: Python

    @property
    def site_packages(self) -> Path:
        return self.venv / "lib" / f"python3.{self.python.minor}" / "site-packages"

    @property
    def root(self) -> Path:
        return self.site_packages / "pytriton" / "tritonserver"

    @property
    def binary(self) -> Path:
        return self.root / "bin" / "tritonserver"

    def variables(self) -> dict[str, str]:
        """The environment of a `tritonserver` process. The stub takes its packages from the first `python3` on PATH."""
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        libraries = [self.site_packages / "nvidia_pytriton.libs", self.python.library_directory]
        return inherited | {
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
            "PATH": os.pathsep.join([str(self.venv / "bin"), os.environ.get("PATH", os.defpath)]),
            "VIRTUAL_ENV": str(self.venv),
            "PYTHONDONTWRITEBYTECODE": "1",  # a model repository is only read
            # Many small models on few cores: threads of numpy's BLAS would only fight.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }


def default_venv() -> Path:
    """Where the environment lives: `.triton-venv` in the project, or what PENSTOCK_TRITON_VENV names."""
    return Path(os.environ.get("PENSTOCK_TRITON_VENV") or PROJECT / ".triton-venv")


def install(venv: Path | None = None, say: Say = print) -> Environment:
    """Make the environment if it is not there yet, and return it. A second call only reads a stamp file.

    Raises `TritonError` when no interpreter fits, or pip fails.
    """
    venv = (venv or default_venv()).absolute()
    with _locked(venv):
        installed = find(venv)
        if installed:
            return installed
        python = _existing_python(venv) or _find_python()
        progress = Progress(say)
        if not (venv / "bin" / "pip").exists():
            progress(f"making {venv} with Python 3.{python.minor}")
            _call([python.executable, "-m", "venv", str(venv)])
        environment = Environment(venv, python)
        progress(f"installing {PACKAGE} (a real Triton {TRITON_VERSION}, 55 MB) and {NUMPY}")
        pip = [str(venv / "bin" / "python3"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
        _call([*pip, "--no-deps", PACKAGE])
        _call([*pip, NUMPY])
        _place_stub(environment)
        _stamp(venv).write_text(_requirement())
        progress("Triton is installed")
        return environment


def find(venv: Path | None = None) -> Environment | None:
    """The installed environment, or None when `install` has not finished there."""
    venv = (venv or default_venv()).absolute()
    stamp = _stamp(venv)
    if not stamp.is_file() or stamp.read_text() != _requirement():
        return None
    python = _existing_python(venv)
    environment = Environment(venv, python) if python else None
    return environment if environment and environment.binary.is_file() else None


@contextmanager
def _locked(venv: Path) -> Iterator[None]:
    """One installer at a time: two test runs may start together."""
    venv.mkdir(parents=True, exist_ok=True)
    directory = os.open(venv, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _stamp(venv: Path) -> Path:
    return venv / "penstock-triton.txt"


def _requirement() -> str:
    return f"{PACKAGE}\n{NUMPY}\n"


def _place_stub(environment: Environment) -> None:
    """Put the Python backend's stub of this interpreter where Triton looks for it."""
    source = environment.root / "python_backend_stubs" / f"3.{environment.python.minor}" / STUB
    target = environment.root / "backends" / "python" / STUB
    shutil.copy2(source, target)
    target.chmod(0o755)


def _existing_python(venv: Path) -> Python | None:
    executable = venv / "bin" / "python3"
    return _describe(str(executable)) if executable.exists() else None


def _find_python() -> Python:
    """The interpreter of this process if Triton can embed it, otherwise another one on PATH."""
    names = [sys.executable, *(path for minor in PYTHON_MINORS if (path := shutil.which(f"python3.{minor}")))]
    for name in names:
        python = _describe(name)
        if python:
            return python
    raise TritonError(
        f"Triton's Python backend embeds Python 3.{PYTHON_MINORS[-1]} to 3.{PYTHON_MINORS[0]} and needs its shared "
        f"library (libpython3.X.so.1.0), found for none of: {', '.join(names)}. Have one of these on PATH, with its "
        "library: on Debian or Ubuntu, apt install libpython3-dev"
    )


def _describe(executable: str) -> Python | None:
    """Ask an interpreter where its shared library is; None when Triton cannot embed it."""
    answer = subprocess.run([executable, "-c", _DESCRIBE], capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode:
        return None
    minor, directory = answer.stdout.splitlines()[:2]
    library = f"libpython3.{minor}.so.1.0"
    if int(minor) not in PYTHON_MINORS or not ((Path(directory) / library).is_file() or _loads(library)):
        return None
    return Python(executable, int(minor), Path(directory))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _call(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise TritonError(f"{' '.join(command)} failed ({result.returncode}):\n{result.stdout}{result.stderr}".rstrip())
