"""The `parameters` objects of the Open Inference Protocol's JSON: which keys mean something, and of which type each is.

Rules of Triton's `ParseJsonTritonParams`: a custom parameter is a string, a boolean, an int64 or a double, and an
integer beyond int64 becomes a double; null, lists and objects are refused; keys that begin with `triton_` are reserved.
"""

from __future__ import annotations

from typing import Any

from transcoding.json_text import quote
from transcoding.message import Parameter, Parameters, RequestedOutput
from transcoding.status import invalid

MAX_PARAMETERS = 1024

_RESERVED = "parameter keys starting with 'triton_' are reserved for Triton usage and should not be specified."


def custom(name: str, value: Any) -> Parameter:
    """A parameter that only the model knows. Raises GatewayError (400) with Triton's texts."""
    if name.startswith("triton_"):
        raise invalid(_RESERVED)
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else float(value)
    if not isinstance(value, str | bool | float):
        raise invalid(f"parameter '{name}' has invalid type. It should be either 'int', 'bool', or 'string'.")
    return value


def _sequence_id(where: str, value: Any) -> Parameter:
    if type(value) is str or (type(value) is int and 0 <= value < 2**64):
        return value
    raise invalid(f"{where}: expected an unsigned 64-bit integer or a string, got {quote(value)}")


def _flag(where: str, value: Any) -> Parameter:
    if type(value) is not bool:
        raise invalid(f"{where}: expected true or false, got {quote(value)}")
    return value


def _unsigned(where: str, value: Any, limit: int) -> int:
    if type(value) is not int or not 0 <= value < limit:
        raise invalid(f"{where}: expected an integer in [0, {limit - 1}], got {quote(value)}")
    return value


_KNOWN = {
    "sequence_id": _sequence_id,
    "sequence_start": _flag,
    "sequence_end": _flag,
    "priority": lambda where, value: _unsigned(where, value, 2**64),
    "timeout": lambda where, value: _unsigned(where, value, 2**63),  # int64 is the only form that gRPC has for it
    "binary_data_output": _flag,
}


def of_request(parameters: Any) -> tuple[Parameters | None, bool]:
    """(what goes upstream, `binary_data_output`) of the request's parameters. Raises GatewayError (400)."""
    checked: Parameters = {}
    for name, value in _members(parameters, "parameters").items():
        known = _KNOWN.get(name)
        checked[name] = custom(name, value) if known is None else known(f"parameters.{name}", value)
    binary = checked.pop("binary_data_output", False) is True
    return checked or None, binary


def of_input(parameters: Any, where: str) -> tuple[Parameters | None, int | None]:
    """(what goes upstream, `binary_data_size`) of an input's parameters. Raises GatewayError (400)."""
    checked: Parameters = {}
    size: int | None = None
    for name, value in _members(parameters, where).items():
        if name == "binary_data_size":
            size = _unsigned(f"{where}.{name}", value, 2**63)
        else:
            checked[name] = _of_tensor(name, value, where)
    return checked or None, size


def of_output(name: str, parameters: Any, where: str) -> RequestedOutput:
    """A requested output with its parameters, `binary_data` taken out of them. Raises GatewayError (400)."""
    checked: Parameters = {}
    binary: bool | None = None
    for key, value in _members(parameters, where).items():
        if key == "binary_data":
            binary = _flag(f"{where}.{key}", value) is True
        elif key == "classification" and not (type(value) is int and 0 < value < 2**63):
            raise invalid(f"{where}.{key}: expected an integer > 0, got {quote(value)}")
        else:
            checked[key] = _of_tensor(key, value, where)
    return RequestedOutput(name, checked or None, binary)


def _of_tensor(name: str, value: Any, where: str) -> Parameter:
    if name == "shared_memory_region" and type(value) is not str:
        raise invalid(f"{where}.{name}: expected a string, got {quote(value)}")
    if name in ("shared_memory_offset", "shared_memory_byte_size"):
        return _unsigned(f"{where}.{name}", value, 2**63)
    return custom(name, value)


def _members(parameters: Any, where: str) -> dict[str, Any]:
    if type(parameters) is not dict:
        raise invalid(f"{where}: expected an object, got {quote(parameters)}")
    if len(parameters) > MAX_PARAMETERS:
        raise invalid(f"{where}: expected at most {MAX_PARAMETERS} members, got {len(parameters)}")
    return parameters
