"""The lists of kinds agree with the folders they mirror."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.kinds import PICKERS, POLICIES

ROOT = Path(__file__).parents[2]


def test_the_policies_are_the_files_of_their_folder() -> None:
    assert sorted(POLICIES) == sorted(file.stem for file in (ROOT / "policies").glob("[a-z]*.py"))


def test_the_pickers_are_the_files_of_their_folder() -> None:
    folder = ROOT / "routing" / "pickers"
    files = sorted(file.stem for file in folder.glob("[a-z]*.py"))
    if not files:
        pytest.skip("routing/pickers is empty in this tree")
    assert sorted(PICKERS) == files
