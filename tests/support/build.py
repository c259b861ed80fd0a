"""Which build is tested: the source, or with `PENSTOCK_TEST_BUILD=build/compiled` the packages in that folder.

The variable is for this process (see tests/conftest.py) and for all gateways that tests start.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
VARIABLE = "PENSTOCK_TEST_BUILD"
BUILD = ROOT / os.environ.get(VARIABLE, "")

interpreted_only = pytest.mark.skipif(BUILD != ROOT, reason="replaces a method of a class that is compiled here")
"""For a test of what no real part can bring about in time."""


def environment(**more: str) -> dict[str, str]:
    """Ours for a gateway's process, which is to be run with `python -P`: nothing but this build is found first."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys([str(BUILD), str(ROOT)])), **more}
