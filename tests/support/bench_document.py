"""A small benchmark result whose every figure is chosen by hand."""

from __future__ import annotations

from loadtests.results import Aim, Document, RowResult


def a_document() -> Document:
    """One row with spreads, a peer without the row's metric, a skipped and a failed one; a second row in KB."""
    small = RowResult(
        "small",
        "Small request",
        "cpu_us",
        ["cpu_us", "p50_ms"],
        "A note.",
        facts={"connections": 16, "requests_a_round": 2000, "rate": 400},
        samples={
            "envoy": {"cpu_us": [100.0, 100.0, 100.0], "p50_ms": [0.5, 0.6, 0.7]},
            "direct": {"p50_ms": [0.2, 0.3, 0.25]},
            "penstock": {"cpu_us": [40.0, 30.0, 50.0], "p50_ms": [0.4, 0.4, 0.4]},
        },
        skipped={"nginx": "nginx is not installed"},
        failed={"obvious": "LoadError: HTTP status 400"},
    )
    idle = RowResult(
        "idle",
        "Idle <connections>",
        "kb_per_idle",
        ["kb_per_idle"],
        facts={"idle": 10000},
        samples={"penstock": {"kb_per_idle": [25.0]}, "envoy": {"kb_per_idle": [15.7]}},
    )
    labels = {"envoy": "Envoy", "direct": "Triton", "penstock": "Penstock", "nginx": "nginx", "obvious": "Obvious"}
    return Document(
        effort="quick",
        generator="h2load 1",
        subject="penstock",
        date="2026-01-02",
        machine={"processor": "Abacus", "cores": "2"},
        versions=["Triton 2.51.0", "Envoy 1.40.0"],
        labels=labels,
        aims=[
            Aim("small", "cpu_us", "envoy", 0.55, 0.3, "small: CPU vs Envoy"),
            Aim("idle", "kb_per_idle", None, 20.0, 6.0, "memory per idle connection, KB"),
        ],
        rows=[small, idle],
        seconds=12.5,
    )


def a_document_with_shares() -> Document:
    """The same, of which one row says where the requests went; it was measured in a way of its own."""
    document = a_document()
    document.title, document.method, document.load = "Another benchmark", "By hand.", "open loop"
    row = document.rows[0]
    row.shares = {"share_1": "Triton 1, slow", "share_2": "Triton 2"}
    for samples, share in ((row.samples["penstock"], 4.0), (row.samples["envoy"], 50.0)):
        samples |= {"share_1": [share] * 3, "share_2": [100 - share] * 3}
    return document
