"""The live state of the endpoints for people and for Prometheus: `GET /v1/fleet`, and the gauges of each model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.control.entry import READY, Entry
from gateway.control.fleet import Fleet
from gateway.telemetry.families import ENDPOINT_LIMIT
from gateway.telemetry.metrics import Labels
from gateway.world import EndpointState, ModelVersion
from routing.endpoint import FORGOTTEN_SECONDS
from routing.load_board import LoadBoard

Pools = Mapping[str, tuple[EndpointState, ...]]


def describe(fleet: Fleet, pools: Pools, pool: str, model: str, now: float) -> dict[str, Any]:
    """What is known at `now` (`time.monotonic`) of all endpoints or, unless it is "", those of `pool`; and of all their
    models or `model`. Times are in seconds; what is not known is null."""
    return {
        "pools": {
            name: {"endpoints": [_endpoint(fleet, state, model, now) for state in states]}
            for name, states in pools.items()
            if pool in ("", name)
        }
    }


def _endpoint(fleet: Fleet, state: EndpointState, model: str, now: float) -> dict[str, Any]:
    entry = fleet.entries[state.address]
    board = fleet.board
    scraper = entry.scraper
    total = entry.total()
    work = _work(board, state.slot, now)
    return {
        "address": state.address,
        "live": state.live,
        "reason": state.reason,
        "weight": state.weight,
        "in_flight": _in_flight(board, state.slot),
        "queue_depth": total.pending if scraper is not None else None,
        "work_seconds": work,
        "others_seconds": total.foreign,
        "gpus": [gpu._asdict() for gpu in entry.gpus],
        "metrics": None
        if entry.source is None or scraper is None
        else {
            "address": entry.source.address,
            "age_seconds": now - scraper.at if scraper.at else None,
            "failure": scraper.failure or None,
        },
        "models": {
            name: {
                version: _model(entry, board, (name, version), one, work / state.weight) for version, one in all.items()
            }
            for name, all in state.models.items()
            if model in ("", name)
        },
    }


def _model(entry: Entry, board: LoadBoard, key: tuple[str, str], state: ModelVersion, wait: float) -> dict[str, Any]:
    told: dict[str, Any] = {"state": state.state, "reason": state.reason}
    if state.state != READY:
        return told
    known = entry.model(key)
    load = entry.load(key)
    return told | {
        "in_flight": _in_flight(board, state.slot),
        "queue_depth": load.pending if known is not None else None,
        "executing": load.executing if known is not None else None,
        "instances": known.shape.instances if known is not None and known.shape is not None else None,
        "service_seconds": load.service or None,
        "others_requests": load.foreign_requests,
        "others_seconds": load.foreign,
        "expected_wait_seconds": wait + load.service if load.service else None,
    }


def _in_flight(board: LoadBoard, slot: int) -> int | None:
    return board.in_flight(slot) if slot >= 0 else None


def _work(board: LoadBoard, slot: int, now: float) -> float:
    """Seconds of work at an endpoint: what this node has in flight there, and what others had when last seen."""
    if slot < 0:
        return 0.0
    told = board.published(slot)
    others = told.foreign * math.exp(-max(0.0, now - told.at) / FORGOTTEN_SECONDS) if told.at else 0.0
    return board.seconds(slot) + others


def waits(counters: Mapping[str, Mapping[Labels, float]], pool: str) -> dict[str, Any]:
    """Of a pool whose models are loaded on demand: the calls that came, those that had to wait for their model, by how
    that ended, and the share of those that had not; null before the first call."""
    waited = {
        labels[1]: round(count) for labels, count in counters.get("penstock_model_waits_total", {}).items()
        if labels[0] == pool
    }  # fmt: skip
    sent = counters.get("penstock_upstream_requests_total", {}).items()
    calls = round(sum(count for labels, count in sent if labels[0] == pool))
    calls += sum(count for result, count in waited.items() if result != "loaded")  # these were sent nowhere
    rate = 1 - sum(waited.values()) / calls if calls else None
    return {"calls": calls, "waits": waited, "hit_rate": rate}


def gauges(fleet: Fleet, pools: Pools) -> dict[str, dict[Labels, float]]:
    """Queue depth and service time of the model versions that have been asked for, as many as the families may have."""
    depths: dict[Labels, float] = {}
    services: dict[Labels, float] = {}
    for pool, states in pools.items():
        for state in states:
            entry = fleet.entries[state.address]
            for key in entry.scraper.load.models if entry.scraper is not None else ():
                load = entry.load(key)
                if (load.service or load.pending) and len(depths) < ENDPOINT_LIMIT:
                    depths[pool, state.address, *key] = load.pending
                    services[pool, state.address, *key] = load.service
    return {"penstock_endpoint_queue_depth": depths, "penstock_endpoint_service_seconds": services}
