"""Events as Triton frames them."""

from __future__ import annotations

from transcoding.sse import CONTENT_TYPE, event


def test_an_event_is_one_data_line_and_an_empty_one() -> None:
    assert event(b'{"TEXT":"hi"}') == b'data: {"TEXT":"hi"}\n\n'


def test_the_content_type_is_tritons() -> None:
    assert CONTENT_TYPE == b"text/event-stream; charset=utf-8"
