"""The arguments of `penstock keys`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from config.units import parse_duration

GRACE = 86400.0

Run = Callable[[argparse.Namespace, Any], int]

_EXAMPLES = """\
examples:
  penstock keys create gateway.yaml alice --tenant vision --expires 30d
  penstock keys list gateway.yaml -o json
  penstock keys rotate gateway.yaml 4nG0aTq81xZb --grace 1h
  penstock keys revoke gateway.yaml 4nG0aTq81xZb"""

_CREATE = """\
examples:
  penstock keys create gateway.yaml alice
  penstock keys create gateway.yaml alice --name laptop --tenant vision --scope infer --scope metadata
  penstock keys create gateway.yaml batch --expires 30d --limit per_user=50/s -o json | jq -r .key
  penstock keys create gateway.yaml alice --offline >> keys.yaml     an entry for `key_file`; the key goes to stderr"""


def add_keys(commands: Any, run: Run) -> None:
    """Add `keys` and what it can do to the commands of the program."""
    text = "create, list, rotate and revoke API keys, in the state store that a configuration names"
    keys = _command(commands, "keys", text, _EXAMPLES)
    actions = keys.add_subparsers(title="actions", metavar="ACTION", required=True)
    _add_create(actions, run)
    listed = _action(actions, "list", run, "list the keys, without what opens them", "penstock keys list gateway.yaml")
    listed.add_argument("--principal", metavar="NAME", help="only those of this principal")
    listed.add_argument("--tenant", metavar="NAME", help="only those of this tenant")
    _add_output(listed)
    shown = _action(actions, "show", run, "show one key", "penstock keys show gateway.yaml 4nG0aTq81xZb -o json")
    _add_id(shown)
    _add_output(shown)
    text = "create a key in place of another, which goes on for a while"
    rotated = _action(actions, "rotate", run, text, "penstock keys rotate gateway.yaml 4nG0aTq81xZb --grace 7d")
    _add_id(rotated)
    rotated.add_argument(
        "--grace", type=_duration, default=GRACE, metavar="TIME", help="how long the old key goes on (default: 1d)"
    )
    rotated.add_argument(
        "--expires", type=_duration, metavar="TIME", help="how long the new key lasts (default: as long)"
    )
    _add_output(rotated)
    revoked = _action(
        actions, "revoke", run, "refuse a key from now on", "penstock keys revoke gateway.yaml 4nG0aTq81xZb"
    )
    _add_id(revoked)
    _add_output(revoked)


def _add_create(actions: Any, run: Run) -> None:
    create = _action(actions, "create", run, "create a key and show it, once", _CREATE)
    create.add_argument("principal", metavar="PRINCIPAL", help="whom it makes its caller; several keys may share one")
    create.add_argument("--name", default="", help="what people call this key")
    create.add_argument("--tenant", default="", metavar="NAME", help="whom the principal belongs to")
    create.add_argument("--scope", action="append", default=[], metavar="NAME", help="a right it gives; repeatable")
    create.add_argument("--expires", type=_duration, metavar="TIME", help="how long it lasts, such as 30d")
    create.add_argument("--starts", type=_duration, metavar="TIME", help="how long until it is valid, such as 1h")
    create.add_argument(
        "--limit", action="append", type=_limit, default=[], metavar="NAME=RATE", help="its own rate at a rate_limit"
    )
    create.add_argument("--offline", action="store_true", help="store nothing; print an entry for a key file")
    _add_output(create)


def _action(actions: Any, name: str, run: Run, text: str, examples: str) -> argparse.ArgumentParser:
    action = _command(actions, name, text, examples if examples.startswith("examples") else f"examples:\n  {examples}")
    action.set_defaults(run=run, action=name)
    action.add_argument("file", metavar="FILE", help="the configuration, which says where keys are kept")
    return action


def _command(commands: Any, name: str, text: str, epilog: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return command


def _add_id(action: argparse.ArgumentParser) -> None:
    action.add_argument("id", metavar="ID", help="the public part of the key: what stands after psk_")


def _add_output(action: argparse.ArgumentParser) -> None:
    action.add_argument("-o", "--output", choices=("table", "json"), default="table", help="for people or programs")


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _limit(text: str) -> tuple[str, str]:
    name, equals, rate = text.partition("=")
    if not (name and equals and rate):
        raise argparse.ArgumentTypeError(f"expected NAME=RATE such as per_user=50/s, got {text!r}")
    return name, rate
