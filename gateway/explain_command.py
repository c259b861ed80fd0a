"""`penstock explain`: asks a file, or the admin port of a running gateway, and prints the answer for people."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from config.schema import Config
from gateway.explain import Question, explain, headers_of

ADMIN_TIMEOUT = 5.0
SAME = ("route", "decided_by", "pool", "asks_for", "policies")


class ExplainError(Exception):
    """There is no answer: the text is for stderr."""


def question_of(options: argparse.Namespace) -> Question:
    """The request that the arguments describe. Raises `ExplainError`."""
    try:
        headers = headers_of(options.header)
    except ValueError as error:
        raise ExplainError(str(error)) from error
    return Question(
        options.model, options.version or "", headers, options.api, options.method, options.principal, options.address
    )


def from_file(config: Config, options: argparse.Namespace) -> dict[str, Any]:
    """What a gateway with this configuration would do. Raises `ExplainError`."""
    return explain(config, question_of(options))


def from_admin(options: argparse.Namespace) -> dict[str, Any]:
    """What the gateway with this admin port does. Raises `ExplainError`."""
    question_of(options)
    names = ("model", "version", "api", "method", "principal", "address")
    query = [(name, getattr(options, name)) for name in names if getattr(options, name)]
    query += [("header", line) for line in options.header]
    return asyncio.run(_ask(options.live, urlencode(query)))


async def _ask(admin: str, query: str) -> dict[str, Any]:
    path = admin.removeprefix("unix:")
    connector = aiohttp.UnixConnector(path) if path != admin else None
    base = "http://localhost" if path != admin else admin if "://" in admin else f"http://{admin}"
    timeout = aiohttp.ClientTimeout(total=ADMIN_TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.get(f"{base.rstrip('/')}/v1/explain?{query}") as answer,
        ):
            body: dict[str, Any] = orjson.loads(await answer.read())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ExplainError(f"admin port {admin}: {error or type(error).__name__}") from error
    if answer.status != 200:
        raise ExplainError(f"admin port {admin}: {body.get('error', f'status {answer.status}')}")
    return body


def differs(told: Mapping[str, Any], file: Mapping[str, Any]) -> bool:
    """Does the file decide otherwise than the gateway? What chance decides, or only endpoints tell, does not count."""
    names = [name for name in SAME if name != "decided_by" or not (told.get(name) or {}).get("by_chance")]
    if (told.get("decided_by") or {}).get("by_chance"):
        names = ["route", "policies"]
    return any(_comparable(told, name) != _comparable(file, name) for name in names)


def _comparable(told: Mapping[str, Any], name: str) -> Any:
    value = told.get(name)
    if name == "asks_for" and value is not None and value["because"] == "latest":
        return value["model"]
    return value


# for people -----------------------------------------------------------------------------------------------------------


def render(told: Mapping[str, Any]) -> str:
    """The answer in lines."""
    return "\n".join(_lines(told)) + "\n"


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"model       {told['model']}"
    route = told["route"]
    if route is None:
        yield f"answer      {told['error']} (no route takes it)"
        return
    yield f"route       {route['name']} (routes[{route['position']}], model: {', '.join(route['match'])})"
    for rule in told["rules"]:
        verdict = "holds" if rule["holds"] else "does not hold"
        yield f"rule        {rule['name']}: {' and '.join(rule['when'])}: {verdict}"
    yield f"decided by  {_decided(told)}"
    asked = told["asks_for"]
    version = f"version {asked['version']}" if asked["version"] else "no version"
    yield f"asks for    {asked['model']}, {version} ({asked['because']})"
    for number, each in enumerate(told["policies"]):
        yield f"policy {number + 1:<4} {_policy(each)}"
    if told["timeout_seconds"] is not None:
        yield f"timeout     {told['timeout_seconds']:g} s"
    yield f"pool        {told['pool']}, picks by {told['pick']['kind']}"
    for each in told["candidates"] or ():
        yield f"candidate   {_candidate(each)}"
    for each in told["others"] or ():
        yield f"no          {each['address']}: {each['why']}"
    if told["error"]:
        yield f"answer      {told['error']}"
    elif not told["live"]:
        yield "endpoints   not looked at: --live ADMIN asks a running gateway"


def _decided(told: Mapping[str, Any]) -> str:
    by = told["decided_by"]
    if by["kind"] == "rule":
        return f"rule {by['name']}"
    if by["kind"] == "to":
        return "the route's `to`"
    weights = ", ".join(f"{name} {weight}" for name, weight in by["weights"].items())
    how = "by chance, the request has no key" if by["by_chance"] else f"of {by['sticky']} {by['key']!r}"
    return f"bucket {by['bucket']} of {by['of']} ({how}): variant {told['variant']} (weights: {weights})"


def _policy(each: Mapping[str, Any]) -> str:
    name = f" {each['name']}" if each["name"] else ""
    options = ", ".join(f"{key}: {value}" for key, value in each["options"].items())
    return f"{each['kind']}{name}" + (f" ({options})" if options else "")


def _candidate(each: Mapping[str, Any]) -> str:
    notes = [f"expected wait {each['expected_wait_seconds'] * 1e3:.3g} ms", f"{each['in_flight']} in flight"]
    if each["weight"] != 1.0:
        notes.append(f"weight {each['weight']:g}")
    if each["workers_that_pass_over"]:
        notes.append(f"{each['workers_that_pass_over']:g} workers pass over it for failures")
    if each["connections"] == 0:
        notes.append("no connection")
    if not each["inventory_known"]:
        notes.append("its models are not known yet")
    return f"{each['address']}: {', '.join(notes)}"
