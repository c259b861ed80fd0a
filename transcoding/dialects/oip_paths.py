"""The paths of Triton's REST API: which operation a method and a path name.

The grammar is that of the regular expressions in Triton's http_server.cc (`HTTPAPIServer::HTTPAPIServer` and `Handle`).
As there, the query string is ignored and nothing is percent-decoded, so a name with `%` is looked up as it stands.
Stricter than there: names that no model can have, and versions written with leading zeros, are refused.
"""

from __future__ import annotations

from typing import NamedTuple

from transcoding.methods import ApiClass
from transcoding.status import Code, GatewayError, invalid

NAME_BYTES = 255
"""Longest name of a model, repository or region: models are directories, and file systems allow this much."""
CACHED_ROUTES = 4096
_INT64_MAX = 2**63 - 1


class Match(NamedTuple):
    """What a request line asks for. `region` is a shared memory region, `repository` a repository's name."""

    operation: str
    api: ApiClass
    model: str = ""
    version: str = ""
    region: str = ""
    repository: str = ""


class MethodNotAllowed(GatewayError):
    """HTTP 405; `allow` is the value of the `Allow` header that goes with it."""

    def __init__(self, methods: list[bytes]) -> None:
        super().__init__(Code.UNIMPLEMENTED, "Method Not Allowed", http_status=405)
        self.allow = b", ".join(sorted(methods))


class _Names(NamedTuple):
    """The variable parts of a path, as bytes."""

    model: bytes = b""
    version: bytes = b""
    region: bytes = b""
    repository: bytes = b""


_Resource = tuple[dict[bytes, str], ApiClass]


def _get(operation: str, api: ApiClass) -> _Resource:
    return {b"GET": operation, b"HEAD": operation}, api


def _post(operation: str, api: ApiClass) -> _Resource:
    return {b"POST": operation}, api


def _both(read: str, update: str, api: ApiClass) -> _Resource:
    return {b"GET": read, b"HEAD": read, b"POST": update}, api


_TRACE = _both("trace_settings", "trace_update", "trace")
_FIXED: dict[bytes, _Resource] = {
    b"/v2": _get("server_metadata", "metadata"),
    b"/v2/health/live": _get("server_live", "metadata"),
    b"/v2/health/ready": _get("server_ready", "metadata"),
    b"/v2/models/stats": _get("model_statistics", "statistics"),
    b"/v2/logging": _both("log_settings", "log_update", "logging"),
    b"/v2/trace/setting": _TRACE,
}
_MODEL: dict[bytes, _Resource] = {
    b"": _get("model_metadata", "metadata"),
    b"ready": _get("model_ready", "metadata"),
    b"config": _get("model_config", "metadata"),
    b"stats": _get("model_statistics", "statistics"),
    b"infer": _post("infer", "inference"),
    b"generate": _post("generate", "inference"),
    b"generate_stream": _post("generate_stream", "inference"),
}
_INDEX = _post("repository_index", "repository")
_CONTROL: dict[bytes, _Resource] = {
    b"load": _post("model_load", "repository"),
    b"unload": _post("model_unload", "repository"),
}
_SHARED_MEMORY: dict[tuple[bytes, bytes], _Resource] = {
    (b"systemsharedmemory", b"status"): _get("system_shared_memory_status", "shared_memory"),
    (b"systemsharedmemory", b"register"): _post("system_shared_memory_register", "shared_memory"),
    (b"systemsharedmemory", b"unregister"): _post("system_shared_memory_unregister", "shared_memory"),
    (b"cudasharedmemory", b"status"): _get("cuda_shared_memory_status", "shared_memory"),
    (b"cudasharedmemory", b"register"): _post("cuda_shared_memory_register", "shared_memory"),
    (b"cudasharedmemory", b"unregister"): _post("cuda_shared_memory_unregister", "shared_memory"),
}

_cache: dict[tuple[bytes, bytes], Match] = {}


def route(method: bytes, path: bytes) -> Match | GatewayError:
    """The operation that an HTTP method and a path, with or without a query string, ask for; or the error to answer.

    HEAD is allowed where GET is. Errors: 404 for no such path, 405 (`MethodNotAllowed`), 400 for a name or a version
    that cannot be.
    """
    if b"?" in path:
        path = path.partition(b"?")[0]
    match = _cache.get((method, path))
    if match is None:
        try:
            match = _resolve(method, path)
        except GatewayError as error:
            return error
        if len(_cache) >= CACHED_ROUTES:
            _cache.clear()
        _cache[method, path] = match
    return match


def _resolve(method: bytes, path: bytes) -> Match:
    found = _find(path)
    if found is None:
        raise GatewayError(Code.NOT_FOUND, "Not Found")
    (operations, api), names = found
    operation = operations.get(method)
    if operation is None:
        raise MethodNotAllowed(list(operations))
    return Match(
        operation,
        api,
        model=_name(names.model, "model name"),
        version=_version(names.version),
        region=_name(names.region, "region name"),
        repository=_name(names.repository, "repository name"),
    )


def _find(path: bytes) -> tuple[_Resource, _Names] | None:
    fixed = _FIXED.get(path)
    if fixed is not None:
        return fixed, _Names()
    if not path.startswith(b"/v2/"):
        return None
    folder, *rest = path[4:].split(b"/")
    if b"" in rest:
        return None
    if folder == b"models":
        return _find_model(rest)
    if folder == b"repository":
        return _find_repository(rest)
    return _find_region(folder, rest)


def _find_model(parts: list[bytes]) -> tuple[_Resource, _Names] | None:
    """`{model}[/versions/{digits}][/action]`"""
    model, *rest = parts or [b""]
    version = b""
    if len(rest) >= 2 and rest[0] == b"versions":
        version = rest[1]
        if not version.isdigit():
            return None
        rest = rest[2:]
    if rest == [b"trace", b"setting"] and not version:
        return _TRACE, _Names(model=model)
    if not model or len(rest) > 1:
        return None
    resource = _MODEL.get(rest[0] if rest else b"")
    return resource and (resource, _Names(model=model, version=version))


def _find_repository(parts: list[bytes]) -> tuple[_Resource, _Names] | None:
    """`[{repository}/]index` or `[{repository}/]models/{model}/(load|unload)`"""
    if parts[-1:] == [b"index"] and len(parts) <= 2:
        return _INDEX, _Names(repository=parts[0] if len(parts) == 2 else b"")
    if len(parts) not in (3, 4) or parts[-3] != b"models":
        return None
    resource = _CONTROL.get(parts[-1])
    return resource and (resource, _Names(model=parts[-2], repository=parts[0] if len(parts) == 4 else b""))


def _find_region(folder: bytes, parts: list[bytes]) -> tuple[_Resource, _Names] | None:
    """`[region/{region}/](status|register|unregister)`"""
    region = b""
    if len(parts) == 3 and parts[0] == b"region":
        region, parts = parts[1], parts[2:]
    resource = _SHARED_MEMORY.get((folder, parts[0])) if len(parts) == 1 else None
    return resource and (resource, _Names(region=region))


def _name(raw: bytes, what: str) -> str:
    """A name that a file system could hold, since a model's name is a directory's."""
    if not raw:
        return ""
    if len(raw) > NAME_BYTES:
        raise invalid(f"{what}: longer than {NAME_BYTES} bytes")
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise invalid(f"{what}: not UTF-8") from None
    if name in (".", "..") or "\\" in name or not name.isprintable():
        raise invalid(f"{what}: expected printable text without a path in it")
    return name


def _version(raw: bytes) -> str:
    """Digits as Triton reads them: a number that fits in int64."""
    version = raw.decode()
    if len(version) > 19 or int(version or "0") > _INT64_MAX:
        raise invalid(
            f"failed to get model version from specified version string '{version[:64]}' (details: stol), "
            "version should be an integral value > 0"
        )
    if len(version) > 1 and version[0] == "0":
        raise invalid(f"model version: expected no leading zeros, got '{version}'")
    return version
