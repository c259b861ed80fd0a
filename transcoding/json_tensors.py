"""Tensor elements between JSON and raw bytes: `to_raw` for what a client sends, `to_json` for what a model answers.

Types are exact: true is no integer, 1.0 is no integer, "1" is no number, and a number that does not fit its datatype is
an error, never another number. Input data may nest in any way, ragged too, and is read in row order (Triton's
`ReadDataFromJsonHelper`); output data is flat (`WriteDataToJson`). FP16 and BF16 have no JSON form in Triton.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import orjson

from transcoding.json_text import quote
from transcoding.message import Buffer
from transcoding.status import Code, Fault, GatewayError, invalid
from transcoding.tensor import Datatype, Layout, join_elements, split_elements

_LISTS = {list}
_NUMPY = {code: np.dtype(f"<{code}") for code in "bBhHiIqQfd"} | {"?": np.dtype(np.bool_)}


def to_raw(data: list[Any], layout: Layout, name: str, where: str) -> bytes:
    """The raw bytes of JSON `data` for the input `name`. Raises GatewayError (400) that begins with `where`."""
    raw = pack(data, layout)
    if raw is None:
        raise explain(data, layout, name, where)
    return raw


def pack(data: list[Any], layout: Layout) -> bytes | None:
    """The raw bytes of JSON `data`, or None when something is wrong with them, which `explain` then finds."""
    while len(data) == 1 and type(data[0]) is list:  # a batch of one
        data = data[0]
    kinds = set(map(type, data))
    if list in kinds:
        data = flatten(data)
        kinds = set(map(type, data))
    if len(data) != layout.count or not kinds <= layout.kinds:
        return None
    try:
        if layout.packer is not None:
            return layout.packer.pack(*data)
        return _pack(data, layout.datatype)
    except (struct.error, OverflowError):  # a number out of its datatype's range
        return None


def flatten(data: list[Any]) -> list[Any]:
    """All elements of nested lists in row order. Depth is bounded by the parser, see `json_text.MAX_DEPTH`."""
    while (kinds := set(map(type, data))) == _LISTS:
        data = list(chain.from_iterable(data))
    if list not in kinds:
        return data
    return list(chain.from_iterable(flatten(item) if type(item) is list else (item,) for item in data))


def _pack(data: list[Any], datatype: Datatype) -> bytes:
    if datatype.code == "s":
        return join_elements(map(str.encode, data))
    if datatype.code == "?":
        return bytes(data)
    return struct.pack(f"<{len(data)}{datatype.code}", *data)


def explain(data: list[Any], layout: Layout, name: str, where: str) -> GatewayError:
    """The mistake in data that could not be packed. An index counts elements in row order, however they are nested."""
    data = flatten(data)
    datatype = layout.datatype
    if not layout.kinds:
        return invalid(
            f"receiving {datatype.name} data via JSON is not supported. "
            f"Please use the binary data format for input {name}"
        )
    if len(data) != layout.count:
        return wrong_count(len(data), layout, where)
    index = next(index for index, value in enumerate(data) if not _fits(value, layout))
    return invalid(f"{where}[{index}]: expected {_expectation(datatype)}, got {quote(data[index])}")


def wrong_count(count: int, layout: Layout, where: str) -> GatewayError:
    """The error for `count` elements where the shape says another number."""
    shape = ",".join(map(str, layout.shape))
    return invalid(f"{where}: expected {layout.count} elements for shape [{shape}], got {count}")


def _fits(value: Any, layout: Layout) -> bool:
    try:
        return type(value) in layout.kinds and bool(_pack([value], layout.datatype) or True)
    except (struct.error, OverflowError):
        return False


def _expectation(datatype: Datatype) -> str:
    if datatype.code == "?":
        return "true or false"
    if datatype.code == "s":
        return "a string"
    if datatype.code in "fd":
        return f"a number that {datatype.name} can hold"
    return f"an integer in [{datatype.low}, {datatype.high}] for {datatype.name}"


def to_json(raw: Buffer, layout: Layout, name: str) -> bytes:
    """The flat JSON array of the output `name`.

    FP32 is written with the fewest digits that read back as the same FP32 (0.1), where Triton writes the digits of the
    double (0.10000000149011612). Raises GatewayError: 400 when the datatype or the bytes have no JSON form, 502 when
    the worker's bytes do not fit their own shape."""
    datatype = layout.datatype
    if datatype.code == "s":
        return _strings_to_json(raw, layout, name)
    if not datatype.code:
        raise invalid(
            f"sending {datatype.name} data via JSON is not supported. "
            f"Please use the binary data format for output {name}"
        )
    if len(raw) != layout.size:
        raise _mismatch(name, f"{layout.size} bytes", f"{len(raw)} bytes")
    if layout.packer is not None and datatype.code != "f":
        text = orjson.dumps(layout.packer.unpack(raw))
    else:
        text = orjson.dumps(_array(raw, datatype), option=orjson.OPT_SERIALIZE_NUMPY)
    return text if b"n" not in text else _restore_constants(text, _array(raw, datatype))


def _array(raw: Buffer, datatype: Datatype) -> np.ndarray[Any, Any]:
    if datatype.code == "?":  # a byte other than 0 and 1 is true, which numpy's own bool does not promise
        return np.asarray(np.frombuffer(raw, np.uint8) != 0)
    array: np.ndarray[Any, Any] = np.frombuffer(raw, _NUMPY[datatype.code])
    return array if array.flags.aligned else array.copy()


def _restore_constants(text: bytes, array: np.ndarray[Any, Any]) -> bytes:
    """orjson writes null for NaN and the infinities: put Triton's literals back, in order."""
    pieces = text.split(b"null")
    if len(pieces) == 1:
        return text
    parts = [pieces[0]]
    for value, piece in zip(array[~np.isfinite(array)].tolist(), pieces[1:], strict=True):
        parts += (b"NaN" if value != value else b"Infinity" if value > 0 else b"-Infinity", piece)
    return b"".join(parts)


def _strings_to_json(raw: Buffer, layout: Layout, name: str) -> bytes:
    try:
        elements = split_elements(raw)
    except ValueError as error:
        raise _worker_error(f"the worker's output '{name}' is malformed: {error}") from None
    if len(elements) != layout.count:
        raise _mismatch(name, f"{layout.count} elements", str(len(elements)))
    return orjson.dumps(list(_decoded(elements, name)))


def _decoded(elements: list[bytes], name: str) -> Iterator[str]:
    for index, element in enumerate(elements):
        try:
            yield element.decode()
        except UnicodeDecodeError:
            raise invalid(f"output '{name}' element {index} is not UTF-8; ask for binary_data") from None


def _mismatch(name: str, expected: str, got: str) -> GatewayError:
    return _worker_error(f"the worker's output '{name}' does not fit its shape: expected {expected}, got {got}")


def _worker_error(text: str) -> GatewayError:
    return GatewayError(Code.INTERNAL, text, http_status=502, fault=Fault.WORKER, executed=True)
