"""Bounds of a connection."""

from __future__ import annotations

import pytest

from transcoding.http2.limits import Http2Limits


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_frame": 16_383},
        {"max_frame": 2**24},
        {"stream_window": 0},
        {"stream_window": 2**31},
        {"connection_window": 65_534},
        {"connection_window": 2**31},
    ],
)
def test_values_that_the_protocol_cannot_say_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Http2Limits(**wrong)


def test_the_extremes_are_allowed() -> None:
    Http2Limits(max_frame=2**24 - 1, stream_window=1, connection_window=65_535)
