"""I6: the time of a refusal tells neither which keys there are nor how much of a secret is right."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from policies.api_key import Policy, Spec
from state.keys import PREFIX, KeyRecord, Keys, digest_of, mint, parts
from tests.support.callers import a_call_with
from tests.support.policies import some_services
from tests.support.timing import equally_long
from transcoding.status import GatewayError

MARGIN = 0.08
KEYS = 1000


def checked(head: str) -> str:
    from state.keys import _check

    return f"{head}_{_check(head)}"


RING = Keys({minted.id: KeyRecord(minted.id, minted.digest, "p") for minted in (mint() for _ in range(KEYS))})
OURS = mint()
RING.records[OURS.id] = KeyRecord(OURS.id, OURS.digest, "alice")
SECRET = OURS.text.split("_")[2]
OTHER = mint().text.split("_")[2]

UNKNOWN = mint().text
NOTHING_RIGHT = checked(f"{PREFIX}_{OURS.id}_{OTHER}")
ALMOST_RIGHT = checked(f"{PREFIX}_{OURS.id}_{SECRET[:-1]}{'A' if SECRET[-1] != 'A' else 'B'}")


def refusing(policy: Policy, text: str) -> Callable[[], None]:
    """The work of refusing this key once."""
    call = a_call_with({"authorization": f"Bearer {text}"})

    def once() -> None:
        work: Coroutine[Any, Any, object] = policy.identify(call)
        try:
            work.send(None)
        except GatewayError:
            return
        raise AssertionError("let in")

    return once


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(Spec(), replace(some_services(), keys=RING))


def test_an_unknown_id_takes_as_long_as_a_wrong_secret(policy: Policy) -> None:
    assert equally_long(refusing(policy, UNKNOWN), refusing(policy, NOTHING_RIGHT), MARGIN)


def test_a_secret_that_is_almost_right_takes_as_long_as_any(policy: Policy) -> None:
    assert equally_long(refusing(policy, ALMOST_RIGHT), refusing(policy, NOTHING_RIGHT), MARGIN)


class Hasty(Policy):
    """What must not be: it looks no further once an id is unknown, and stops at the first letter that is wrong."""

    def _owner(self, shown: bytes) -> Any:
        key = parts(shown)
        assert key is not None
        if self._keys.find(key.id) is None:
            raise self._challenge.invalid("no")
        for mine, theirs in zip(SECRET.encode(), key.secret, strict=True):
            if mine != theirs:
                raise self._challenge.invalid("no")
        assert digest_of(key.secret)


@pytest.mark.parametrize(
    ("text", "other"), [(UNKNOWN, ALMOST_RIGHT), (ALMOST_RIGHT, NOTHING_RIGHT)], ids=["unknown", "almost right"]
)
def test_the_measurement_finds_a_hasty_comparison(text: str, other: str) -> None:
    hasty = Hasty(Spec(), replace(some_services(), keys=RING))
    assert not equally_long(refusing(hasty, text), refusing(hasty, other), MARGIN)


class WithoutDigest(Policy):
    """What must not be either: no digest of a secret whose id is unknown."""

    def _owner(self, shown: bytes) -> Any:
        key = parts(shown)
        assert key is not None
        if self._keys.find(key.id) is None:
            raise self._challenge.invalid("no")
        return super()._owner(shown)


def test_the_measurement_finds_a_digest_that_is_left_out() -> None:
    leaky = WithoutDigest(Spec(), replace(some_services(), keys=RING))
    assert not equally_long(refusing(leaky, UNKNOWN), refusing(leaky, NOTHING_RIGHT), MARGIN)
