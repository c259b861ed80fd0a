"""Where Triton is installed, and what is said when it cannot be."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.triton import environment
from deploy.triton.environment import Environment, Python, TritonError, default_venv, find, install


def test_the_environment_may_be_named_by_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_TRITON_VENV", str(tmp_path))
    assert default_venv() == tmp_path
    monkeypatch.delenv("PENSTOCK_TRITON_VENV")
    assert default_venv().name == ".triton-venv"


def test_a_directory_without_stamp_holds_no_triton(tmp_path: Path) -> None:
    assert find(tmp_path) is None


def test_a_stamp_of_another_version_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "penstock-triton.txt").write_text("nvidia-pytriton==0.5.0\n")
    assert find(tmp_path) is None


def test_the_variables_name_the_environment_and_nothing_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PATH", "/usr/bin")
    variables = Environment(tmp_path, Python("python3", 11, Path("/lib"))).variables()
    assert "PYTHONPATH" not in variables
    assert variables["PATH"] == f"{tmp_path}/bin:/usr/bin"
    assert variables["LD_LIBRARY_PATH"] == f"{tmp_path}/lib/python3.11/site-packages/nvidia_pytriton.libs:/lib"


def test_a_failure_of_pip_is_told_with_its_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "PACKAGE", "no-such-option --nonsense")
    with pytest.raises(TritonError, match=r"pip .* failed \(\d\):\n.*(?i:error|invalid)"):
        install(tmp_path / "venv", say=lambda line: None)
    assert find(tmp_path / "venv") is None


def test_no_fitting_interpreter_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "PYTHON_MINORS", (6,))
    with pytest.raises(TritonError, match=r"needs its shared library .*apt install"):
        install(tmp_path / "venv", say=lambda line: None)


@pytest.mark.triton
def test_an_installed_environment_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find()
    assert found is not None
    assert found.binary.is_file()
    monkeypatch.setattr(environment, "_call", lambda command: pytest.fail(f"ran {command}"))
    lines: list[str] = []
    assert install(say=lines.append) == found
    assert lines == []


@pytest.mark.triton
def test_the_environment_has_what_models_need_and_not_the_gateway() -> None:
    found = find()
    assert found is not None
    script = "import numpy, sys; print(numpy.__version__.split('.')[0], sys.prefix)"
    output = subprocess.run([found.venv / "bin" / "python3", "-c", script], capture_output=True, text=True, check=True)
    assert output.stdout.split() == ["1", str(found.venv)]
    assert str(found.venv) != sys.prefix
