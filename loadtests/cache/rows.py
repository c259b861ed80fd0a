"""The rows of `make bench-cache`, and what the project aims at in each."""

from __future__ import annotations

from loadtests.cache.trouble import TROUBLES, WELL, TroubleRow
from loadtests.payloads import image, small
from loadtests.peers import PEERS
from loadtests.results import Aim
from loadtests.workloads.base import Row
from loadtests.workloads.requests import RequestRow

SUBJECT = "penstock_cache"
LABELS = {
    SUBJECT: "Penstock with its cache",
    **{name: PEERS[name].label for name in ("penstock", "nginx_cache", "nginx_plain")},
    WELL: "the same, its store well",
}
NGINX = (
    "nginx compares bytes (MD5 of the target and the body) and knows of no tenants, model versions or loads; "
    "Penstock reads the JSON, finds the same tensors however they are written, and writes the JSON of the answer."
)

LARGE = (
    "A hit digests the whole request (BLAKE2b, 1 ms for each MB), which costs the gateway more than to pass it on, and "
    "spares Triton all of it. nginx keeps no entry with a key of this size: each of its requests goes on to Triton."
)


def rows() -> list[Row]:
    """All of them."""
    return [
        RequestRow(
            "hit_json",
            "Small JSON infer, asked again: 2 x INT32[16]",
            small,
            {SUBJECT: "oip_json", "penstock": "oip_json", "nginx_cache": "oip_json", "nginx_plain": "oip_json"},
            requests=10_000,
            rate=400.0,
            note=NGINX,
        ),
        RequestRow(
            "hit_grpc",
            "Small gRPC infer, asked again: 2 x INT32[16]",
            small,
            {SUBJECT: "grpc", "penstock": "grpc"},
            requests=10_000,
            rate=400.0,
        ),
        RequestRow(
            "hit_image",
            "Image as binary tensor over REST, asked again: FP32[1,3,224,224], 0.6 MB",
            image,
            {SUBJECT: "oip_binary", "penstock": "oip_binary", "nginx_cache": "oip_binary"},
            requests=500,
            rate=40.0,
            connections=4,
            note=LARGE,
        ),
        *map(TroubleRow, TROUBLES),
    ]


AIMS = [
    Aim("hit_json", "cpu_us", "penstock", 0.6, 0.4, "hit over JSON: CPU vs the same request forwarded"),
    Aim("hit_grpc", "cpu_us", "penstock", 0.6, 0.4, "hit over gRPC: CPU vs the same request forwarded"),
    *(
        Aim(f"store_{name}", "p99_ms", WELL, 1.5, 1.1, f"store {text}: p99 vs a store that is well")
        for name, text in TROUBLES.items()
    ),
]
