"""Freed memory is kept, so that the next large request does not fault it in again."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

from gateway.memory import keep_freed_memory

FAULTS = """
import resource, sys
from gateway.memory import keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
def use():
    pieces = [bytearray(b"x") * 3_000_000 for _ in range(4)]
for _ in range(10):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_what_is_kept_is_not_faulted_in_again() -> None:
    assert faults("kept") < 2000
    assert faults("default") > 10_000


def test_a_library_without_the_option() -> None:
    assert not keep_freed_memory(cast(Any, SimpleNamespace()))


def test_a_library_that_refuses() -> None:
    assert not keep_freed_memory(cast(Any, SimpleNamespace(mallopt=lambda option, value: 0)))
