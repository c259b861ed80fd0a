"""What the gateway promises, as checks that each say in words what is broken; nothing when all is well."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from loadtests.chaos.clients import BY_CODE, CONNECTION, HANG, HIDDEN, IN_BAND, OK, UNCOUNTED, WRONG, classify
from loadtests.chaos.disturbances import KILLS, Event
from loadtests.chaos.stage import REPLICAS, Stage
from tests.support.counters import HELD, held, sums, value, wait_for_reports
from tests.support.deadline import until
from tests.support.load import Request

REPORTED = 2.5
"""Seconds of a worker's counts that may be lost with it: those since its last report, and it may have stood still."""
RECONNECT = 6.0
"""Seconds after a worker's death in which clients may still fail to connect: gRPC's wait a while before they try."""
GROWTH_BYTES, GROWTH_SHARE, GROWTH_FILES = 16 * 1024 * 1024, 0.25, 16
WAITING = ("penstock_model_waiting", "penstock_model_waiting_bytes")


def answers(requests: Sequence[Request], events: Sequence[Event]) -> Iterator[str]:
    """Of a time in which things go wrong: answers may be errors, but neither wrong, nor missing, nor the gateway's own
    failure. A connection breaks only with its worker."""
    deaths = [event.began for event in events if event.name in KILLS]
    for request in requests:
        kind = classify(request.error)
        if kind in (WRONG, HANG):
            yield f"{request.source}: {request.error}"
        elif kind == CONNECTION and not any(near(request, death) for death in deaths):
            yield f"{request.source} lost its connection while no worker died: {request.error}"
        elif kind != OK and "internal error" in str(request.error):
            yield f"{request.source}: {request.error}"


def near(request: Request, death: float) -> bool:
    """May this request have failed because a worker died then?"""
    return request.began - RECONNECT <= death <= request.ended


def calm(requests: Sequence[Request], since: float) -> Iterator[str]:
    """Of a time in which nothing goes wrong any more: every answer is right."""
    for request in requests:
        if request.began >= since and request.error is not None:
            yield f"{request.source} failed though all was healed: {request.error}"


# accounts -------------------------------------------------------------------------------------------------------------


def counted(stage: Stage) -> Counter[str]:
    """What the gateway says it answered, by class."""
    found: Counter[str] = Counter()
    for code, count in sums(stage.gateway, "penstock_requests_total", "code").items():
        found[BY_CODE.get(code, "internal")] += int(count)
    return found


def lost_counts(requests: Sequence[Request], events: Sequence[Event]) -> int:
    """How many answers the gateway may not have counted, since a worker that had given them was killed."""
    deaths = [event.began for event in events if event.name in KILLS]
    return sum(any(request.began <= at and request.ended >= at - REPORTED for at in deaths) for request in requests)


def accounts(requests: Sequence[Request], gateway: Mapping[str, int], slack: int) -> Iterator[str]:
    """The clients' classes and the gateway's are the same, but for `slack` of them.

    An error in the band of a gRPC stream leaves the call's status OK. One that comes as an event is counted by its
    code, which the client is not told; nor is it one that its library hides.
    """
    client: Counter[str] = Counter()
    for request in requests:
        kind = classify(request.error)
        client[OK if kind == IN_BAND and request.source == "streams" else kind] += 1
    slack += sum(client.pop(kind, 0) for kind in UNCOUNTED)
    hidden = client.pop(IN_BAND, 0) + client.pop(HIDDEN, 0)
    total = client.total() + hidden
    if abs(sum(gateway.values()) - total) > slack:
        yield f"{total} requests were answered, the gateway counts {sum(gateway.values())} (±{slack})"
    for kind in sorted(client.keys() | gateway.keys()):
        if not client[kind] - slack <= gateway.get(kind, 0) <= client[kind] + hidden + slack:
            yield f"'{kind}': {client[kind]} at the clients, {gateway.get(kind, 0)} at the gateway (±{slack})"


# what is held ---------------------------------------------------------------------------------------------------------


def nothing_held(stage: Stage, seconds: float = 12.0) -> Iterator[str]:
    """In-flight, streams, buffers, waiting rooms, queues, the load board and the sequences read zero in the end."""
    wait_for_reports(stage.gateway)
    left: dict[str, float] = {}

    def is_zero() -> bool:
        left.clear()
        left.update({name: number for name, number in holdings(stage).items() if number})
        return not left

    try:
        until(is_zero, seconds)
    except TimeoutError:
        yield from (f"{name} reads {number:g} though nobody asks" for name, number in left.items())
    except OSError as error:
        yield f"the admin port does not answer: {error}"


def holdings(stage: Stage) -> dict[str, float]:
    """Everything that must be zero when nobody asks anything."""
    gateway, directory = stage.gateway, stage.directory
    board = directory.attach_board()
    sequences = directory.open_sequences()
    try:
        return {
            **dict.fromkeys(HELD, 0.0),
            **held(gateway),
            **{name: value(gateway, name) for name in WAITING},
            "queue_depth": sum(one["queue_depth"] or 0 for one in stage.fleet()),
            "load board, in flight": sum(abs(board.in_flight(slot)) for slot in range(board.slots)),
            "load board, seconds": sum(abs(board.seconds(slot)) for slot in range(board.slots)),
            "sequences": sequences.live(time.monotonic()),
        }
    finally:
        sequences.close()


def tritons(stage: Stage) -> Iterator[str]:
    """The gateway's own Tritons are as many as they should be."""
    if len(stage.managed()) != REPLICAS:
        yield f"{len(stage.managed())} Tritons of the gateway's own run in place of {REPLICAS}"


# shares ---------------------------------------------------------------------------------------------------------------


def served(stage: Stage) -> dict[str, float]:
    """Good answers of each static endpoint so far."""
    return sums(stage.gateway, "penstock_upstream_requests_total", "endpoint", pool="fixed", outcome="ok")


def largest_shares(samples: Sequence[Mapping[str, float]]) -> list[float]:
    """Between each two samples, the share of the endpoint that was asked most."""
    shares = []
    for before, after in pairwise(samples):
        gains = [after[address] - before.get(address, 0.0) for address in after]
        if sum(gains) >= 50:
            shares.append(max(gains) / sum(gains))
    return shares


def no_herd(shares: Sequence[float]) -> Iterator[str]:
    """Of two endpoints that are alike neither has nearly everything: not on the whole, nor by turns."""
    if not shares:
        yield "too few answers to see how endpoints share them"
    elif median(shares) > 0.7 or sum(share > 0.9 for share in shares) > 0.1 * len(shares):
        yield f"one of two endpoints gets too much: {', '.join(f'{share:.0%}' for share in shares)} of all, by seconds"


# growth ---------------------------------------------------------------------------------------------------------------


class Growth:
    """Memory and open files of each process of the gateway, looked at when nobody asks anything."""

    def __init__(self) -> None:
        self.seen: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)

    def look(self, stage: Stage) -> None:
        """Once more."""
        for role, pid in stage.processes().items():
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            size = pages * os.sysconf("SC_PAGE_SIZE")
            self.seen[role, pid].append((size, len(os.listdir(f"/proc/{pid}/fd"))))

    def check(self) -> Iterator[str]:
        """Each process that was looked at long enough is flat: the last third of the looks beside the second."""
        for (role, pid), looks in self.seen.items():
            if len(looks) < 6:
                continue
            third = len(looks) // 3
            (size, files), (size_then, files_then) = (
                (median(each[0] for each in part), median(each[1] for each in part))
                for part in (looks[-third:], looks[third : 2 * third])
            )
            if size - size_then > max(GROWTH_BYTES, GROWTH_SHARE * size_then):
                yield f"{role} ({pid}) grows: {size_then / 1e6:.0f} MB, then {size / 1e6:.0f} MB"
            if files - files_then > GROWTH_FILES:
                yield f"{role} ({pid}) keeps files open: {files_then:.0f}, then {files:.0f}"

    def lines(self) -> Iterator[str]:
        """Memory and files of each process, first and last."""
        for (role, pid), looks in sorted(self.seen.items()):
            first, last = looks[0], looks[-1]
            yield (
                f"{role:<11} {pid:>8}  {len(looks):>3} looks  {first[0] / 1e6:6.1f} → {last[0] / 1e6:6.1f} MB"
                f"  {first[1]:>3} → {last[1]:>3} files"
            )
