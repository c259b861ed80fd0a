"""Runs every fuzzer one after the other.

python -m tests.fuzz --count 1000000 --seed 1
"""

from __future__ import annotations

from tests.fuzz import dialects, http1, http2

FUZZERS = {"dialects": dialects.main, "http2": http2.main, "http1": http1.main}


def main() -> None:
    """Each with the options of the command line."""
    for name, fuzzer in FUZZERS.items():
        print(f"== {name}", flush=True)
        fuzzer()


if __name__ == "__main__":
    main()
