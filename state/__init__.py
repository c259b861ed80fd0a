"""What gateways share: one code path to whatever speaks the Redis protocol, private Valkey or a Redis of the operator.

Everything behind this interface may be away at any time. Whoever uses it says what then happens; nobody waits for it
longer than the few milliseconds that its configuration allows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, Protocol

Argument = str | bytes | int | float

Reason = Literal["down", "timeout", "lost", "full", "garbage", "refused"]


class StateError(Exception):
    """The store did not do it, or did not say so in time; whether it was done all the same is not known, but for the
    reasons "down" (it was not asked), "full" and "refused" (it said no, in the words of the text). "timeout", "lost"
    and "garbage" are what became of an answer."""

    def __init__(self, text: str, reason: Reason = "refused") -> None:
        super().__init__(text)
        self.reason = reason


class Script(Protocol):
    """A Lua script that the store runs as one step."""

    def __call__(self, keys: Sequence[str], args: Sequence[Argument] = ()) -> Awaitable[Any]:
        """What the script returns. All keys hash to one slot (`{...}`). Raises `StateError`."""
        ...


class State(Protocol):
    """The store. Commands of one turn of the event loop travel together."""

    @property
    def up(self) -> bool:
        """Whether the last that was heard of it was good; asking costs nothing."""
        ...

    def key(self, *parts: str) -> str:
        """The name of a key below the configured prefix: its parts joined by ":"."""
        ...

    def do(self, *command: Argument, timeout: float | None = None) -> Awaitable[Any]:
        """The answer to one command, strings as bytes, within `timeout` seconds (that of the configuration if None).
        Raises `StateError`, at once while the store is known to be down."""
        ...

    def script(self, name: str, source: str) -> Script:
        """A script, to be kept; the source travels only when the store does not have it."""
        ...

    def on_message(self, channel: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `told` called with each message that is published on a channel below the prefix, and with b"" after a
        reconnect, when some may have been missed; the answer ends that."""
        ...
