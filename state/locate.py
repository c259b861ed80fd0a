"""Where a server is now: where the configuration says, or where the sentinels say that the master is."""

from __future__ import annotations

from typing import Any

from state import StateError
from state.connection import Connection, connect
from state.settings import Address, Settings


async def reach(settings: Settings) -> Connection:
    """A connection to where the server is now. Raises `StateError`."""
    return await connect(settings, await locate(settings))


async def locate(settings: Settings) -> Address | None:
    """The address; None for the Unix socket of the settings. Raises `StateError`."""
    if settings.form != "sentinel":
        return settings.addresses[0] if settings.addresses else None
    from redis.asyncio.sentinel import Sentinel  # 10 MB that only those pay who use it
    from redis.exceptions import RedisError

    timeout = settings.connect_timeout
    options = {"socket_timeout": timeout, "socket_connect_timeout": timeout, **tls_options(settings)}
    sentinel = Sentinel(list(settings.addresses), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    try:
        host, port = await sentinel.discover_master(settings.service)
    except (RedisError, OSError) as error:
        raise StateError(f"no sentinel knows the master of {settings.service!r}: {error}", "down") from error
    finally:
        for client in sentinel.sentinels:
            await client.aclose()
    return str(host), int(port)


def tls_options(settings: Settings) -> dict[str, Any]:
    """TLS as redis-py calls it."""
    tls = settings.tls
    if tls is None:
        return {}
    given = {"ssl_ca_certs": tls.ca, "ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
    return {"ssl": True, **{name: value for name, value in given.items() if value}}
