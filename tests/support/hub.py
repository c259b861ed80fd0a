"""Hypothesis strategies for hub messages: every datatype, any values, shapes that fit."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import strategies as st

from transcoding.message import InferReply, InferRequest, Parameters, RequestedOutput, Tensor
from transcoding.tensor import DATATYPES, join_elements

JSON_DATATYPES = tuple(name for name in DATATYPES if name not in ("FP16", "BF16"))

names = st.text(min_size=1, max_size=12).filter(lambda name: name.isprintable())
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
parameter_values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.text(max_size=10), st.floats(allow_nan=False)
)
KNOWN_PARAMETERS = (
    *("sequence_id", "sequence_start", "sequence_end", "priority", "timeout"),
    *("binary_data", "binary_data_size", "binary_data_output", "classification"),
)
parameter_names = names.filter(
    lambda name: not name.startswith(("triton_", "shared_memory")) and name not in KNOWN_PARAMETERS
)
parameters = st.none() | st.dictionaries(parameter_names, parameter_values, min_size=1, max_size=3)


def sequence(values: Parameters | None) -> st.SearchStrategy[Parameters | None]:
    """The same parameters, now and then with those that Triton itself reads."""
    known = st.fixed_dictionaries(
        {},
        optional={
            "sequence_id": st.integers(0, 2**64 - 1) | st.text(max_size=5),
            "sequence_start": st.booleans(),
            "sequence_end": st.booleans(),
            "priority": st.integers(0, 2**64 - 1),
            "timeout": st.integers(0, 2**63 - 1),
        },
    )
    return known.map(lambda more: {**(values or {}), **more} or None)


@st.composite
def tensors(draw: st.DrawFn, datatypes: tuple[str, ...] = tuple(DATATYPES), json: bool = False) -> Tensor:
    """A tensor with its data. With `json` the data have a JSON form: BOOL is 0 or 1, BYTES are UTF-8."""
    datatype = DATATYPES[draw(st.sampled_from(datatypes))]
    shape = draw(shapes)
    count = prod(shape)
    if datatype.code == "s":
        text = st.text(max_size=6).map(str.encode)
        element = text if json else st.one_of(text, st.binary(max_size=6))
        data = join_elements(draw(st.lists(element, min_size=count, max_size=count)))
    else:
        size = count * datatype.size
        data = draw(st.binary(min_size=size, max_size=size))
    if json and datatype.code == "?":
        data = bytes(byte & 1 for byte in data)
    return Tensor(draw(names), datatype.name, shape, data)


@st.composite
def requests(draw: st.DrawFn, datatypes: tuple[str, ...] = tuple(DATATYPES), json: bool = False) -> InferRequest:
    request = InferRequest(draw(names), draw(st.sampled_from(("", "1", "12"))), draw(st.text(max_size=8)))
    request.parameters = draw(parameters.flatmap(sequence))
    request.inputs = draw(st.lists(tensors(datatypes, json), max_size=3))
    outputs = st.builds(RequestedOutput, names, parameters)
    request.outputs = draw(st.lists(outputs, max_size=3))
    return request


@st.composite
def replies(draw: st.DrawFn, datatypes: tuple[str, ...] = tuple(DATATYPES), json: bool = False) -> InferReply:
    reply = InferReply(draw(names), draw(st.sampled_from(("", "1", "12"))), draw(st.text(max_size=8)))
    reply.parameters = draw(parameters)
    reply.outputs = draw(st.lists(tensors(datatypes, json), max_size=3))
    return reply


def same_data(mine: Tensor, other: Tensor) -> bool:
    """Equal bytes, or for floats equal numbers: a NaN's payload has no JSON form."""
    left, right = bytes(mine.data or b""), bytes(other.data or b"")
    if mine.datatype not in ("FP32", "FP64") or left == right:
        return left == right
    code = np.dtype(f"<{DATATYPES[mine.datatype].code}")
    one, two = np.frombuffer(left, code), np.frombuffer(right, code)
    return bool(len(one) == len(two) and ((one == two) & (np.signbit(one) == np.signbit(two)) | (one != one)).all())
