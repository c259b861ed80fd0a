"""A short run of all of it: everything is disturbed and healed, and every promise is kept."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.build import ROOT


@pytest.mark.triton
@pytest.mark.slow
def test_a_short_run_keeps_every_promise() -> None:
    command = [sys.executable, "-m", "loadtests.chaos", "--minutes", "0.25", "--seed", "1"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150)
    print(run.stderr)
    assert run.returncode == 0, run.stderr
    assert run.stderr.rstrip().endswith("every promise was kept")
    (well,) = re.findall(r"^all +(\d+)", run.stderr, re.MULTILINE)
    assert int(well) > 1000
    rounds = re.findall(r"^round +\d+: +(\d+) +(\d+) +(\d+)  Tritons and workers", run.stderr, re.MULTILINE)
    assert sum(int(gateway) + int(lost) for _, gateway, lost in rounds) >= int(
        well
    )  # lost with workers that are killed
