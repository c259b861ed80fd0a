"""Server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html: one `data:` line an event."""

from __future__ import annotations

CONTENT_TYPE = b"text/event-stream; charset=utf-8"


def event(json: bytes) -> bytes:
    """One event. `json` is compact JSON: it has no line breaks, which would need a `data:` each."""
    return b"data: " + json + b"\n\n"
