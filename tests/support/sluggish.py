"""Models of a repository that take their time to load, or fail while they do."""

from __future__ import annotations

from pathlib import Path

from tests.support.model_repository import MODELS, write_model

SLOW = """
import time
_initialize = getattr(TritonPythonModel, "initialize", lambda self, arguments: None)
def _slowly(self, arguments):
    time.sleep({seconds})
    _initialize(self, arguments)
TritonPythonModel.initialize = _slowly
"""


def write_sluggish(repository: Path, name: str, seconds: float, model: str = "simple") -> None:
    """A copy of `model` as `name` that takes `seconds` to load."""
    write_model(repository, name, MODELS[model])
    with (repository / name / "1" / "model.py").open("a") as code:
        code.write(SLOW.format(seconds=seconds))
