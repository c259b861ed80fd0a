"""JSON inference requests for tests, right and wrong: texts whose meaning two readers must agree on."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from transcoding.tensor import DATATYPES

numbers = st.one_of(
    st.sampled_from(
        ("0", "-0", "-0.0", "1.0", "1e2", "1e39", "1e400", "3.4028235677973366e38", "3.4028234663852886e38")
    ),
    st.sampled_from(("NaN", "Infinity", "-Infinity", "-NaN", "1e-400", "127", "128", "255", "256", "300", "-129")),
    st.sampled_from(("9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809")),
    st.sampled_from(("18446744073709551615", "18446744073709551616", "9007199254740993", "16777217", "0.1", "007")),
    st.integers(-200, 70000).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
strings = st.one_of(
    st.text(max_size=5).map(json.dumps),
    st.text(max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(('"\\ud800"', '"\\udc00x"', '"\\ud83d\\ude00"', '"\\u0000"', '"]"', '"[["', '"\\""', '"NaN"')),
)
others = st.sampled_from(("true", "false", "null", "{}", '{"a":1}', "[]", '"1"'))


def arrays(elements: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Arrays of the elements, now and then nested, ragged or not."""
    flat = st.lists(elements, max_size=5).map(",".join).map("[{}]".format)
    nested = st.lists(st.one_of(elements, flat), max_size=3).map(",".join).map("[{}]".format)
    even = flat.flatmap(lambda row: st.sampled_from((f"[{row}]", f"[{row},{row}]", f"[[{row}],[{row}]]")))
    return st.one_of(flat, flat, even, nested)


# Mostly one kind of element per array, so that many tensors are right.
data = st.one_of(
    arrays(st.integers(0, 127).map(str)),
    arrays(numbers),
    arrays(st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr)),
    arrays(strings),
    arrays(st.sampled_from(("true", "false"))),
    arrays(st.one_of(numbers, strings, others)),
    numbers,
    others,
)
shape = st.one_of(
    st.lists(st.integers(0, 5), max_size=3).map(str),
    st.sampled_from(("[-1]", "[1.0]", "[true]", '["1"]', "1", "[4294967296,4294967296,2]", "null", "[[1]]")),
)
datatype = st.one_of(st.sampled_from(sorted(DATATYPES)).map(json.dumps), st.sampled_from(('"X"', "1", '"fp32"')))
parameters = st.one_of(
    st.dictionaries(st.text(max_size=4).map(json.dumps), st.one_of(numbers, strings, others), max_size=2).map(
        lambda items: "{" + ",".join(f"{name}:{value}" for name, value in items.items()) + "}"
    ),
    st.sampled_from(
        ('{"binary_data_size":0}', '{"shared_memory_region":"r"}', '{"binary_data":true}', '{"classification":2}')
    ),
    others,
)


@st.composite
def fitting_inputs(draw: st.DrawFn) -> str:
    """An input whose shape is the number of its elements."""
    elements = draw(st.lists(st.one_of(numbers, st.integers(0, 100).map(str)), max_size=6))
    kind = draw(st.sampled_from(sorted(set(DATATYPES) - {"BYTES", "BOOL"})))
    return f'{{"name":"x","datatype":"{kind}","shape":[{len(elements)}],"data":[{",".join(elements)}]}}'


@st.composite
def any_inputs(draw: st.DrawFn) -> str:
    members = [
        f'"name":{draw(st.one_of(st.just(json.dumps("x")), st.just(json.dumps("x")), strings, others))}',
        f'"datatype":{draw(datatype)}',
        f'"shape":{draw(shape)}',
        f'"data":{draw(data)}',
    ]
    if draw(st.booleans()):
        members.append(f'"parameters":{draw(parameters)}')
    if draw(st.integers(0, 9)) == 0:
        members.append(draw(st.sampled_from(members)))
    if draw(st.integers(0, 5)) == 0:
        members.pop(draw(st.integers(0, len(members) - 1)))
    return "{" + ",".join(members) + "}"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """A request's body: right, or wrong in any place."""
    inputs = draw(st.lists(st.one_of(fitting_inputs(), any_inputs()), max_size=3))
    members = [f'"inputs":[{",".join(inputs)}]']
    if draw(st.booleans()):
        members.append(f'"parameters":{draw(parameters)}')
    if draw(st.booleans()):
        members.append(f'"id":{draw(st.one_of(strings, others))}')
    if draw(st.booleans()):
        outputs = [f'{{"name":"y","parameters":{p}}}' for p in draw(st.lists(parameters, max_size=2))]
        members.append(f'"outputs":[{",".join(outputs)}]')
    if draw(st.integers(0, 5)) == 0:
        members.insert(0, f'"unknown":{draw(data)}')
    text = "{" + draw(st.sampled_from((",", " , ", ",\n"))).join(draw(st.permutations(members))) + "}"
    return text.encode("utf-8", "surrogatepass")
