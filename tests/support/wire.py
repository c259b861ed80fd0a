"""What the protobuf implementations do not agree on."""

from __future__ import annotations

from transcoding.protobuf_wire import fields


def has_strange_map_entry(wire: bytes) -> bool:
    """Whether an entry of `parameters` has a field beside key and value. The Python and C++ implementations differ
    here: upb keeps the whole entry as unknown, C++, which Triton uses, and we take its key and value."""
    entries = [value for tag, value in fields(wire) if tag == 0x22]
    return any(tag not in (0x0A, 0x12) for entry in entries for tag, _ in fields(entry))
