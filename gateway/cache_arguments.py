"""The arguments of `penstock cache`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Run = Callable[[argparse.Namespace, Any], int]

_EXAMPLES = """\
examples:
  penstock cache purge gateway.yaml --model resnet50
  penstock cache purge gateway.yaml --model resnet50 --version 3
  penstock cache purge gateway.yaml --tenant vision
  penstock cache purge gateway.yaml --everything"""


def add_cache(commands: Any, run: Run) -> None:
    """Add `cache` and what it can do to the commands of the program."""
    text = "have all gateways forget answers that they keep"
    cache = commands.add_parser("cache", help=text, description="Have all gateways forget answers that they keep.")
    actions = cache.add_subparsers(title="actions", metavar="ACTION", required=True)
    purged = actions.add_parser(
        "purge",
        help="answers of a model, a tenant or a principal",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    purged.set_defaults(run=run)
    purged.add_argument("file", metavar="FILE", help="the configuration, which says where gateways share their state")
    subject = purged.add_mutually_exclusive_group(required=True)
    subject.add_argument("--model", metavar="NAME", help="of this model, as the pool calls it")
    subject.add_argument("--tenant", metavar="NAME", help="for this tenant")
    subject.add_argument("--principal", metavar="NAME", help="for this principal, where a cache's scope is that")
    subject.add_argument("--shared", action="store_true", help="for everybody, where a cache's scope is that")
    subject.add_argument("--everything", action="store_true", help="all of them")
    purged.add_argument("--version", metavar="NUMBER", default="", help="with --model: of this version alone")
