"""The rows of the cache's benchmark hang together."""

from __future__ import annotations

from loadtests.cache.rows import AIMS, LABELS, SUBJECT, rows
from loadtests.cache.trouble import TROUBLES, WELL
from loadtests.workloads.requests import RequestRow


def test_aims_are_of_rows_and_peers_have_labels() -> None:
    names = {row.name for row in rows()}
    assert {aim.row for aim in AIMS} <= names
    assert {f"store_{trouble}" for trouble in TROUBLES} <= names
    for row in rows():
        peers = set(row.peers) if isinstance(row, RequestRow) else {SUBJECT, WELL}
        assert SUBJECT in peers <= LABELS.keys()
