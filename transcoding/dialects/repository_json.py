"""The model repository extension over REST: index, load and unload."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from transcoding.dialects.json_fields import Fields, parse
from transcoding.dialects.oip_messages import message_class
from transcoding.dialects.oip_paths import Match
from transcoding.message import Content
from transcoding.status import Code, GatewayError, invalid

FILE_NAME_LETTERS = 200
"""Longest name of a file that a load may override: one of 256 letters ends a Triton 2.51."""


def fill_index(request: Any, match: Match, body: Content) -> None:
    """Fill a `RepositoryIndexRequest` from `{"ready": bool}` or nothing.

    The repository's name is left out, as Triton's REST front end does.
    """
    fields = parse(body) if body else Fields({})
    request.ready = "ready" in fields and fields.boolean("ready")


def index(reply: Any) -> list[dict[str, str]]:
    """A `RepositoryIndexResponse`: a model that was never loaded has only its name."""
    keys = ("version", "state", "reason")
    return [
        {"name": model.name} | {key: text for key in keys if (text := getattr(model, key))} for model in reply.models
    ]


def fill_load(request: Any, match: Match, body: Content) -> None:
    """Fill a `RepositoryModelLoadRequest` from `{"parameters": {"config": text, "file:<path>": base64}}` or nothing."""
    request.repository_name, request.model_name = match.repository, match.model
    fields = _parameters(body)
    for key in fields.value:
        if key == "config":
            request.parameters[key].string_param = fields.text(key)
        elif key.startswith("file:"):
            request.parameters[key].bytes_param = fields.base64(key)
        else:
            raise invalid(f'{fields.at(key)}: unknown, expected "config" or "file:<path>"')
    _check_files(request)


def check_load(message: bytes) -> None:
    """Refuse a `RepositoryModelLoadRequest` whose file names harm a Triton. `message` is the protobuf of a gRPC call.

    Raises `GatewayError` for such a name, and INVALID_ARGUMENT for bytes that are no such message.
    """
    try:
        request = message_class("RepositoryModelLoadRequest").FromString(message)
    except DecodeError:
        raise invalid("malformed protobuf message") from None
    _check_files(request)


def fill_unload(request: Any, match: Match, body: Content) -> None:
    """Fill a `RepositoryModelUnloadRequest` from `{"parameters": {"unload_dependents": bool}}` or nothing."""
    request.repository_name, request.model_name = match.repository, match.model
    fields = _parameters(body)
    if "unload_dependents" in fields:
        request.parameters["unload_dependents"].bool_param = fields.boolean("unload_dependents")


def _parameters(body: Content) -> Fields:
    fields = parse(body) if body else Fields({})
    return fields.fields("parameters") if "parameters" in fields else Fields({}, "parameters")


def _check_files(request: Any) -> None:
    """The code and the text are what clients of Triton look for: its own answer to a name that no file can have."""
    for key in request.parameters:
        parts = key.removeprefix("file:").split("/")
        if len(key) > FILE_NAME_LETTERS:
            reason = f"a parameter's name is longer than {FILE_NAME_LETTERS} letters"
        elif key.startswith("file:") and (".." in parts or "\0" in key):
            reason = f"parameters.{key!r}: expected a path inside of the model's directory"
        else:
            continue
        message = f"failed to load '{request.model_name}', failed to poll from model repository: {reason}"
        raise GatewayError(Code.INTERNAL, message, http_status=400)
