"""One document over HTTP, or from a file, for what the control of a policy needs: bounded in size and time, and from
nowhere else than the address that the operator wrote.

No redirect is followed, since where it leads is somebody else's choice; no proxy of the environment, no cookies.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

MOST_BYTES = 1024 * 1024
SECONDS = 5.0
_PIECE = 64 * 1024


class FetchFailed(Exception):
    """The document was not to be had; the text says why, and nothing of what was received."""


async def fetch(url: str, ca: str = "", *, most_bytes: int = MOST_BYTES, seconds: float = SECONDS) -> bytes:
    """The body of a 200 to a GET of `url`, within `seconds`. `ca` is a PEM file of who is trusted, instead of whom the
    system trusts. Raises `FetchFailed`."""
    import aiohttp  # ten megabytes of a worker that has nothing to fetch

    try:
        trust = ssl.create_default_context(cafile=ca) if ca else True
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=seconds), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            ) as session,
            session.get(url, allow_redirects=False, ssl=trust) as response,
        ):
            if response.status != 200:
                raise FetchFailed(f"answered {response.status}")
            return await _body(response, most_bytes)
    except TimeoutError:
        raise FetchFailed(f"no answer within {seconds:g} s") from None
    except aiohttp.ClientResponseError as error:
        raise FetchFailed(type(error).__name__) from None  # its text has what was received
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchFailed(f"{type(error).__name__}: {error}") from error


async def read_file(path: Path) -> bytes:
    """What is in the file, read in a thread. Raises `FetchFailed`."""
    return await asyncio.to_thread(_read, path)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            document = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise FetchFailed(str(error)) from error
    if len(document) > MOST_BYTES:
        raise FetchFailed(f"more than {MOST_BYTES} bytes")
    return document


async def _body(response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(_PIECE):
        body += piece
        if len(body) > most_bytes:
            raise FetchFailed(f"more than {most_bytes} bytes")
    return bytes(body)
