"""Trace and log settings over REST."""

from __future__ import annotations

from typing import Any

from transcoding.dialects.json_fields import Fields, kind, parse
from transcoding.dialects.oip_paths import Match
from transcoding.message import Content
from transcoding.status import invalid

_TRACE_ORDER = ("trace_level", "trace_rate", "trace_count", "log_frequency", "trace_file", "trace_mode")
_TRACE_NUMBERS = ("trace_rate", "trace_count", "log_frequency")
_LOG_ORDER = ("log_file", "log_info", "log_warning", "log_error", "log_verbose_level", "log_format")
_LOG_FORMATS = ("default", "ISO8601")
_INT32_MAX = 2**31 - 1


def fill_trace(request: Any, match: Match, body: Content) -> None:
    """Fill a `TraceSettingRequest` that changes nothing."""
    request.model_name = match.model


def fill_trace_update(request: Any, match: Match, body: Content) -> None:
    """Fill a `TraceSettingRequest` from the body; null clears a setting. Keys that are no setting are ignored."""
    request.model_name = match.model
    fields = parse(body)
    for key in _TRACE_ORDER[:-1]:
        if key in fields:
            request.settings[key].value.extend(_trace_values(fields, key))


def _trace_values(fields: Fields, key: str) -> list[str]:
    """The strings of one setting; none for null, which clears it."""
    value = fields.raw(key)
    if value is None:
        return []
    if key != "trace_level":
        return [fields.text(key)]
    if not isinstance(value, list):
        raise fields.wrong(key, "an array of strings or null")
    for index, level in enumerate(value):
        if not isinstance(level, str):
            raise invalid(f"{key}[{index}]: expected a string, got {kind(level)}")
    return value


def trace(reply: Any) -> dict[str, str | list[str]]:
    """A `TraceSettingResponse`: levels are a list, all else is one string."""
    keys = [key for key in _TRACE_ORDER if key in reply.settings]
    keys += sorted(set(reply.settings) - set(keys))
    return {key: _trace_setting(key, list(reply.settings[key].value)) for key in keys}


def _trace_setting(key: str, values: list[str]) -> str | list[str]:
    return values if key == "trace_level" or len(values) != 1 else values[0]


def fill_log_update(request: Any, match: Match, body: Content) -> None:
    """Fill a `LogSettingsRequest` from the body. Nulls and keys that are no setting are ignored."""
    fields = parse(body)
    for key in _LOG_ORDER:
        if fields.value.get(key) is not None:
            _set_log(request.settings[key], fields, key)


def _set_log(setting: Any, fields: Fields, key: str) -> None:
    if key == "log_verbose_level":
        setting.uint32_param = fields.natural(key, _INT32_MAX)
    elif key == "log_format":
        setting.string_param = fields.text(key)
        if setting.string_param not in _LOG_FORMATS:
            raise invalid(f"{key}: expected one of {', '.join(_LOG_FORMATS)}, got {setting.string_param!r}")
    elif key == "log_file":
        setting.string_param = fields.text(key)
    else:
        setting.bool_param = fields.boolean(key)


def log(reply: Any) -> dict[str, Any]:
    """A `LogSettingsResponse`."""
    keys = [key for key in _LOG_ORDER if key in reply.settings]
    keys += sorted(set(reply.settings) - set(keys))
    return {key: _log_setting(reply.settings[key]) for key in keys}


def _log_setting(setting: Any) -> Any:
    choice = setting.WhichOneof("parameter_choice")
    return getattr(setting, choice) if choice else None
