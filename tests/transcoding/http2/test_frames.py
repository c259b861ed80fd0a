"""Frames as bytes; hyperframe is the reference."""

from __future__ import annotations

import hyperframe.frame as hf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcoding.http2 import frames as fr
from transcoding.http2.errors import ErrorCode, ProtocolError


def parsed(data: bytes) -> hf.Frame:
    frame, length = hf.Frame.parse_frame_header(memoryview(data[:9]))
    assert len(data) == 9 + length
    frame.parse_body(memoryview(data[9:]))
    return frame


def test_simple_frames_read_back() -> None:
    assert parsed(fr.window_update(3, 70_000)).window_increment == 70_000
    assert parsed(fr.rst_stream(5, 8)).error_code == 8
    goaway = parsed(fr.goaway_frame(7, 11, b"calm"))
    assert (goaway.last_stream_id, goaway.error_code, goaway.additional_data) == (7, 11, b"calm")
    ping = parsed(fr.ping_frame(b"12345678", ack=True))
    assert (ping.opaque_data, "ACK" in ping.flags) == (b"12345678", True)
    assert "ACK" in parsed(fr.SETTINGS_ACK).flags


@given(st.dictionaries(st.integers(7, 2**16 - 1), st.integers(0, 2**32 - 1)))
def test_settings_round_trip(values: dict[int, int]) -> None:
    data = fr.settings_frame(values.items())
    assert parsed(data).settings == values
    assert fr.parse_settings(data[9:]) == values


def test_the_last_of_a_repeated_setting_counts() -> None:
    assert fr.parse_settings(fr.settings_frame([(4, 1), (3, 9), (4, 2)])[9:]) == {4: 2, 3: 9}


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"12345", ErrorCode.FRAME_SIZE_ERROR),
        (fr.settings_frame([(4, 2**31)])[9:], ErrorCode.FLOW_CONTROL_ERROR),
        (fr.settings_frame([(5, 16_383)])[9:], ErrorCode.PROTOCOL_ERROR),
        (fr.settings_frame([(5, 2**24)])[9:], ErrorCode.PROTOCOL_ERROR),
        (fr.settings_frame([(2, 2)])[9:], ErrorCode.PROTOCOL_ERROR),
        # A bad value is an error even when a good one follows.
        (fr.settings_frame([(2, 2), (2, 0)])[9:], ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_bad_settings(payload: bytes, code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as caught:
        fr.parse_settings(payload)
    assert caught.value.code == code


@given(st.binary(max_size=50), st.integers(0, 255))
def test_padding_comes_off(data: bytes, padding: int) -> None:
    padded = bytes((padding,)) + data + bytes(padding)
    assert fr.unpad(fr.PADDED, padded) == data
    assert fr.unpad(0, padded) == padded


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"", ErrorCode.FRAME_SIZE_ERROR), (b"\x01", ErrorCode.PROTOCOL_ERROR), (b"\x03ab", ErrorCode.PROTOCOL_ERROR)],
)
def test_padding_that_does_not_fit(payload: bytes, code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as caught:
        fr.unpad(fr.PADDED, payload)
    assert caught.value.code == code


def test_a_fragment_is_what_padding_and_priority_leave() -> None:
    frame = hf.HeadersFrame(1, b"block", pad_length=3, depends_on=3, stream_weight=7, exclusive=True)
    frame.flags |= {"PADDED", "PRIORITY"}
    data = frame.serialize()
    assert fr.header_fragment(data[4], data[9:]) == b"block"
    with pytest.raises(ProtocolError):
        fr.header_fragment(fr.WITH_PRIORITY, b"1234")


def test_numbers_have_four_bytes() -> None:
    assert fr.word(b"\x00\x01\x00\x00", "RST_STREAM") == 65_536
    with pytest.raises(ProtocolError, match="RST_STREAM: expected 4 bytes, got 3"):
        fr.word(b"123", "RST_STREAM")


def test_goaway_reads_back() -> None:
    assert fr.parse_goaway(fr.goaway_frame(9, 2, b"x")[9:]) == (9, 2, b"x")
    with pytest.raises(ProtocolError):
        fr.parse_goaway(b"1234567")
