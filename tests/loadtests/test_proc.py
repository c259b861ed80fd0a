"""CPU time and memory of processes from /proc, against processes whose behaviour is known."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from loadtests import proc

BURN = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"
WAIT = "print(flush=True); input()"


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def burner() -> Iterator[subprocess.Popen[str]]:
    """Waits for a line, uses 0.2 s of CPU in a thread that ends, says so, waits again."""
    work = "\n".join(f"    {line}" for line in BURN.format(0.2).splitlines())
    code = (
        f"import threading\n{WAIT}\ndef work():\n{work}\nt = threading.Thread(target=work); t.start(); t.join()\n{WAIT}"
    )
    with python(code) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    process.stdout.readline()


def test_meter_counts_threads_that_ended(burner: subprocess.Popen[str]) -> None:
    meter = proc.CpuMeter([burner.pid])
    assert meter.seconds() < 0.1
    go_on(burner)
    assert 0.19 < meter.seconds() < 0.6


def test_ticks_agree_with_the_clock(burner: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    go_on(burner)
    exact = proc.cpu_seconds(burner.pid)

    def refuse(_clock: int) -> float:
        raise OSError("no such clock")

    monkeypatch.setattr(time, "clock_gettime", refuse)
    assert proc.cpu_seconds(burner.pid) == pytest.approx(exact, abs=0.05)


def test_family_finds_grandchildren() -> None:
    child = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {WAIT!r}]); p.wait()"
    grandchild = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); p.wait()"
    with python(grandchild) as process:
        assert process.stdout
        process.stdout.readline()
        assert len(proc.family([process.pid])) == 3
        assert process.stdin
        process.stdin.write("\n")


def test_meter_refuses_a_process_that_ended() -> None:
    with python(WAIT) as process:
        assert process.stdout
        process.stdout.readline()
        meter = proc.CpuMeter([process.pid])
        assert proc.memory_bytes([process.pid]) > 1_000_000
        process.kill()
        process.wait()
        with pytest.raises(proc.ProcessGoneError):
            meter.seconds()


def test_memory_grows_with_what_a_process_holds() -> None:
    with python(f"{WAIT}\nheld = b'x' * 20_000_000\n{WAIT}") as process:
        assert process.stdout
        process.stdout.readline()
        before = proc.memory_bytes([process.pid])
        go_on(process)
        assert proc.memory_bytes([process.pid]) - before == pytest.approx(20_000_000, rel=0.1)
        process.kill()


def test_a_process_that_never_was() -> None:
    with pytest.raises(proc.ProcessGoneError):
        proc.CpuMeter([2**22 + 1])
    assert os.getpid() in proc.family([os.getpid()])
