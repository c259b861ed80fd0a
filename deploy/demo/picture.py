"""Grey PNG files and their picture in a terminal, with nothing but the standard library and numpy.

PNG: https://www.w3.org/TR/png-3/. Only what the demo ships is read: 8-bit grey, not interlaced.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]  # [height, width], 0 is black

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")
_GREY_8 = (8, 0, 0, 0, 0)  # bit depth, colour type grey, deflate, adaptive filters, not interlaced
_SHADES = " ░▒▓█"
_BAR = 20


def write_png(path: Path, image: Grey) -> None:
    """Write `image` as an 8-bit grey PNG."""
    height, width = image.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in image)
    chunks = [(b"IHDR", _HEADER.pack(width, height, *_GREY_8)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    path.write_bytes(SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks))


def read_png(path: Path) -> Grey:
    """Read an 8-bit grey PNG. ValueError for any other file."""
    chunks = list(_chunks(path.read_bytes()))
    if not chunks or chunks[0][0] != b"IHDR":
        raise ValueError(f"{path}: not a PNG")
    width, height, *form = _HEADER.unpack(chunks[0][1])
    if tuple(form) != _GREY_8:
        raise ValueError(f"{path}: expected 8-bit grey without interlace")
    data = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    return _unfilter(data, height, width)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    if not data.startswith(SIGNATURE):
        raise ValueError("not a PNG")
    at = len(SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        at += 12 + length


def _unfilter(data: bytes, height: int, width: int) -> Grey:
    """Undo the filter of each row (PNG §9.2), whose kind is the row's first byte."""
    rows = np.frombuffer(data, np.uint8).reshape(height, width + 1)
    image = np.zeros((height + 1, width + 1), np.int32)  # a row above and a column left of zeros
    for y in range(1, height + 1):
        kind = rows[y - 1, 0]
        for x in range(1, width + 1):
            left, above, corner = int(image[y, x - 1]), int(image[y - 1, x]), int(image[y - 1, x - 1])
            predicted = (0, left, above, (left + above) // 2, _paeth(left, above, corner))[kind]
            image[y, x] = (int(rows[y - 1, x]) + predicted) & 255
    return image[1:, 1:].astype(np.uint8)


def _paeth(left: int, above: int, corner: int) -> int:
    estimate = left + above - corner
    return min((left, above, corner), key=lambda value: abs(estimate - value))


def draw(image: Grey) -> list[str]:
    """One line of text per row, two characters per pixel; brighter pixels are denser."""
    levels = image.astype(np.int32) * (len(_SHADES) - 1) + 127
    return ["".join(_SHADES[level // 255] * 2 for level in row) for row in levels.tolist()]


def bars(probabilities: npt.NDArray[np.float32]) -> list[str]:
    """One line per class with a bar for its probability; the likeliest is marked."""
    best = int(probabilities.argmax())
    return [
        f"{index} {'█' * round(float(value) * _BAR):<{_BAR}} {float(value):6.1%}{' ◄' if index == best else '  '}"
        for index, value in enumerate(probabilities)
    ]


def beside(*columns: list[str], gap: int = 3) -> list[str]:
    """Columns of text side by side, each as wide as its longest line."""
    widths = [max(map(len, column), default=0) for column in columns]
    height = max(map(len, columns))
    padded = [column + [""] * (height - len(column)) for column in columns]
    lines = ((line.ljust(width) for line, width in zip(row, widths, strict=True)) for row in zip(*padded, strict=True))
    return [(" " * gap).join(line).rstrip() for line in lines]
