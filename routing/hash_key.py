"""What a pool that hashes must be told of a request by those who still see all of it: a header, or the tensors.

The rest of what a picker may hash is in the `Call`, and nothing of this is asked for where no picker wants it.
"""

from __future__ import annotations

from collections.abc import Mapping

from config.headers import HEADER_KEY
from transcoding.message import Buffer, InferRequest
from transcoding.tensor_digest import digest_message, digest_request


class HashKey:
    """Finds `Call.hash_key`. `varies` says that requests of one stream may differ in it."""

    varies = False

    def of(self, headers: Mapping[bytes, bytes], request: InferRequest | Buffer) -> bytes:
        """The key, b"" when the request has none. `headers` have lower-case names; `request` is the hub's form of an
        inference or its ModelInferRequest, without a prefix."""
        raise NotImplementedError


class HeaderHash(HashKey):
    """The value of a header, or of gRPC metadata."""

    def __init__(self, name: str) -> None:
        self._name = name.lower().encode()

    def of(self, headers: Mapping[bytes, bytes], request: InferRequest | Buffer) -> bytes:
        """The value; an empty one is none."""
        return headers.get(self._name, b"")


class BodyHash(HashKey):
    """The tensors."""

    varies = True

    def of(self, headers: Mapping[bytes, bytes], request: InferRequest | Buffer) -> bytes:
        """Their digest."""
        return digest_request(request) if isinstance(request, InferRequest) else digest_message(request)


def hash_key(wants: str) -> HashKey | None:
    """What finds the key that a picker `wants`, None where it needs nothing beside the `Call`."""
    if wants.startswith(HEADER_KEY):
        return HeaderHash(wants.removeprefix(HEADER_KEY))
    return BodyHash() if wants == "body" else None
