"""What came of it, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from loadtests.chaos.clients import OK
from loadtests.chaos.promises import Growth
from loadtests.chaos.rounds import Round

MOST_BROKEN = 20
MOST_TEXTS = 6


def report(rounds: Sequence[Round], growth: Growth, broken: Sequence[str]) -> str:
    """All rounds together: disturbances, classes, accounts, shares, memory, and the promises that were broken."""
    return "\n".join([
        *_heading("disturbances"), *_disturbances(rounds),
        *_heading("answers, by client and class"), *_classes(rounds),
        *_heading("what they were told"), *_texts(rounds),
        *_heading("accounts: at the clients, at the gateway, what it may have lost with killed workers"),
        *_accounts(rounds),
        *_heading("share of the busier of two static endpoints, by seconds of calm"), *_shares(rounds),
        *_heading("memory and open files in silence, first and last look"), *growth.lines(),
        "", *_verdict(broken),
    ])  # fmt: skip


def _heading(text: str) -> tuple[str, str]:
    return "", f"— {text}"


def _disturbances(rounds: Sequence[Round]) -> Iterator[str]:
    total: Counter[str] = sum((each.disturbances for each in rounds), Counter())
    for name, count in sorted(total.items()):
        yield f"{count:>5}  {name}"


def _classes(rounds: Sequence[Round]) -> Iterator[str]:
    total: Counter[tuple[str, str]] = sum((each.classes for each in rounds), Counter())
    names = [OK, *sorted({name for _, name in total} - {OK})]
    yield f"{'':<16}" + "".join(f"{name:>13}" for name in [*names, "all"])
    for source in [*sorted({source for source, _ in total}), "all"]:
        mine = Counter(dict.fromkeys(names, 0))
        for (asked, name), count in total.items():
            mine[name] += count if source in (asked, "all") else 0
        counts = [mine[name] for name in names]
        yield f"{source:<16}" + "".join(f"{count:>13}" for count in [*counts, sum(counts)])


def _texts(rounds: Sequence[Round]) -> Iterator[str]:
    total: Counter[tuple[str, str]] = sum((each.texts for each in rounds), Counter())
    for wanted in sorted({kind for kind, _ in total}):
        most = Counter({text: count for (kind, text), count in total.items() if kind == wanted})
        for text, count in most.most_common(MOST_TEXTS):
            yield f"{count:>6}  {wanted}: {text}"


def _accounts(rounds: Sequence[Round]) -> Iterator[str]:
    for number, each in enumerate(rounds, 1):
        clients = each.classes.total()
        if each.gateway is None:
            yield f"round {number:>3}: {clients:>7}, not compared: control was killed, and what it had added up with it"
        else:
            yield f"round {number:>3}: {clients:>7} {each.gateway.total():>7} {each.slack:>6}  {each.kind}"


def _shares(rounds: Sequence[Round]) -> Iterator[str]:
    yield " ".join(f"{share:.0%}" for each in rounds for share in each.shares) or "none seen"


def _verdict(broken: Sequence[str]) -> Iterator[str]:
    if not broken:
        yield "every promise was kept"
        return
    yield f"{len(broken)} promises were broken:"
    for text, count in Counter(broken).most_common(MOST_BROKEN):
        yield f"  {count} x {text}"
