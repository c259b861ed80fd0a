"""Datatypes and shapes of tensors, and the layout of their raw bytes.

Names, sizes and layout are those of the binary tensor data extension of the Open Inference Protocol: little-endian,
row-major, BOOL one byte, FP16 and BF16 two, BYTES a 4-byte little-endian length before each element.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from functools import lru_cache
from math import prod
from typing import NamedTuple

from transcoding.message import Buffer

if sys.byteorder != "little":
    raise ImportError("raw tensors are little-endian and are not swapped: this host is big-endian")

MAX_RANK = 32
MAX_TENSORS = 4096  # inputs or outputs of one request: each costs microseconds, and JSON for one can be four bytes
MAX_BYTES = 2**63 - 1


class Datatype(NamedTuple):
    """`size` is bytes per element, 0 for BYTES. `code` is the element's letter in `struct` and numpy, "" where JSON
    has no form for the type. An integer is in [`low`, `high`]."""

    name: str
    size: int
    code: str
    low: int = 0
    high: int = 0


def _integers() -> Iterable[Datatype]:
    for bits, signed, unsigned in ((8, "b", "B"), (16, "h", "H"), (32, "i", "I"), (64, "q", "Q")):
        yield Datatype(f"INT{bits}", bits // 8, signed, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        yield Datatype(f"UINT{bits}", bits // 8, unsigned, 0, 2**bits - 1)


DATATYPES: dict[str, Datatype] = {
    datatype.name: datatype
    for datatype in (
        Datatype("BOOL", 1, "?"),
        *list(_integers()),
        Datatype("FP16", 2, ""),
        Datatype("BF16", 2, ""),
        Datatype("FP32", 4, "f"),
        Datatype("FP64", 8, "d"),
        Datatype("BYTES", 0, "s"),
    )
}

_NUMBERS = frozenset((int, float))
_KINDS: dict[str, frozenset[type]] = {
    "?": frozenset((bool,)),
    "s": frozenset((str,)),
    "f": _NUMBERS,
    "d": _NUMBERS,
    "": frozenset(),
}


class Layout:
    """A datatype and a shape, checked. `count` is elements, `size` bytes (-1 for BYTES, whose elements vary),
    `kinds` the Python types of an element as JSON, `packer` the struct of all elements where they are numbers."""

    __slots__ = ("count", "datatype", "kinds", "packer", "shape", "size")

    def __init__(self, datatype: Datatype, shape: tuple[int, ...]) -> None:
        self.datatype = datatype
        self.shape = shape
        self.count = prod(shape)
        self.size = self.count * datatype.size if datatype.size else -1
        self.kinds = _KINDS.get(datatype.code, frozenset((int,)))
        numeric = datatype.code not in ("", "?", "s") and self.count <= MAX_PACKED
        self.packer = struct.Struct(f"<{self.count}{datatype.code}") if numeric else None


MAX_PACKED = 4096  # beyond this many elements numpy is the faster way


@lru_cache(maxsize=4096)
def layout(datatype: str, shape: tuple[int, ...]) -> Layout:
    """The layout of a tensor. Dimensions are exact `int`s already: 1, 1.0 and True are one key to the cache.

    Raises ValueError naming `datatype` or `shape[i]`, for the caller to put the tensor's place before it."""
    known = DATATYPES.get(datatype)
    if known is None:
        raise ValueError(f"datatype: expected one of {', '.join(DATATYPES)}, got {datatype[:40]!r}")
    if len(shape) > MAX_RANK:
        raise ValueError(f"shape: expected at most {MAX_RANK} dimensions, got {len(shape)}")
    for index, dimension in enumerate(shape):
        if dimension < 0:
            raise ValueError(f"shape[{index}]: expected an integer ≥ 0, got {dimension}")
    if max(shape, default=0) > MAX_BYTES or prod(shape) * (known.size or 4) > MAX_BYTES:
        raise ValueError("shape: the tensor would have more than 2^63 - 1 bytes")
    return Layout(known, shape)


def join_elements(elements: Iterable[bytes]) -> bytes:
    """The raw bytes of a BYTES tensor."""
    parts: list[bytes] = []
    for element in elements:
        parts += (len(element).to_bytes(4, "little"), element)
    return b"".join(parts)


def split_elements(raw: Buffer) -> list[bytes]:
    """The elements of a BYTES tensor. Raises ValueError when a length is cut off or points behind the end."""
    data = bytes(raw)
    elements: list[bytes] = []
    position, end = 0, len(data)
    while position < end:
        start = position + 4
        position = start + int.from_bytes(data[position:start], "little")
        if start > end or position > end:
            raise ValueError(f"element {len(elements)}: its length points behind the end of the tensor's bytes")
        elements.append(data[start:position])
    return elements
