"""Durations, sizes and numbers, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.units import (
    format_duration,
    format_number,
    format_size,
    parse_duration,
    parse_number,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1d2h3m4s5ms6us", 93784.005006),
        ("1.5s", 1.5),
        ("0.1s", 0.1),
        ("10", 10.0),
        ("0.5", 0.5),
        ("0s", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "ms", "-1s", "+1s", "1 s", "30s1m", "1s1s", "1e3", "1:30", "1.s", ".5s", "inf", "nan", "٣s", "1S"]
)
def test_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 250ms, 10s or 1m30s, got "):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 * 1024**2),
        ("64MB", 64_000_000),
        ("32kB", 32_000),
        ("32KB", 32_000),
        ("32KiB", 32_768),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("2 GiB", 2 * 1024**3),
        ("0.5kB", 500),
        ("17B", 17),
        ("1048576", 1048576),
        ("0", 0),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1e6", "1 000", "1_000", "64Mb", "64mib", "1TiB", "0x10", "1  MiB"])
def test_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected a size such as 64MiB, 500kB or 1048576, got "):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "clear"),
    [("32k", "32KiB or 32kB"), ("32K", "32KiB or 32KB"), ("64M", "64MiB or 64MB"), ("1G", "1GiB or 1GB")],
)
def test_a_unit_with_two_meanings_names_both(text: str, clear: str) -> None:
    with pytest.raises(ValueError, match=f"ambiguous: write {clear}$"):
        parse_size(text)


def test_part_of_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match=r"whole number of bytes, got '0\.3B'"):
        parse_size("0.3B")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0.2", 0.2),
        ("20%", 0.2),
        ("12.5%", 0.125),
        ("150%", 1.5),
        ("3", 3.0),
        ("0", 0.0),
        ("0%", 0.0),
        ("33.3%", 0.333),
    ],
)
def test_numbers(text: str, number: float) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize("text", ["", "%", "-1", "1e3", "20 %", "20%%", ".5", "1.", "inf", "nan", "1_000", "٣"])
def test_not_a_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number such as 0\.2, 20% or 3, got "):
        parse_number(text)


@given(st.integers(0, 10**12))
def test_a_number_reads_back(millionths: int) -> None:
    assert parse_number(format_number(millionths / 1e6)) == millionths / 1e6


@given(st.integers(0, 10**15))
def test_a_duration_reads_back(microseconds: int) -> None:
    assert parse_duration(format_duration(microseconds / 1e6)) == pytest.approx(microseconds / 1e6, abs=1e-6)


@given(st.integers(0, 2**40))
def test_a_size_reads_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.text(alphabet="0123456789.dhmsukKMGiB -+e%", max_size=12) | st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_number):
        try:
            said = f"expected {parse(text):f}"
        except ValueError as error:
            said = str(error)
        assert said.startswith("expected ")
        assert not said.startswith("expected -")


def test_the_shortest_way_to_write_it() -> None:
    assert [format_number(n) for n in (0.0, 1.0, 0.25, 1000.0, 1e-6)] == ["0", "1", "0.25", "1000", "0.000001"]
    assert [format_duration(s) for s in (0, 0.25, 10, 90, 300, 86400)] == ["0s", "250ms", "10s", "1m30s", "5m", "1d"]
    assert [format_size(n) for n in (0, 20, 1024, 64 * 1024**2, 2**31, 2**31 - 1)] == [
        "0",
        "20",
        "1KiB",
        "64MiB",
        "2GiB",
        "2147483647",
    ]


@pytest.mark.parametrize(
    ("text", "rate"),
    [("100/s", (100, 1.0)), ("600/min", (600, 60.0)), ("1000/h", (1000, 3600.0)), ("1/d", (1, 86400.0))],
)
def test_rates(text: str, rate: tuple[int, float]) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "100", "0/s", "-1/s", "1.5/s", "100/m", "100/sec", "100 /s", "1e3/s", "١/s"])
def test_not_a_rate(text: str) -> None:
    with pytest.raises(ValueError, match="expected a rate such as 100/s, 600/min"):
        parse_rate(text)
