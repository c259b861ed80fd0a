"""Lines of progress."""

from __future__ import annotations

import re

from deploy.progress import Progress


def test_each_line_carries_the_seconds_since_the_first_step() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    progress("one")
    progress("two")
    assert [re.fullmatch(r"\[ +\d\.\d s\] (one|two)", line) is not None for line in lines] == [True, True]
