"""Routes that earlier ones leave nothing to."""

from __future__ import annotations

import pytest

from tests.support.configurations import mistakes_with


def routes(*written: str) -> list[str]:
    return mistakes_with(routes=f"[{', '.join(f'{{match: {{model: {m}}}, to: main}}' for m in written)}]")


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("resnet", "resnet"),
        ('"*"', "resnet"),
        ('"*"', '"*"'),
        ('"*"', '"a?[bc]*"'),
        ("res*", "resnet"),
        ("res*", '"resnet-*"'),
        ('"res?et"', '"res[mn]et"'),
        ('"[ab]*"', "b"),
    ],
)
def test_a_route_that_an_earlier_one_leaves_nothing_to(earlier: str, later: str) -> None:
    assert routes(earlier, "other", later)[-1] == (
        "routes[2].match.model: expected a model that no earlier route takes, got "
        f"'{later.strip(chr(34))}', which routes[0] takes by '{earlier.strip(chr(34))}'"
    )


@pytest.mark.parametrize(
    "written",
    [["resnet", '"*"'], ["resnet", "resnet5", "res*"], ['"resnet-*"', "res*"], ['"a*b"', '"a*c"'], ["a", "A"]],
)
def test_routes_that_leave_something_to_each_other(written: list[str]) -> None:
    assert routes(*written) == []


def test_each_dead_pattern_of_a_list_is_named() -> None:
    assert [line.split(":")[0] for line in routes("[a, b, a]", "[c, b, d*, d1]")] == [
        "routes[0].match.model[2]",
        "routes[1].match.model[1]",
        "routes[1].match.model[3]",
    ]
