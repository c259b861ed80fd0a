"""The lists of kinds agree with the folders they mirror."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.kinds import PICKERS


def test_the_pickers_are_the_files_of_their_folder() -> None:
    folder = Path(__file__).parents[2] / "routing" / "pickers"
    files = sorted(file.stem for file in folder.glob("[a-z]*.py"))
    if not files:
        pytest.skip("routing/pickers is empty in this tree")
    assert sorted(PICKERS) == files
