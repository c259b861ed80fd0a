"""What the demo says about what it saw at its door; the calls themselves run in `test_main.py`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from config.load import parse
from deploy.demo.curl import Answer
from deploy.demo.door import BURST, OTHER, SAME, Visit, problems
from deploy.demo.stack import CONFIG, DOOR
from gateway.soundness import review
from policies import registry


def an_answer(data: str, cache: str, left: int = 4) -> Answer:
    headers = {"penstock-cache": cache, "ratelimit": f'"per_caller";r={left};t=1'}
    return Answer(200, headers, f'{{"outputs":[{{"data":{data}}}]}}')


LIMITED = Answer(
    429, {"retry-after": "1", "ratelimit": '"per_caller";r=0;t=1', "ratelimit-policy": '"per_caller";q=1;w=1'}, "{}"
)
GOOD = Visit(
    key="psk_a_b",
    told=("key psk_a_b\nid a", "ID\na"),
    earlier=None,
    refused=Answer(401, {"www-authenticate": 'Bearer realm="penstock"'}, "{}"),
    first=an_answer("[11,22,33]", "miss"),
    again=an_answer("[11,22,33]", "hit", 3),
    passed=3,
    limited=LIMITED,
    restarted=an_answer("[44,55,66]", "miss", 2),
    refilled=2.5,
    computed=(7, 8, 8),
)


def test_what_is_right_has_no_problems() -> None:
    assert list(problems(GOOD)) == []
    assert list(problems(replace(GOOD, earlier=an_answer("[44,55,66]", "miss")))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"told": ("key psk_a_b", "psk_a_b")}, "shown once"),
        ({"told": ("psk_a_b psk_a_b", "a")}, "shown once"),
        ({"earlier": GOOD.refused}, "of an earlier run to be good, got 401"),
        ({"refused": GOOD.first}, "401 with a challenge"),
        ({"refused": Answer(401, {}, "")}, "401 with a challenge"),
        ({"first": an_answer("[1]", "miss")}, "from the first call"),
        ({"first": an_answer("[11,22,33]", "hit")}, "a miss and a hit, got"),
        ({"again": an_answer("[11,22,33]", "miss")}, "a miss and a hit, got"),
        ({"again": replace(GOOD.again, status=503)}, "from the second call"),
        ({"limited": None}, "429 within 30 calls, got None after 3"),
        ({"limited": GOOD.refused}, "429 within 30 calls, got 401"),
        ({"limited": replace(LIMITED, headers={"retry-after": "1"})}, "the headers of a limit"),
        ({"restarted": replace(GOOD.restarted, status=401)}, "from the last call, got 401"),
        ({"restarted": an_answer("[44,55,66]", "miss", 4)}, "the limit of before the restart"),
        ({"restarted": Answer(200, {}, '"data":[44,55,66]')}, "the limit of before the restart"),
        ({"computed": (7, 8, 9)}, "got 1 and 1"),
        ({"computed": (7, 7, 7)}, "got 0 and 0"),
    ],
)
def test_each_thing_that_is_wrong_is_a_problem(change: dict[str, Any], said: str) -> None:
    (found,) = problems(replace(GOOD, **change))
    assert said in found


def test_the_configuration_that_is_shown_is_sound_and_has_the_burst_that_is_told() -> None:
    said: list[object] = []
    addresses = {"listen": "127.0.0.1:1", "admin": "127.0.0.1:2", "endpoints": "a:1"}
    text = CONFIG.format(workers=2, door=DOOR, **addresses)
    parse(text, "gateway.yaml", policies=registry(), review=review, warn=said.append)
    assert said == []
    assert yaml.safe_load(DOOR)["policies"]["per_caller"]["burst"] == BURST


def test_the_two_questions_differ() -> None:
    assert SAME != OTHER
