"""Parameters of a JSON request: what passes, what is consumed, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from transcoding.json_parameters import custom, of_input, of_output, of_request
from transcoding.message import RequestedOutput
from transcoding.status import GatewayError


def test_custom_parameters_keep_their_types() -> None:
    given = {"a": 1, "b": "s", "c": True, "d": 1.5, "e": 2**63 - 1, "headers": "x"}
    assert of_request(given) == (given, False)


@pytest.mark.parametrize("value", [2**63, 2**64 - 1, -(2**63) - 1])
def test_integers_beyond_int64_become_doubles_as_in_triton(value: int) -> None:
    assert custom("e", value) == float(value)
    assert type(custom("e", value)) is float


@pytest.mark.parametrize("value", [None, [], {}, [1]])
def test_other_types_are_refused_with_tritons_words(value: Any) -> None:
    with pytest.raises(GatewayError) as error:
        of_request({"a": value})
    assert error.value.message == ("parameter 'a' has invalid type. It should be either 'int', 'bool', or 'string'.")


@pytest.mark.parametrize("name", ["triton_x", "triton_enable_empty_final_response"])
def test_reserved_names_are_refused_with_tritons_words(name: str) -> None:
    for parse in (of_request, lambda value: of_input(value, "w"), lambda value: of_output("o", value, "w")):
        with pytest.raises(GatewayError) as error:
            parse({name: True})
        assert error.value.message == (
            "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."
        )


@pytest.mark.parametrize("value", [0, 5, 2**64 - 1, "abc", ""])
def test_a_sequence_id_is_a_number_or_a_text(value: Any) -> None:
    assert of_request({"sequence_id": value}) == ({"sequence_id": value}, False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sequence_id": -5}, "parameters.sequence_id: expected an unsigned 64-bit integer or a string, got -5"),
        ({"sequence_id": 1.5}, "parameters.sequence_id: expected an unsigned 64-bit integer or a string, got 1.5"),
        ({"sequence_id": True}, "parameters.sequence_id: .* got true"),
        ({"sequence_id": 2.0**64}, "parameters.sequence_id: .*"),
        ({"sequence_start": "a"}, 'parameters.sequence_start: expected true or false, got "a"'),
        ({"sequence_end": 1}, "parameters.sequence_end: expected true or false, got 1"),
        ({"priority": -1}, r"parameters.priority: expected an integer in \[0, 18446744073709551615\], got -1"),
        ({"timeout": "1"}, r'parameters.timeout: expected an integer in \[0, 9223372036854775807\], got "1"'),
        ({"timeout": -1}, "parameters.timeout: .* got -1"),
        ({"timeout": True}, "parameters.timeout: .* got true"),
        ({"timeout": 2**63}, "parameters.timeout: .*"),
        ({"binary_data_output": 1}, "parameters.binary_data_output: expected true or false, got 1"),
        ({str(number): 1 for number in range(1025)}, "parameters: expected at most 1024 members, got 1025"),
        ([], "parameters: expected an object, got an array"),
        (None, "parameters: expected an object, got null"),
    ],
)
def test_what_triton_reads_is_checked_by_name(given: Any, message: str) -> None:
    with pytest.raises(GatewayError, match=f"^{message}$") as error:
        of_request(given)
    assert error.value.http_status == 400


def test_binary_data_output_is_consumed() -> None:
    assert of_request({"binary_data_output": True, "a": 1}) == ({"a": 1}, True)
    assert of_request({"binary_data_output": False}) == (None, False)


def test_an_inputs_size_is_consumed_and_shared_memory_passes() -> None:
    shared = {"shared_memory_region": "r", "shared_memory_offset": 0, "shared_memory_byte_size": 64}
    assert of_input({**shared, "x": "y"}, "w") == ({**shared, "x": "y"}, None)
    assert of_input({"binary_data_size": 8}, "w") == (None, 8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"binary_data_size": 1.5}, r"w.binary_data_size: expected an integer in \[0, .* got 1.5"),
        ({"binary_data_size": -1}, "w.binary_data_size: .* got -1"),
        ({"shared_memory_region": 1}, "w.shared_memory_region: expected a string, got 1"),
        ({"shared_memory_offset": -1}, "w.shared_memory_offset: .* got -1"),
        ({"shared_memory_byte_size": "1"}, 'w.shared_memory_byte_size: .* got "1"'),
        (1, "w: expected an object, got 1"),
    ],
)
def test_an_inputs_parameters_are_checked(given: Any, message: str) -> None:
    with pytest.raises(GatewayError, match=f"^{message}$"):
        of_input(given, "w")


def test_an_output_says_how_it_is_wanted() -> None:
    assert of_output("o", {}, "w") == RequestedOutput("o")
    assert of_output("o", {"binary_data": True}, "w") == RequestedOutput("o", None, True)
    assert of_output("o", {"binary_data": False, "classification": 3}, "w") == (
        RequestedOutput("o", {"classification": 3}, False)
    )
    assert of_output("o", {"shared_memory_region": "r"}, "w").parameters == {"shared_memory_region": "r"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classification": 0}, "w.classification: expected an integer > 0, got 0"),
        ({"classification": True}, "w.classification: expected an integer > 0, got true"),
        ({"classification": 2.0}, "w.classification: expected an integer > 0, got 2.0"),
        ({"binary_data": "yes"}, 'w.binary_data: expected true or false, got "yes"'),
    ],
)
def test_an_outputs_parameters_are_checked(given: Any, message: str) -> None:
    with pytest.raises(GatewayError, match=f"^{message}$"):
        of_output("o", given, "w")
