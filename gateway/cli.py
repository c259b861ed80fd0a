"""The command line: `penstock check`, `serve`, `explain`, `keys`, `cache`, `version`, and the hidden roles of the
supervisor's children.

Modules are imported by the command that needs them: the supervisor and `check` load neither gRPC nor the data plane.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from config.schema import Config
from gateway import lifeline, logs
from gateway.cache_arguments import add_cache
from gateway.keys_arguments import add_keys
from gateway.lifeline import Exit
from gateway.rundir import RunDirectory

if TYPE_CHECKING:
    from gateway.hints import Refresh
    from gateway.telemetry.metrics import Metrics
    from gateway.worker_main import DataPlane
    from routing.load_board import LoadBoard

T = TypeVar("T")


class CommandError(Exception):
    """A command cannot go on: the text is for stderr, `code` is the exit code."""

    def __init__(self, message: str, code: int = Exit.BAD_CONFIG) -> None:
        super().__init__(message)
        self.code = code


def load_config(path: str, warn: Callable[[object], None] | None = None) -> Config:
    """Read and check the file; what is unsound but no mistake goes to `warn`. Raises `CommandError` with all of its
    mistakes."""
    from config.load import ConfigError, ignore, load
    from gateway.soundness import review
    from gateway.store_place import with_state
    from policies import registry

    try:
        return with_state(load(path, policies=registry(), review=review, warn=warn or ignore))
    except ConfigError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error


def make_data_plane(worker: int, metrics: Metrics, refresh: Refresh, board: LoadBoard) -> DataPlane:
    """The data plane that serves."""
    from gateway.worker import DataPlane

    sequences = None if board.path is None else RunDirectory(os.path.dirname(board.path)).open_sequences()
    return DataPlane(worker, metrics, refresh, board, sequences)


class Parts(NamedTuple):
    """What the commands are made of; tests of the processes put others in."""

    load: Callable[..., Config] = load_config
    data_plane: Callable[[int, Metrics, Refresh, LoadBoard], DataPlane] = make_data_plane
    launcher: tuple[str, ...] | None = None


def main(arguments: Sequence[str] | None = None, parts: Parts = Parts()) -> int:  # noqa: B008 - immutable
    """Run a command; returns the exit code."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace, Parts], int] = options.run
    try:
        return command(options, parts)
    except CommandError as error:
        print(error, file=sys.stderr)
        return error.code


# Commands for people


def check(options: argparse.Namespace, parts: Parts) -> int:
    """Read the file and say what it has, or all that is wrong with it. What is unsound is a warning, and with
    `--strict` an error."""
    warnings: list[object] = []
    config = parts.load(options.file, warnings.append)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    counts = ((len(config.listen), "listener"), (len(config.pools), "pool"), (len(config.routes), "route"))
    print(f"{options.file}: ok ({', '.join(_count(number, noun) for number, noun in counts)})")
    return Exit.FAILED if warnings and options.strict else Exit.OK


def serve(options: argparse.Namespace, parts: Parts) -> int:
    """Run the gateway until a signal ends it."""
    config = parts.load(options.file)
    wanted = config.workers if options.workers is None else options.workers
    workers = available_cores() if wanted == "auto" else int(wanted)
    logs.setup("supervisor" if workers else "gateway", options.log_level)
    if workers == 0:
        return _serve_alone(config, options.file, parts)
    return _supervise(config, workers, options, parts)


def version(options: argparse.Namespace, parts: Parts) -> int:
    """Print the version."""
    from gateway.version import version as running

    print(f"penstock {running()}")
    return Exit.OK


def _supervise(config: Config, workers: int, options: argparse.Namespace, parts: Parts) -> int:
    from gateway.supervisor import Settings, Supervisor, own_launcher

    embedded = _runs_store(config)
    try:
        directory = RunDirectory.make(config.state_directory)
    except OSError as error:
        raise CommandError(f"state_directory: {error}", Exit.FAILED) from error
    try:
        directory.write_config(config)
        directory.write_source(options.file)
        directory.open_board(workers)
        directory.hold_lifeline()
        launcher = parts.launcher or own_launcher()
        store = directory.store if embedded else ""
        settings = Settings(launcher, directory.path, workers, config.drain, options.log_level, store)
        return asyncio.run(_until_signal(lambda: Supervisor(settings)))
    finally:
        directory.remove()


def _runs_store(config: Config) -> bool:
    """Whether this gateway runs a store of its own. Raises `CommandError` if it is to, and cannot."""
    from gateway.store_place import is_embedded
    from state.server import NoServer, find_server

    if not is_embedded(config):
        return False
    try:
        find_server()
    except NoServer as error:
        raise CommandError(str(error), Exit.FAILED) from error
    return True


def _serve_alone(config: Config, file: str, parts: Parts) -> int:
    import uvloop

    from gateway.single import Single

    _runs_store(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_signal(lambda: Single(config, parts.data_plane, file)))


def explain(options: argparse.Namespace, parts: Parts) -> int:
    """Say where a request goes and why."""
    import orjson

    from gateway import explain_command as asked

    if options.file is None and options.live is None:
        raise CommandError("expected FILE, or --live ADMIN")
    try:
        file = None if options.file is None else asked.from_file(parts.load(options.file), options)
        told = asked.from_admin(options) if options.live is not None else file
    except asked.ExplainError as error:
        raise CommandError(str(error), Exit.FAILED) from error
    assert told is not None
    if options.output == "json":
        print(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())
    else:
        print(asked.render(told), end="")
        if file is not None and file is not told and asked.differs(told, file):
            print(f"note        {options.file} decides otherwise than the running gateway")
    return Exit.OK


def keys(options: argparse.Namespace, parts: Parts) -> int:
    """Create, list, show, rotate or revoke API keys."""
    import logging

    from gateway import keys_command

    logging.getLogger("state").setLevel(logging.CRITICAL)  # what matters of it is in the error
    try:
        keys_command.run(parts.load(options.file), options)
    except keys_command.KeysError as error:
        raise CommandError(str(error), Exit.FAILED) from error
    return Exit.OK


def cache(options: argparse.Namespace, parts: Parts) -> int:
    """Have all gateways forget answers."""
    import logging

    from gateway import cache_command

    logging.getLogger("state").setLevel(logging.CRITICAL)  # what matters of it is in the error
    try:
        cache_command.run(parts.load(options.file), options)
    except cache_command.CacheError as error:
        raise CommandError(str(error), Exit.FAILED) from error
    return Exit.OK


# Roles of the supervisor's children


def control(options: argparse.Namespace, parts: Parts) -> int:
    """Run the control process."""
    lifeline.hold(options.supervisor)
    logs.setup("control", options.log_level)
    import uvloop

    from gateway.control.process import Control

    async def run() -> int:
        process = Control(RunDirectory(options.run_directory), options.workers)
        _on_signal(signal.SIGTERM, process.drain)
        _on_signal(signal.SIGINT, process.stop)
        return await process.run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


def store(options: argparse.Namespace, parts: Parts) -> int:
    """Become the embedded store."""
    lifeline.hold(options.supervisor)
    logs.setup("store", options.log_level)
    from gateway.embedded import become_store

    become_store(RunDirectory(options.run_directory))


def worker(options: argparse.Namespace, parts: Parts) -> int:
    """Run a worker process."""
    lifeline.hold(options.supervisor)
    logs.setup(f"worker {options.index}", options.log_level)
    import uvloop

    from gateway.link import LinkClient, OnWorld
    from gateway.worker_main import Worker

    directory = RunDirectory(options.run_directory)
    board = directory.attach_board()

    def connect(on_world: OnWorld) -> LinkClient:
        return LinkClient(directory.socket, options.index, on_world)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_signal(lambda: Worker(options.index, parts.data_plane, connect, board)))


async def _until_signal(make: Callable[[], Any]) -> int:
    """Make a part on the running loop, run it, and `stop` it on SIGTERM and SIGINT."""
    part = make()
    _on_signal(signal.SIGTERM, part.stop)
    _on_signal(signal.SIGINT, part.stop)
    code: int = await part.run()
    return code


def _on_signal(number: signal.Signals, action: Callable[[], None]) -> None:
    asyncio.get_running_loop().add_signal_handler(number, action)


# Arguments


def parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    top = argparse.ArgumentParser(
        prog="penstock",
        description="An inference gateway in front of Triton Inference Servers: REST and gRPC on one port.",
        epilog="examples:\n  penstock check gateway.yaml\n  penstock serve gateway.yaml --workers 4",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_check(commands)
    _add_serve(commands)
    _add_explain(commands)
    add_keys(commands, keys)
    add_cache(commands, cache)
    _command(commands, "version", version, "print the version", "penstock version")
    for name, role, number in (("control", control, "--workers"), ("worker", worker, "--index"), ("store", store, "")):
        child = commands.add_parser(name)
        child.set_defaults(run=role)
        child.add_argument("--run-directory", required=True)
        child.add_argument("--supervisor", type=int, required=True)
        if number:
            child.add_argument(number, type=int, required=True)
        _add_log_level(child)
    return top


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace, Parts], int], text: str, examples: str
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"examples:\n  {examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _add_check(commands: Any) -> None:
    text = "check a configuration without opening a socket; exit 2 and all mistakes if there are any"
    command = _command(commands, "check", check, text, "penstock check gateway.yaml")
    command.add_argument("file", metavar="FILE", help="the configuration")
    command.add_argument("--strict", action="store_true", help="exit 1 for warnings, such as of unsound orders, too")


def _add_serve(commands: Any) -> None:
    examples = (
        "penstock serve gateway.yaml\n"
        "  penstock serve gateway.yaml --workers auto        one worker per available core\n"
        "  penstock serve gateway.yaml --workers 0           everything in one process, for debugging"
    )
    text = "run the gateway; SIGTERM drains it, a second one ends it at once"
    command = _command(commands, "serve", serve, text, examples)
    command.add_argument("file", metavar="FILE", help="the configuration")
    command.add_argument(
        "--workers", type=_workers, metavar="N", help="worker processes, or auto (default: what the file says)"
    )
    _add_log_level(command)


def _add_explain(commands: Any) -> None:
    examples = (
        "penstock explain gateway.yaml --model resnet50 -H 'x-model-version: 2'\n"
        "  penstock explain gateway.yaml --model resnet50 --live 127.0.0.1:9090   with its endpoints\n"
        "  penstock explain --live 127.0.0.1:9090 --model resnet50 -o json"
    )
    text = "say where a request goes and why: route, rule or bucket, policies, endpoints; a file alone opens no socket"
    command = _command(commands, "explain", explain, text, examples)
    command.add_argument("file", metavar="FILE", nargs="?", help="the configuration; with --live it is only compared")
    command.add_argument("--model", required=True, help="the model that the client asks for")
    command.add_argument("--version", metavar="N", help="the version that the client asks for")
    command.add_argument(
        "-H", "--header", action="append", default=[], metavar="'NAME: VALUE'", help="a header or gRPC metadata"
    )
    command.add_argument("--api", choices=("rest", "grpc"), default="rest", help="how the client speaks")
    command.add_argument("--method", choices=("infer", "stream", "generate"), default="infer", help="what it calls")
    command.add_argument("--principal", default="", metavar="NAME", help="who calls")
    command.add_argument("--address", default="", metavar="IP", help="where the client connects from")
    command.add_argument("--live", metavar="ADMIN", help="ask this admin port: host:port, a URL or unix:/path")
    command.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for people or programs")


def _add_log_level(command: argparse.ArgumentParser) -> None:
    command.add_argument("--log-level", choices=logs.LEVELS, default="info", help="the least that is logged")


def _workers(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"expected auto or an integer ≥ 0, got {text!r}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def available_cores() -> int:
    """Cores that this process may run on: sched_getaffinity(2)."""
    return len(os.sched_getaffinity(0))
