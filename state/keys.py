"""API keys: how one is written, what is kept of it, and whether what a caller shows is one.

A key is `psk_<id>_<secret>_<check>`: 12 characters by which it is found, 43 that only its holder has (256 bits), and 6
of CRC-32, by which scanners of repositories and logs tell a key from chance. Letters and digits only, so that a double
click selects it all. Of the secret only its SHA-256 is kept: a random 256 bits need no slow hash, as nobody can guess
them however fast the hash is.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Final, Literal, NamedTuple, Protocol
from zlib import crc32

import msgspec

PREFIX: Final = "psk"
ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 43
CHECK_LENGTH: Final = 6
LENGTH: Final = len(PREFIX) + ID_LENGTH + SECRET_LENGTH + CHECK_LENGTH + 3
_BEGINS: Final = f"{PREFIX}_".encode()
_ID_AT: Final = len(_BEGINS)
_SECRET_AT: Final = _ID_AT + ID_LENGTH + 1
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Standing = Literal["valid", "early", "expired", "revoked"]


class KeyRecord(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a key. `id` is public; `name` is for people; `principal` is whom it makes its caller, which
    several keys may share, and `tenant` whom that belongs to, "" for none. Times are seconds since 1970, 0 for never
    or from ever on. `limits` are rates by the name of a rate_limit policy, such as {"per_user": "50/s"}. `digest` is
    the SHA-256 of the secret, 32 bytes. `replaces` is the id of the key that it took the place of."""

    id: str
    digest: bytes
    principal: str
    name: str = ""
    tenant: str = ""
    scopes: tuple[str, ...] = ()
    created: float = 0.0
    not_before: float = 0.0
    expires: float = 0.0
    revoked: float = 0.0
    limits: dict[str, str] = {}
    replaces: str = ""

    def __repr__(self) -> str:
        return f"KeyRecord(id={self.id!r}, principal={self.principal!r}, tenant={self.tenant!r})"


class KeyRing(Protocol):
    """The keys that there are, in memory: whoever asks waits for nothing."""

    @property
    def known(self) -> bool:
        """Whether the keys were ever read. While they were not, no answer says that there is no such key."""
        ...

    def find(self, id: str) -> KeyRecord | None:
        """The key with this id, valid or not."""
        ...


class Keys:
    """A `KeyRing` over a mapping that its owner changes."""

    def __init__(self, records: Mapping[str, KeyRecord] | None = None) -> None:
        self.records = dict(records or {})
        self.known = records is not None

    def find(self, id: str) -> KeyRecord | None:
        """The key with this id, valid or not."""
        return self.records.get(id)


class Minted(NamedTuple):
    """A new key: `text` is what its holder gets, shown once; `digest` is what is kept."""

    id: str
    text: str
    digest: bytes

    def __repr__(self) -> str:
        return f"Minted(id={self.id!r})"


class Shown(NamedTuple):
    """What a caller showed, in its parts; that it is well written says nothing of whether it is a key."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Shown(id={self.id!r})"


def mint() -> Minted:
    """A new key, from the system's source of randomness."""
    id = "".join(secrets.choice(_DIGITS) for _ in range(ID_LENGTH))
    secret = _base62(secrets.randbits(256), SECRET_LENGTH)
    text = f"{PREFIX}_{id}_{secret}"
    return Minted(id, f"{text}_{_check(text)}", digest_of(secret.encode()))


def read(text: str) -> Shown | None:
    """The parts of what a caller showed as a key, or None for what cannot be one. Costs a microsecond."""
    if len(text) != LENGTH or not text.isascii():
        return None
    head, _, check = text.rpartition("_")
    parts = head.split("_")
    if len(parts) != 3 or parts[0] != PREFIX or len(parts[1]) != ID_LENGTH or check != _check(head):
        return None
    return Shown(parts[1], parts[2].encode())


def parts(shown: bytes) -> Shown | None:
    """The same at a quarter of the cost, without looking at the check: for the path of a request, where a key with a
    slip is refused like any that is wrong."""
    if len(shown) != LENGTH or shown[:_ID_AT] != _BEGINS or shown[_SECRET_AT - 1] != 0x5F or not shown.isascii():
        return None
    id, secret = shown[_ID_AT : _SECRET_AT - 1].decode("ascii"), shown[_SECRET_AT : _SECRET_AT + SECRET_LENGTH]
    return tuple.__new__(Shown, (id, secret))  # `Shown(...)` goes through a Python function, at three times the cost


def digest_of(secret: bytes) -> bytes:
    """What is kept of a secret: 32 bytes."""
    return sha256(secret).digest()


_NO_DIGEST: Final = bytes(32)


def verify(record: KeyRecord | None, secret: bytes, now: float) -> bool:
    """Does this secret open that key at `now`, in seconds since 1970? Without a record it takes as long and is False,
    so that time does not tell which ids there are."""
    same = compare_digest(record.digest if record is not None else _NO_DIGEST, digest_of(secret))
    return same and record is not None and standing(record, now) == "valid"


def standing(record: KeyRecord, now: float) -> Standing:
    """Whether a key may be used at `now`, and why not; to be told to nobody who did not show its secret."""
    if record.revoked:
        return "revoked"
    if record.not_before > now:
        return "early"
    return "expired" if record.expires and record.expires <= now else "valid"


def _check(text: str) -> str:
    return _base62(crc32(text.encode()), CHECK_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
