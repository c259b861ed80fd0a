"""The command `python -m deploy.triton`: install Triton, or run one over a model repository."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from deploy.triton.environment import TritonError, install
from deploy.triton.server import Triton


def main(arguments: Sequence[str] | None = None) -> int:
    """`install` makes the environment; `run` serves a repository until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.triton", description="Run a real Triton on free local ports."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("install", help="make the environment that holds Triton")
    run = commands.add_parser("run", help="serve a model repository; further options go to tritonserver after --")
    run.add_argument("--repository", type=Path, required=True)
    run.add_argument("--ports", type=int, nargs=3, metavar=("HTTP", "GRPC", "METRICS"))
    run.add_argument("--explicit", action="store_true", help="models load and unload over the API")
    run.add_argument("--load-model", action="append", default=[], metavar="NAME")
    run.add_argument("--log", type=Path)
    run.add_argument("options", nargs="*", metavar="OPTION")
    chosen = parser.parse_args(arguments)
    try:
        install(say=_say)
        if chosen.command == "run":
            _run(chosen)
    except TritonError as error:
        _say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _run(chosen: argparse.Namespace) -> None:
    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    ports = tuple(chosen.ports) if chosen.ports else None
    explicit = chosen.explicit or bool(chosen.load_model)
    triton = Triton(
        chosen.repository,
        explicit=explicit,
        models=chosen.load_model,
        ports=ports,
        log=chosen.log,
        arguments=chosen.options,
    )
    with triton:
        _say(f"gRPC {triton.grpc_address}  HTTP {triton.http_address}  metrics {triton.metrics_address}")
        _say(f"process {triton.pid}, log {triton.log}")
        while triton.running:
            time.sleep(0.5)
    raise TritonError(f"Triton ended by itself; its log is {triton.log}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
