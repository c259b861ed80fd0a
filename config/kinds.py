"""The kinds that a configuration may name: the words that other packages give a meaning to.

`config` imports nothing of ours, so what it must know of the others is written here, and the tests hold the lists to
the directories that they mirror.
"""

from __future__ import annotations

# routing/pickers/*.py
PICKERS = ("expected_wait", "hash_ring", "least_inflight", "round_robin")

# policies/*.py
POLICIES = (
    "anonymous", "api_key", "authorize", "bounds", "cache", "concurrency", "fallback", "headers", "hedge", "jwt",
    "mirror", "mtls", "rate_limit", "retry", "timeout", "validate",
)  # fmt: skip
