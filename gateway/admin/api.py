"""The admin port: `/healthz`, `/readyz`, `/metrics`, `/v1/fleet` and `/v1/explain`, on aiohttp.

On a loopback address the Host header must name the loopback: a web page can make a browser send requests to 127.0.0.1
under its own name (DNS rebinding), but not under another.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware

if TYPE_CHECKING:
    from gateway.explain import Question

_log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 1.0
PATHS = {
    "/healthz": "200 while this process runs",
    "/readyz": "200 when the gateway takes traffic, else 503 and what is missing",
    "/metrics": "Prometheus text, or OpenMetrics if the Accept header asks for it",
    "/v1/explain": "where a request goes and why: ?model=NAME, and if wanted version, header=NAME:VALUE (repeated), "
    "api=rest|grpc, method=infer|stream|generate, principal, address",
    "/v1/fleet": "the live state of all endpoints and their models; ?pool=NAME and ?model=NAME narrow it",
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Source(Protocol):
    """What the admin port shows: `gateway.control.plane.Plane`."""

    def missing(self) -> list[str]:
        """Why the gateway is not ready; empty if it is."""

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """The exposition and its content type."""

    def explain(self, question: Question) -> dict[str, Any]:
        """Where a request goes and why, as JSON."""

    def fleet_view(self, pool: str, model: str) -> dict[str, Any]:
        """The live state of the endpoints, as JSON; of one pool or model if they are not ""."""


def application(source: Source, hosts: frozenset[str] | None = None) -> web.Application:
    """The routes. `hosts` are the names, without port, that the Host header may have; None allows any."""

    async def healthz(request: web.Request) -> web.Response:
        return _json(200, {"status": "ok"})

    async def readyz(request: web.Request) -> web.Response:
        missing = source.missing()
        return _json(503 if missing else 200, {"ready": not missing, "missing": missing})

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = source.metrics(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def fleet(request: web.Request) -> web.Response:
        return _json(200, source.fleet_view(request.query.get("pool", ""), request.query.get("model", "")))

    async def explain(request: web.Request) -> web.Response:
        return _json(200, source.explain(question_of(request)))

    app = web.Application(middlewares=[_errors_as_json, _host_guard(hosts)])
    app.on_response_prepare.append(_hide_server)
    pages = (
        ("/healthz", healthz),
        ("/readyz", readyz),
        ("/metrics", metrics),
        ("/v1/fleet", fleet),
        ("/v1/explain", explain),
    )
    app.add_routes([web.get(path, page) for path, page in pages])
    return app


def question_of(request: web.Request) -> Question:
    """The request that the query describes. Raises `HTTPBadRequest` that names the parameter."""
    from gateway.explain import Question, headers_of

    query = request.query
    choices = {"api": ("rest", "grpc"), "method": ("infer", "stream", "generate")}
    for name in query:
        if name not in ("model", "version", "header", "principal", "address", *choices):
            raise web.HTTPBadRequest(reason=f"{name}: there is no such parameter")
    if not query.get("model"):
        raise web.HTTPBadRequest(reason="model: expected the name of a model")
    chosen = {}
    for name, allowed in choices.items():
        chosen[name] = query.get(name, allowed[0])
        if chosen[name] not in allowed:
            raise web.HTTPBadRequest(reason=f"{name}: expected one of {', '.join(allowed)}")
    try:
        headers = headers_of(query.getall("header", []))
    except ValueError as error:
        raise web.HTTPBadRequest(reason=" ".join(str(error).split())) from error
    return Question(
        query["model"],
        query.get("version", ""),
        headers,
        principal=query.get("principal", ""),
        address=query.get("address", ""),
        **chosen,
    )


class AdminServer:
    """Serves `source` at `address`: `host:port`, `[v6]:port` or `unix:/path`."""

    def __init__(self, address: str, source: Source) -> None:
        self._address = address
        self._source = source
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen; `url` then tells where. Raises `OSError`."""
        path = self._address.removeprefix("unix:")
        host, port = ("", 0) if path != self._address else split_address(self._address)
        runner = web.AppRunner(
            application(self._source, allowed_hosts(host)), access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT
        )
        await runner.setup()
        self._runner = runner
        if path != self._address:
            await web.UnixSite(runner, path).start()
            self.url = self._address
        else:
            await web.TCPSite(runner, host or None, port).start()
            self.url = f"http://{_bound(runner)}"

    async def close(self) -> None:
        """Stop listening and close all connections."""
        if self._runner is not None:
            await self._runner.cleanup()


def split_address(address: str) -> tuple[str, int]:
    """`host:port` in its parts, brackets of IPv6 removed. Raises `ValueError` if the port is no number."""
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def allowed_hosts(host: str) -> frozenset[str] | None:
    """Names that the Host header may have on a listener bound to `host`: None, meaning any, unless it is loopback."""
    if host == "localhost" or _is_loopback(host):
        return frozenset({"localhost", "127.0.0.1", "::1", host})
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bound(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body) + b"\n", content_type="application/json")


@web.middleware
async def _errors_as_json(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return _json(404, {"error": "there is no such path", "paths": PATHS})
    except web.HTTPException as error:
        response = _json(error.status, {"error": error.reason})
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


def _host_guard(hosts: frozenset[str] | None) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if hosts is not None and _host_name(request.headers.get("Host", "localhost")) not in hosts:
            return _json(403, {"error": "the Host header does not name this listener"})
        return await handler(request)

    return guard


def _host_name(host: str) -> str:
    """The Host header without its port, in lower case, brackets of IPv6 removed."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().removesuffix(".")


async def _hide_server(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Server", None)
