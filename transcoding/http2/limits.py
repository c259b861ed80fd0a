"""What one HTTP/2 connection may cost us."""

from __future__ import annotations

from dataclasses import dataclass

from transcoding.http2.frames import DEFAULT_MAX_FRAME, LARGEST_MAX_FRAME, LARGEST_WINDOW


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Bounds of one connection. Windows, frames and header lists in bytes.

    `headers` counts fields, `header_list_bytes` is SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 §6.5.2: names, values and
    32 bytes per field). The abuse budgets are explained in `transcoding.http2.guards`: `nuisances` and `resets` are
    capacities, the `*_per_second` what time pays back, `continuations` the frames of one header block.
    """

    max_streams: int = 128
    header_list_bytes: int = 32 * 1024
    headers: int = 128
    stream_window: int = 256 * 1024
    connection_window: int = 1024 * 1024
    max_frame: int = DEFAULT_MAX_FRAME
    continuations: int = 16
    nuisances: int = 1000
    nuisances_per_second: float = 500.0
    resets: int = 200
    resets_per_second: float = 100.0

    def __post_init__(self) -> None:
        if not DEFAULT_MAX_FRAME <= self.max_frame <= LARGEST_MAX_FRAME:
            raise ValueError(f"max_frame: expected {DEFAULT_MAX_FRAME} to {LARGEST_MAX_FRAME}, got {self.max_frame}")
        if not 1 <= self.stream_window <= LARGEST_WINDOW:
            raise ValueError(f"stream_window: expected 1 to {LARGEST_WINDOW}, got {self.stream_window}")
        if not 65_535 <= self.connection_window <= LARGEST_WINDOW:
            raise ValueError(f"connection_window: expected 65535 to {LARGEST_WINDOW}, got {self.connection_window}")
