"""`python -m loadtests.chaos`: rounds until the time is over, then a report. The exit status is 1 for a broken promise,
and the report says which."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterator, Sequence

from loadtests.chaos import promises
from loadtests.chaos.disturbances import KINDS
from loadtests.chaos.report import report
from loadtests.chaos.rounds import Round, play
from loadtests.chaos.stage import Stage, staged

LONGEST_ROUND = 20.0
PROOF = 10.0
ORDER = ("Tritons and workers", "everything", "Tritons")
TOLD_EVERY = 5.0
"""Seconds between lines of progress where they do not overwrite each other."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run, and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, but at least one round (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="of what goes wrong when (default: by chance)")
    chosen = parser.parse_args(arguments)
    seed = random.randrange(10_000) if chosen.seed is None else chosen.seed
    say = Progress()
    say.line(f"chaos for {chosen.minutes:g} minutes, seed {seed}: starting two Tritons and a gateway with two more")
    growth = promises.Growth()
    with staged() as stage:
        rounds = list(_rounds(stage, chosen.minutes * 60, random.Random(seed), growth, say))
        broken = [*(each for one in rounds for each in one.broken), *growth.check()]
        broken += promises.no_herd([share for one in rounds for share in one.shares])
        if broken:
            say.line(stage.gateway.log.read_text()[-4000:])
    say.line(report(rounds, growth, broken))
    return 1 if broken else 0


def _rounds(
    stage: Stage, seconds: float, rng: random.Random, growth: promises.Growth, say: Progress
) -> Iterator[Round]:
    """Rounds until the time is over, each kind in turn. One that broke a promise is the last."""
    assert set(ORDER) == set(KINDS)
    end = time.monotonic() + seconds
    number = 0
    while number == 0 or time.monotonic() < end:
        kind = ORDER[number % len(ORDER)]
        number += 1
        result = asyncio.run(play(stage, kind, min(LONGEST_ROUND, seconds / 3), PROOF, rng, say))
        growth.look(stage)
        say.line(f"round {number} ({kind}): healed in {result.healed_in:.1f} s, {len(result.broken)} promises broken")
        yield result
        if result.broken:
            return


class Progress:
    """Lines of progress: one that is overwritten on a terminal, else one now and then."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._told_at = 0.0

    def __call__(self, text: str) -> None:
        """How it goes."""
        if self._tty:
            print(f"\r\033[K{text[:200]}", end="", file=sys.stderr, flush=True)
        elif time.monotonic() > self._told_at + TOLD_EVERY:
            self._told_at = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """What is to stay."""
        print(("\r\033[K" if self._tty else "") + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
