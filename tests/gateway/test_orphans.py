"""Orphans come to the process that adopts them and are reaped there; its own children are not touched."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, subprocess, time
from gateway.orphans import Reaper, adopt

adopt()
reaper = Reaper()
with reaper.starting():
    own = subprocess.Popen(["sleep", "0"], start_new_session=True)
    os.waitid(os.P_PID, own.pid, os.WEXITED | os.WNOWAIT)
    assert reaper.reap() == []  # it is not known yet whose it is
    reaper.own.add(own.pid)
parent = subprocess.Popen(["sh", "-c", "setsid sleep 0.1 & echo $!; sleep 0.1 & echo $!"], stdout=-1)
reaper.own.add(parent.pid)
wanted = sorted(map(int, parent.stdout.read().split()))
parent.stdout.close()
assert parent.wait() == 0
reaped, end = [], time.monotonic() + 10
while sorted(reaped) != wanted and time.monotonic() < end:
    reaped += reaper.reap()
    time.sleep(0.01)
assert sorted(reaped) == wanted, (reaped, wanted)
assert open(f"/proc/{own.pid}/stat").read().split()[2] == "Z"  # it waits for us
assert reaper.reap() == []
assert own.wait() == 0
"""


def test_orphans_are_reaped_and_own_children_are_not() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
