"""When the data path is compiled, and what is said when it cannot be."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path

import pytest

from deploy.packaging import compiled


def a_project(folder: Path) -> Path:
    """One source of each package."""
    for package in compiled.PACKAGES:
        (folder / package).mkdir(parents=True)
        (folder / package / "some.py").write_text("x = 1\n")
    for name in ("pyproject.toml", "setup.py"):
        (folder / name).write_text("")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A build that is not current."""
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / compiled.STAMP).write_text("of other sources")
    return tmp_path / "compiled"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where it was built, instead of building."""
    seen: list[Path] = []
    monkeypatch.setattr(compiled, "missing", lambda: None)
    monkeypatch.setattr(compiled, "build", seen.append)
    return seen


def test_each_source_counts(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    seen = {compiled.digest(project)}
    for path in [*project.glob("*/some.py"), project / "setup.py", project / "pyproject.toml"]:
        path.write_text("x = 2\n")
        seen.add(compiled.digest(project))
    (project / "gateway" / "some.py").unlink()
    seen.add(compiled.digest(project))
    assert len(seen) == 1 + len(compiled.PACKAGES) + 2 + 1


def test_nothing_is_done_twice(builds: list[Path], target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compiled.main([str(target)]) == 0
    assert builds == [target]
    assert "a minute or two" in capsys.readouterr().out
    (target / compiled.STAMP).write_text(compiled.digest())
    assert compiled.main([str(target)]) == 0
    assert builds == [target]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("options", "status"), [([], 1), (["--if-possible"], 0)])
def test_without_a_compiler_one_line_says_so(
    options: list[str], status: int, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -pthread")
    assert compiled.main([str(target), *options]) == status
    assert capsys.readouterr().out == (
        "not compiled: there is no C compiler (no-such-compiler): apt-get install gcc, or set CC\n"
    )
    assert not target.exists()  # nobody takes what was made from other sources


def test_without_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert "headers" in (compiled.missing() or "")
    (tmp_path / "Python.h").write_text("")
    assert compiled.missing() is None


def test_a_build_that_fails_says_why_and_leaves_what_was_there(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiled, "missing", lambda: None)
    monkeypatch.setattr(compiled, "PROJECT", tmp_path / "nowhere")
    assert compiled.main([str(target)]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
