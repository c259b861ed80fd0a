"""The demo's public door: a key, a refusal without it, an answer that is kept, a limit, and a restart that forgets
neither key nor limit. Each command is shown as a user would type it, with its answer.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.calls import served
from deploy.demo.curl import Answer, ask
from deploy.demo.stack import DOOR, PROGRAM, DemoError, Stack, named
from deploy.progress import Say
from deploy.triton.environment import PROJECT

MODEL, CALLER = "add_sub", "alice"
BURST = 5
MOST_CALLS = 30
PATIENCE_S = 5.0
COMMAND_S = 30
_LATER = (401, 429, 503)
"""What a moment may change: a key reaches all workers within a second, a limit refills, a gateway reads its keys."""


def body_of(a: list[int], b: list[int]) -> str:
    """A request for the sums and differences of two rows of integers."""
    rows = (("A", a), ("B", b))
    inputs = [{"name": name, "datatype": "INT32", "shape": [1, len(row)], "data": row} for name, row in rows]
    return json.dumps({"inputs": inputs}, separators=(",", ":"))


SAME, OTHER = body_of([1, 2, 3], [10, 20, 30]), body_of([4, 5, 6], [40, 50, 60])


@dataclass(frozen=True)
class Visit:
    """What was seen at the door. `key` is the new one, `told` what `keys create` and then `keys list` printed;
    `earlier` is the answer to the key of an earlier run, None if there was none. `passed` is how many calls more the
    limit let through, `refilled` for how many seconds it had refilled before the answer after the restart. `computed`
    is how many requests the Tritons had answered before the first call, after it, and before the restart."""

    key: str
    told: tuple[str, str]
    earlier: Answer | None
    refused: Answer
    first: Answer
    again: Answer
    passed: int
    limited: Answer | None
    restarted: Answer
    refilled: float
    computed: tuple[int, int, int]


class Door:
    """Calls to the model that asks who calls."""

    def __init__(self, stack: Stack, say: Say, title: Say) -> None:
        self._stack = stack
        self._say = say
        self._title = title
        self._url = f"http://{stack.address}/v2/models/{MODEL}/infer"
        self._key = ""
        self._body = ""

    @property
    def key_file(self) -> Path:
        """Where the demo keeps its key, as any client has to."""
        return self._stack.state / f"{CALLER}.key"

    def visit(self) -> Visit:
        """Show it all. Raises `DemoError`."""
        self._title(f"Keys: {MODEL} asks who calls")
        self._say(f"{DOOR}\n$ URL={self._url}")
        earlier = self._earlier()
        told = self._make_key(in_place=earlier is not None and earlier.status == 200)
        self._ask_for(SAME)
        refused = self._show("", self._ask(""))
        before = self._computed()
        first = self._patient_call()
        after = self._wait_for(before + 1)
        self._title("Cache: the same question is not computed twice")
        self._say("The same call again. Workers and the state store keep answers, for each tenant its own:")
        again = self._show(self._key, self._ask(self._key))
        self._say(f"\nThe Tritons had computed {after} requests before this call, and have now: {self._computed()}")
        self._title("Limit: so much of each caller, whichever worker it meets")
        passed, limited = self._reach_the_limit()
        computed, began = (before, after, self._computed()), time.monotonic()
        self._title("Restart: the state store knows keys and limits again")
        restarted = self._come_back()
        refilled = time.monotonic() - began
        return Visit(self._key, told, earlier, refused, first, again, passed, limited, restarted, refilled, computed)

    # keys

    def _earlier(self) -> Answer | None:
        """The answer to the key that an earlier run has left, None if there is none."""
        if not self.key_file.exists():
            return None
        self._say("\nAn earlier run has made a key, and state outlives the demo:\n")
        self._read_key()
        self._ask_for(OTHER)
        return self._patient_call()

    def _make_key(self, *, in_place: bool) -> tuple[str, str]:
        """A new key, in place of the earlier one if that is good; what was printed, and the list of all afterwards."""
        if in_place:
            printed = self._keys("rotate", self._key.split("_")[1], "--grace", "1m")
        else:
            printed = self._keys("create", CALLER, "--tenant", "demo", "--expires", "30d")
        found = re.search(r"^key +(\S+)$", printed, re.MULTILINE)
        if found is None:
            raise DemoError(f"expected a key, got: {printed}")
        self.key_file.touch(mode=0o600)
        self.key_file.write_text(found[1])
        listed = self._keys("list")
        self._say("")
        self._read_key()
        return printed, listed

    def _keys(self, action: str, *arguments: str) -> str:
        """What `penstock keys` prints, all of it."""
        words = [*PROGRAM, "keys", action, str(self._stack.config), *arguments]
        shown = " ".join(["penstock keys", action, named(self._stack.config), *arguments])
        self._say(f"\n$ {shown}")
        pipe, merge = subprocess.PIPE, subprocess.STDOUT
        done = subprocess.run(words, cwd=PROJECT, stdout=pipe, stderr=merge, text=True, timeout=COMMAND_S, check=False)
        if done.returncode:
            raise DemoError(f"{shown} failed:\n{done.stdout}")
        self._say(done.stdout.rstrip())
        return done.stdout

    def _read_key(self) -> None:
        self._say(f"$ KEY=$(cat {named(self.key_file)})")
        self._key = self.key_file.read_text()

    # calls

    def _ask_for(self, body: str) -> None:
        self._say(f"$ BODY='{body}'")
        self._body = body

    def _ask(self, key: str) -> Answer:
        return ask(self._url, self._body, {"Authorization": f"Bearer {key}"} if key else {})

    def _show(self, key: str, answer: Answer) -> Answer:
        who = ' -H "Authorization: Bearer $KEY"' if key else ""
        self._say(f'\n$ curl -i $URL -d "$BODY"{who}\n{answer.shown}')
        return answer

    def _patient_call(self) -> Answer:
        """An answer of 200, if one comes within seconds."""
        answer, until = self._ask(self._key), time.monotonic() + PATIENCE_S
        while answer.status in _LATER and time.monotonic() < until:
            time.sleep(0.1)
            answer = self._ask(self._key)
        return self._show(self._key, answer)

    def _reach_the_limit(self) -> tuple[int, Answer | None]:
        """How many more calls pass, and the answer to the first that does not."""
        self._say(f"The same again, until it is refused; {BURST} may come at once, and then one a second:")
        for passed in range(MOST_CALLS):
            answer = self._ask(self._key)
            if answer.status != 200:
                return passed, self._show(self._key, answer)
            self._say(f"{answer.status}  ratelimit: {answer.headers.get('ratelimit')}")
        return MOST_CALLS, None

    def _come_back(self) -> Answer:
        self._stack.restart()
        self._say("")
        self._ask_for(OTHER)
        return self._patient_call()

    # what Triton says

    def _computed(self) -> int:
        return sum(served(triton.metrics_address) for triton in self._stack.tritons)

    def _wait_for(self, count: int) -> int:
        """What the Tritons have counted as soon as it is this, or after a while."""
        until = time.monotonic() + PATIENCE_S
        while (counted := self._computed()) < count and time.monotonic() < until:
            time.sleep(0.05)
        return counted


def problems(visit: Visit) -> Iterator[str]:
    """What is wrong with what was seen, in words; nothing when all is right."""
    created, listed = visit.told
    if not visit.key.startswith("psk_") or created.count(visit.key) != 1 or visit.key in listed:
        yield f"expected a key that is shown once, got: {created}\n{listed}"
    if visit.earlier is not None and visit.earlier.status != 200:
        yield f"expected the key of an earlier run to be good, got {visit.earlier.status}"
    yield from _refusals(visit)
    yield from _answers(visit)
    left = re.fullmatch(r'"per_caller";r=(\d+);t=\d+', visit.restarted.headers.get("ratelimit", ""))
    if left is None or int(left[1]) > visit.refilled:
        yield f"expected the limit of before the restart, got {visit.restarted.headers} {visit.refilled:.1f} s later"
    before, after, end = visit.computed
    if (after - before, end - after) != (1, 0):
        yield f"expected one computed request and then no more, got {after - before} and {end - after}"


def _answers(visit: Visit) -> Iterator[str]:
    for name, answer, data in (
        ("first", visit.first, "[11,22,33]"),
        ("second", visit.again, "[11,22,33]"),
        ("last", visit.restarted, "[44,55,66]"),
    ):
        if answer.status != 200 or f'"data":{data}' not in answer.body:
            yield f"expected {data} from the {name} call, got {answer.status}: {answer.body}"
    said = visit.first.headers.get("penstock-cache"), visit.again.headers.get("penstock-cache")
    if said != ("miss", "hit"):
        yield f"expected a miss and a hit, got {said}"


def _refusals(visit: Visit) -> Iterator[str]:
    challenge = visit.refused.headers.get("www-authenticate", "")
    if visit.refused.status != 401 or not challenge.startswith("Bearer realm="):
        yield f"expected 401 with a challenge without a key, got {visit.refused.status}: {challenge}"
    limited = visit.limited
    if limited is None or limited.status != 429:
        yield f"expected 429 within {MOST_CALLS} calls, got {limited and limited.status} after {visit.passed}"
        return
    wanted = {"retry-after": r"\d+", "ratelimit": r'"per_caller";r=0;t=\d+', "ratelimit-policy": '"per_caller";q=1;w=1'}
    told = {name: limited.headers.get(name, "") for name in wanted}
    if not all(re.fullmatch(wanted[name], text) for name, text in told.items()):
        yield f"expected the headers of a limit, got {told}"
