"""`penstock` and `python -m gateway`."""

from __future__ import annotations

import sys

from gateway import cli


def main() -> int:
    """Run the command line; returns the exit code."""
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
