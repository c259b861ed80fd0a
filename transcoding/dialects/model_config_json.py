"""A model's configuration as JSON, as Triton's `ModelConfigToJson` (core, model_config_utils.cc) prints it.

That is protobuf's own JSON with the names of the .proto file and with default values printed, in which Triton turns
64-bit integers, which protobuf prints as strings, into numbers. Three it leaves as strings, and so do we.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

STRINGS = frozenset(
    {
        "inference.ModelSequenceBatching.InitialState.dims",
        "inference.ModelOptimizationPolicy.Cuda.GraphSpec.Shape.dim",
        "inference.ModelInstanceGroup.SecondaryDevice.device_id",
    }
)
"""64-bit fields that Triton's JSON shows as strings: its fix-up misses them."""

Print = Callable[[Any], Any]


def config_json(config: Message) -> dict[str, Any]:
    """A `ModelConfig`, or any message in it, as JSON values, keys in the order of the .proto file.

    Scalars, lists and maps are always there; messages, and members of a oneof, only where they are set.
    """
    printed = {}
    for name, optional, show in _plan(config.DESCRIPTOR):
        if not optional or config.HasField(name):
            printed[name] = show(getattr(config, name))
    return printed


@cache
def _plan(descriptor: Descriptor) -> list[tuple[str, bool, Print]]:
    """(name, whether it may be absent, how to print it) of each field."""
    return [(field.name, field.has_presence, _printer(field)) for field in descriptor.fields]


def _printer(field: FieldDescriptor) -> Print:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return _map_printer(_value_printer(message.fields_by_name["value"]))
    one = _value_printer(field)
    if field.is_repeated:
        return lambda values: [one(value) for value in values]
    return one


def _map_printer(one: Print) -> Print:
    return lambda entries: {str(key): one(entries[key]) for key in sorted(entries)}


def _value_printer(field: FieldDescriptor) -> Print:
    if field.message_type is not None:
        return config_json
    if field.enum_type is not None:
        return _enum_printer(field.enum_type)
    if field.type == field.TYPE_BYTES:
        return lambda value: base64.b64encode(value).decode()
    if field.type == field.TYPE_FLOAT:
        return _float
    return _text if field.full_name in STRINGS else _same


def _enum_printer(enum: EnumDescriptor) -> Print:
    """A name, or the number of a value that this .proto does not know."""
    names = {number: value.name for number, value in enum.values_by_number.items()}
    return lambda number: names.get(number, number)


def _text(value: int) -> str:
    return str(value)


def _same(value: Any) -> Any:
    return value


def _float(value: float) -> float | int | str:
    """The shortest decimal that reads back as the same 32-bit float; integers without a point, as protobuf prints."""
    if not math.isfinite(value):
        return str(value).replace("inf", "Infinity").replace("nan", "NaN")
    if value.is_integer():
        return int(value)
    shorter = (float(f"{value:.{digits}g}") for digits in range(6, 10))
    return next(short for short in shorter if struct.pack("<f", short) == struct.pack("<f", value))
