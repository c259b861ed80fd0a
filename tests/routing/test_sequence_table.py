"""The table of live sequences: what it keeps, for how long, and that processes agree on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from routing.sequence_table import BUCKET, SequenceTable
from transcoding.status import Code, GatewayError


def test_a_sequence_is_found_until_it_expires() -> None:
    table = SequenceTable.open(None, 64)
    assert table.find(7, 0.0) is None
    assert table.put(7, 99, 10.0, 0.0) == 99
    found = table.find(7, 9.9)
    assert found is not None
    assert (found.place, found.expires) == (99, 10.0)
    assert table.find(7, 10.0) is None
    table.extend(found, 20.0)
    assert table.find(7, 19.9) is not None


def test_the_first_to_say_where_a_sequence_is_wins_until_it_is_over() -> None:
    table = SequenceTable.open(None, 64)
    assert table.put(7, 1, 10.0, 0.0) == 1
    assert table.put(7, 2, 10.0, 0.0) == 1
    assert table.put(7, 2, 10.0, 0.0, instead_of=1) == 2
    assert table.put(7, 3, 30.0, 10.0) == 3
    table.remove(7, 10.0)
    assert table.find(7, 10.0) is None
    assert table.put(7, 4, 30.0, 10.0) == 4
    assert table.live(10.0) == 1


def test_a_full_bucket_says_that_there_are_too_many_and_takes_more_when_one_is_over() -> None:
    table = SequenceTable.open(None, 2 * BUCKET)
    keys = [2 * number for number in range(1, BUCKET + 2)]
    for key in keys[:BUCKET]:
        table.put(key, key, 10.0 + key, 0.0)
    with pytest.raises(GatewayError, match=f"too many stateful sequences: the gateway keeps {2 * BUCKET}") as caught:
        table.put(keys[-1], 1, 20.0, 0.0)
    assert caught.value.code is Code.RESOURCE_EXHAUSTED
    assert table.put(3, 5, 20.0, 0.0) == 5, "the other bucket has room"
    table.remove(keys[4], 0.0)
    assert table.put(keys[-1], 1, 20.0, 0.0) == 1
    assert [table.find(key, 0.0) is not None for key in keys] == [number != 4 for number in range(BUCKET + 1)]


def test_processes_share_one_file(tmp_path: Path) -> None:
    path = str(tmp_path / "sequences")
    first, second = SequenceTable.open(path, 64), SequenceTable.open(path, 64)
    assert os.stat(path).st_mode & 0o777 == 0o600
    first.put(7, 99, 10.0, 0.0)
    found = second.find(7, 0.0)
    assert found is not None
    assert found.place == 99
    first.close()
    second.close()
    with pytest.raises(ValueError, match="is no table of 128 sequences"):
        SequenceTable.open(path, 128)


RACE = """
import sys, time
from routing.sequence_table import SequenceTable
table, me = SequenceTable.open(sys.argv[1], 4096), int(sys.argv[2])
time.sleep(max(0.0, float(sys.argv[3]) - time.time()))
print(*[table.put(key, me, 1e12, 0.0) for key in range(1, 2001)])
"""


def test_of_two_processes_that_place_the_same_sequences_both_agree(tmp_path: Path) -> None:
    path = str(tmp_path / "sequences")
    SequenceTable.open(path, 4096).close()
    begin = str(time.time() + 0.5)
    command = [sys.executable, "-c", RACE, path]
    runs = [subprocess.Popen([*command, me, begin], stdout=subprocess.PIPE, text=True) for me in ("1", "2")]
    answers = [run.communicate(timeout=30)[0].split() for run in runs]
    assert len(answers[0]) == 2000
    assert answers[0] == answers[1]


def test_a_process_that_is_killed_within_the_lock_lets_go_of_it(tmp_path: Path) -> None:
    path = str(tmp_path / "sequences")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys\nfrom routing.sequence_table import SequenceTable\n"
         "with SequenceTable.open(sys.argv[1], 64)._locked(0):\n print('held', flush=True); sys.stdin.read()", path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    holder.send_signal(signal.SIGKILL)
    holder.communicate(timeout=10)
    table = SequenceTable.open(path, 64)
    assert table.put(2, 5, 10.0, 0.0) == 5
    table.close()
