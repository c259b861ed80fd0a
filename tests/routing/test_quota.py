"""What is written of a limit, and what answers say of it."""

from __future__ import annotations

import pytest

from routing.quota import Quota, own_quota, string
from state.gcra import Window


def test_a_rate_is_a_window_whose_burst_is_its_period() -> None:
    assert Quota("a", "requests", [("600/min", None)]).windows == (Window(0.1, 600),)
    assert Quota("a", "requests", [("100/s", 5)]).windows == (Window(0.01, 5),)


def test_fields_of_one_window() -> None:
    quota = Quota("per_user", "requests", [("100/s", 200)])
    assert quota.policy == b'"per_user";q=100;w=1'
    assert quota.left([0.0]) == b'"per_user";r=200;t=0'
    assert quota.left([0.5]) == b'"per_user";r=150;t=1'
    assert quota.left([1.999]) == b'"per_user";r=0;t=1'
    assert quota.left([1.9], 50) == b'"per_user";r=10;t=1'
    assert quota.exceeded([2.0], 1) == ["per_user"]


def test_fields_of_several_windows_and_units() -> None:
    quota = Quota("q", "bytes", [("10/s", None), ("100/h", None)])
    assert quota.policy == b'"q-s";q=10;w=1;qu="content-bytes", "q-h";q=100;w=3600;qu="content-bytes"'
    assert quota.left([0.0, 3600.0]) == b'"q-s";r=10;t=0, "q-h";r=0;t=36'
    assert quota.exceeded([0.0, 3600.0], 1) == ["q-h"]
    assert Quota("q", "tokens", [("10/s", None)]).policy == b'"q";q=10;w=1;qu="tokens"'


def test_what_never_fits_has_no_time_of_its_own() -> None:
    assert Quota("q", "requests", [("1/s", 3)]).left([0.5], 9) == b'"q";r=2;t=1'


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("50/s", (Window(0.02, 50),)),
        ("50/s burst 100", (Window(0.02, 100),)),
        ("50/s, 1000/h burst 10", (Window(0.02, 50), Window(3.6, 10))),
    ],
)
def test_a_key_brings_its_own(text: str, windows: tuple[Window, ...]) -> None:
    quota = own_quota("a", "requests", text)
    assert quota is not None
    assert quota.windows == windows


@pytest.mark.parametrize(
    "text", ["", "fast", "50", "50/s burst", "50/s burst x", "50/s burst ²", "1/s,2/s,3/s,4/s,5/s"]
)
def test_what_is_no_limit_is_none(text: str) -> None:
    assert own_quota("a", "requests", text) is None


def test_names_are_strings_of_structured_fields() -> None:
    assert string('a"b\\c\nü') == '"a\\"b\\\\c??"'
