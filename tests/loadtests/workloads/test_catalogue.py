"""The rows fit the peers and the aims."""

from __future__ import annotations

from loadtests.peers import PEERS
from loadtests.report.markdown import HEADINGS
from loadtests.workloads.base import FULL, QUICK
from loadtests.workloads.catalogue import AIMS, SUBJECT, rows
from loadtests.workloads.idle import IdleRow
from loadtests.workloads.requests import RequestRow


def test_each_peer_of_a_row_speaks_its_dialect() -> None:
    for row in rows(FULL):
        assert isinstance(row, RequestRow | IdleRow)
        assert SUBJECT in row.peers
        assert all(dialect in PEERS[name].dialects for name, dialect in row.peers.items())


def test_each_aim_can_be_measured() -> None:
    by_name = {row.name: row for row in rows(FULL)}
    for aim in AIMS:
        row = by_name[aim.row]
        assert isinstance(row, RequestRow | IdleRow)
        assert aim.metric in HEADINGS
        assert aim.peer is None or aim.peer in row.peers
        assert aim.goal < aim.limit


def test_a_quick_run_has_the_same_rows() -> None:
    assert [row.name for row in rows(QUICK)] == [row.name for row in rows(FULL)]
