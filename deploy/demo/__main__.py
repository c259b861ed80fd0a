"""The command `python -m deploy.demo`: starts everything, makes the calls, stays up until Ctrl-C.

With `--check` it verifies the answers instead of staying, and exits with 0 or 1. What the demo keeps, a key among it,
lies in `.demo-state` for the next one; a check keeps nothing, unless `--state` says where.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from deploy.demo import calls, door
from deploy.demo.door import CALLER, MODEL, Door
from deploy.demo.stack import STATE, DemoError, Stack, named


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status. Nothing that it started is left when it returns or is killed."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description="Two real Tritons behind the gateway.")
    parser.add_argument("--check", action="store_true", help="verify the answers and exit")
    parser.add_argument("--state", type=Path, metavar="FOLDER", help="where keys, limits and cached answers are kept")
    chosen = parser.parse_args(arguments)
    state = chosen.state or (None if chosen.check else STATE)
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, _interrupt)
    try:
        return _run(check=chosen.check, state=state)
    except DemoError as error:
        _say(f"\nerror: {error}")
        return 1
    except KeyboardInterrupt:
        _say("stopped; nothing is left running")
        return 1 if chosen.check else 0


def _run(*, check: bool, state: Path | None) -> int:
    with Stack(_say, state=state) as stack:
        try:
            problems = list(_show(stack))
            if not check:
                _stay(stack)
        finally:
            _ignore_signals()
            _say("\nstopping")
    for problem in problems:
        _say(f"wrong: {problem}")
    _say("demo-check: failed" if problems else "demo-check: all answers are right, nothing is left running")
    return 1 if problems else 0


def _show(stack: Stack) -> Iterator[str]:
    """Make the calls; yields what is wrong with the answers."""
    _title("REST: both versions of a model about a handwritten digit")
    verdicts = calls.classify(stack.address, _say)
    _title("gRPC: the Triton client, unchanged, about every held-out digit")
    scores = calls.compare(stack.address, _say)
    _title("Streaming: a decoupled model, token by token")
    streamed = calls.stream(stack.address, _say, _write)
    _say("\nanswered by each Triton: " + ", ".join(str(calls.served(one.metrics_address)) for one in stack.tritons))
    visit = Door(stack, _say, _title).visit()
    yield from calls.problems(verdicts, scores, streamed)
    yield from door.problems(visit)


def _stay(stack: Stack) -> None:
    _title("Up")
    _say(f"gateway  REST and gRPC on {stack.address}; health and metrics on http://{stack.admin_address}/metrics")
    for triton in stack.tritons:
        _say(f"Triton   gRPC on {triton.grpc_address}, REST on {triton.http_address}")
    _say(f"models   digits (versions 1 and 2), tokens; {MODEL} with the key in {named(stack.state)}/{CALLER}.key")
    _say(f"files    logs in {stack.directory}; configuration and state in {named(stack.state)}")
    if stack.state == STATE:
        _say(f"         State is kept for the next demo; remove {named(stack.state)} to begin anew.")
    _say("Ctrl-C ends it all.")
    while True:
        stack.check_running()
        time.sleep(0.5)


def _title(text: str) -> None:
    _say(f"\n── {text} {'─' * max(0, 76 - len(text))}\n")


def _say(line: str) -> None:
    print(line, flush=True)


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    _ignore_signals()
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    """Stopping takes seconds at most; a second Ctrl-C in it would leave servers behind."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
