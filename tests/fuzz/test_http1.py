"""A short run of the fuzzer of HTTP/1.1, and the conversations that it has found."""

from __future__ import annotations

import asyncio

import pytest

from tests.fuzz import http1

UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
LARGE = b"POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\n" + b"x" * 90_000
NO_LENGTH = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"


def test_a_short_run_keeps_every_promise() -> None:
    asyncio.run(http1.run(1500, seed=1))


@pytest.mark.parametrize(
    ("data", "requests", "statuses"),
    [
        (CHUNKED + UPGRADE + LARGE, 3, [b"2"] * 3),  # the body must not be taken for a request
        (CHUNKED + UPGRADE + UPGRADE + CHUNKED, 4, [b"2"] * 4),
        (UPGRADE + NO_LENGTH, 1, [b"2", b"4"]),  # the upgrade must not be taken for the reason of the refusal
    ],
)
def test_what_it_has_found(data: bytes, requests: int, statuses: list[bytes]) -> None:
    for size in (1, 50, 4096, 65536):
        seen, answers = asyncio.run(http1.converse(data, lambda size=size: size))  # type: ignore[misc]
        assert (len(seen), answers) == (requests, statuses)


@pytest.mark.parametrize("missing", range(1, 6))
def test_a_large_body_whose_head_ends_in_another_read(missing: int) -> None:
    sizes = iter([LARGE.index(b"\r\n\r\n") + 4 - missing, 7000])
    seen, answers = asyncio.run(http1.converse(LARGE + LARGE, lambda: next(sizes, 20_000)))
    assert ([len(each[3]) for each in seen], answers) == ([90_000, 90_000], [b"2", b"2"])


def test_a_conversation_that_differs_is_told_with_its_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = []

    async def converse(data: bytes, cut: object) -> list[int]:
        sizes.append(len(data))
        return [len(sizes)]

    monkeypatch.setattr(http1, "converse", converse)
    with pytest.raises(AssertionError, match="seed 7"):
        asyncio.run(http1.run(1, seed=7))
    assert "--seed 7" in capsys.readouterr().out
