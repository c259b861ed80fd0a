"""Exit codes of the processes."""

from __future__ import annotations

OK = 0
FAILED = 1
BAD_CONFIG = 2
CANNOT_LISTEN = 3
"""A child cannot open its port. At the first start this ends the gateway, since no restart will help."""
