"""PNG and terminal pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deploy.demo.picture import SIGNATURE, bars, beside, draw, read_png, write_png


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("png") / "image.png"


@settings(max_examples=50, deadline=None)
@given(image=hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_what_is_written_is_read(file: Path, image: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> None:
    write_png(file, image)
    assert (read_png(file) == image).all()


# Rows of three pixels: 10 20 30 and 40 60 90, the second one with each filter of PNG §9.2.
@pytest.mark.parametrize(
    ("kind", "filtered"),
    [
        (0, [40, 60, 90]),
        (1, [40, 20, 30]),
        (2, [30, 40, 60]),
        (3, [35, 30, 45]),
        (4, [30, 20, 30]),
    ],
)
def test_every_filter_is_undone(file: Path, kind: int, filtered: list[int]) -> None:
    write_png(file, np.zeros((2, 3), np.uint8))
    data = bytes([0, 10, 20, 30, kind, *filtered])
    file.write_bytes(_with_data(file.read_bytes(), data))
    assert read_png(file).tolist() == [[10, 20, 30], [40, 60, 90]]


def _with_data(png: bytes, data: bytes) -> bytes:
    compressed = zlib.compress(data)
    chunk = struct.pack(">I", len(compressed)) + b"IDAT" + compressed + struct.pack(">I", 0)
    header_end = len(SIGNATURE) + 12 + 13
    return png[:header_end] + chunk + png[-12:]


def test_what_is_no_png_is_refused(file: Path) -> None:
    file.write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="not a PNG"):
        read_png(file)


def test_another_kind_of_png_is_refused(file: Path) -> None:
    write_png(file, np.zeros((1, 1), np.uint8))
    data = bytearray(file.read_bytes())
    data[len(SIGNATURE) + 8 + 9] = 2  # colour
    file.write_bytes(data)
    with pytest.raises(ValueError, match="8-bit grey"):
        read_png(file)


def test_brighter_is_denser() -> None:
    assert draw(np.array([[0, 64, 128], [191, 255, 0]], np.uint8)) == ["  ░░▒▒", "▓▓██  "]


def test_the_likeliest_is_marked() -> None:
    lines = bars(np.array([0.25, 0.75], np.float32))
    assert lines == ["0 █████                 25.0%  ", "1 ███████████████       75.0% ◄"]


@given(st.lists(st.lists(st.text("ab", max_size=4), max_size=3), min_size=1, max_size=3))
def test_columns_keep_their_lines(columns: list[list[str]]) -> None:
    lines = beside(*columns, gap=1)
    assert len(lines) == max(map(len, columns))
    for column in columns:
        for row, text in enumerate(column):
            assert text in lines[row]
