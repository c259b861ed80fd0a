"""Where shared state is kept, as an operator writes it.

    embedded                                        a private valkey-server of the gateway's own
    none                                            nowhere
    redis://[user@]host[:port][/database]           rediss:// with TLS
    unix:/path[?db=database]                        unix:///path does the same
    redis+sentinel://[user@]host[:port],…/service[/database]
    redis+cluster://[user@]host[:port],…            rediss+… with TLS

A password has no place in it: it would end in logs, process lists and repositories.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from config.addresses import split_address
from config.problems import quote

EXPECTED = "embedded, none, or the URL of a Redis such as redis://host:6379/0, unix:/path or redis+cluster://a,b"

_URL = re.compile(r"(rediss?)(?:\+(sentinel|cluster))?://(?:([^@/]*)@)?([^@/?#]+)((?:/[^?#]*)?)")
_UNIX = re.compile(r"unix:(?://)?(/[^?#]+)(?:\?db=([0-9]{1,5}))?")
_PORTS = {None: 6379, "sentinel": 26379, "cluster": 6379}
_MOST_DATABASES = 65535


Form = Literal["embedded", "none", "server", "sentinel", "cluster"]


class StoreUrl(NamedTuple):
    """Its parts. `addresses` are host and port of a server, of sentinels, or of members of a cluster."""

    form: Form
    tls: bool = False
    user: str = ""
    addresses: tuple[tuple[str, int], ...] = ()
    path: str = ""
    service: str = ""
    database: int = 0


_WORDS = {"embedded": StoreUrl("embedded"), "none": StoreUrl("none")}
_FORMS: dict[str | None, Form] = {None: "server", "sentinel": "sentinel", "cluster": "cluster"}


def parse_store(text: str) -> StoreUrl:
    """The parts of one of the forms above. Raises ValueError, whose message says what was expected, without the text
    where that may have a password in it."""
    if text in _WORDS:
        return _WORDS[text]
    if (match := _UNIX.fullmatch(text)) is not None:
        return StoreUrl("server", path=match[1], database=_database(match[2] or "0"))
    if "@" in text and ":" in text.rpartition("@")[0].partition("://")[2]:
        raise ValueError("expected a URL without a password; name it with password_file or password_env")
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError(f"expected {EXPECTED}" + ("" if set(text) & set("@?") else f", got {quote(text)}"))
    scheme, form, user, hosts, rest = match.groups()
    addresses = tuple(_address(host, _PORTS[form]) for host in hosts.split(","))
    parts = [part for part in rest.split("/") if part]
    service = parts.pop(0) if form == "sentinel" and parts else ""
    _check(form, addresses, service, parts)
    return StoreUrl(
        _FORMS[form], scheme == "rediss", user or "", addresses, "", service, _database(parts[0] if parts else "0")
    )


def check_store(text: str) -> str:
    """`text`, where it is one of the forms above. Raises ValueError."""
    parse_store(text)
    return text


def _check(form: str | None, addresses: tuple[tuple[str, int], ...], service: str, rest: list[str]) -> None:
    if form is None and len(addresses) > 1:
        several = "redis+sentinel:// or redis+cluster://"
        raise ValueError(f"expected one server, got {len(addresses)}; several are written {several}")
    if form == "sentinel" and not service:
        raise ValueError("expected the name of the service after the sentinels, such as /state")
    if form == "cluster" and rest:
        raise ValueError(f"expected nothing after the members, as a cluster has one database, got {quote(rest[0])}")
    if len(rest) > 1:
        raise ValueError(f"expected nothing after the database, got {quote(rest[1])}")


def _address(text: str, port: int) -> tuple[str, int]:
    has_port = re.search(r":[0-9]+$", text) and (text.startswith("[") or text.count(":") == 1)
    return split_address(text if has_port else f"{text}:{port}", "host:6379")


def _database(text: str) -> int:
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > _MOST_DATABASES:
        raise ValueError(f"expected the number of a database, got {quote(text)}")
    return int(text)
