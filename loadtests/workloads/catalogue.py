"""The rows of `make bench`, and what the project aims at in each."""

from __future__ import annotations

from loadtests.payloads import image, small
from loadtests.results import Aim
from loadtests.workloads.base import Effort, Row
from loadtests.workloads.idle import IdleRow
from loadtests.workloads.requests import RequestRow

SUBJECT = "penstock"
_TRANSCODER = (
    "Envoy's transcoder takes and gives protobuf's own JSON mapping, in which Triton's answer is base64: it parses the "
    "same numbers but renders none."
)

SMALL_JSON = RequestRow(
    "small_json",
    "Small JSON infer: 2 x INT32[16], no policies",
    small,
    {
        "penstock": "oip_json",
        "penstock_pure": "oip_json",
        "envoy_transcoder": "proto_json",
        "envoy_plain": "oip_json",
        "nginx_plain": "oip_json",
        "obvious": "oip_json",
        "direct_rest": "oip_json",
    },
    requests=10_000,
    rate=400.0,
    note=_TRANSCODER,
)
SMALL_GRPC = RequestRow(
    "small_grpc",
    "Small gRPC infer: 2 x INT32[16], passed through",
    small,
    {
        "penstock": "grpc",
        "penstock_pure": "grpc",
        "envoy_grpc": "grpc",
        "nginx_grpc": "grpc",
        "direct_grpc": "grpc",
    },
    requests=10_000,
    rate=400.0,
)
LARGE_JSON = RequestRow(
    "large_json",
    "Image as JSON: FP32[1,3,224,224], 1.6 MB",
    image,
    {
        "penstock": "oip_json",
        "direct_rest": "oip_json",
        "envoy_transcoder": "proto_json",
        "envoy_plain": "oip_json",
        "obvious": "oip_json",
    },
    requests=150,
    rate=15.0,
    connections=4,
    primary="p50_ms",
    note=_TRANSCODER,
)
LARGE_BINARY = RequestRow(
    "large_binary",
    "Image as binary tensor over REST: FP32[1,3,224,224], 0.6 MB",
    image,
    {
        "penstock": "oip_binary",
        "envoy_plain": "oip_binary",
        "nginx_plain": "oip_binary",
        "obvious": "oip_binary",
        "direct_rest": "oip_binary",
    },
    requests=500,
    rate=40.0,
    connections=4,
)
_POLICIES = (
    "An API key from a file, a limit for each caller that workers lease from the embedded store, and metrics, beside "
    "Envoy with jwt_authn (RS256; tokens are remembered but where it says otherwise), a local limit for all, and an "
    "access log. "
    "Penstock's own access log and traces come later and are not in it yet; answers tell RateLimit fields."
)
POLICIES_JSON = RequestRow(
    "policies_json",
    "Small JSON infer with policies: 2 x INT32[16]",
    small,
    {
        "penstock_policies": "oip_json",
        "penstock_policies_local": "oip_json",
        "penstock_policies_jwt": "oip_json",
        "penstock_policies_pure": "oip_json",
        "penstock": "oip_json",
        "envoy_transcoder_policies": "proto_json",
        "envoy_transcoder_policies_default": "proto_json",
        "envoy_transcoder": "proto_json",
    },
    requests=10_000,
    rate=400.0,
    note=f"{_POLICIES} {_TRANSCODER}",
    subject="penstock_policies",
)
POLICIES_GRPC = RequestRow(
    "policies_grpc",
    "Small gRPC infer with policies: 2 x INT32[16], passed through",
    small,
    {
        "penstock_policies": "grpc",
        "penstock_policies_local": "grpc",
        "penstock": "grpc",
        "envoy_grpc_policies": "grpc",
        "envoy_grpc": "grpc",
    },
    requests=10_000,
    rate=400.0,
    note=_POLICIES,
    subject="penstock_policies",
)


def rows(effort: Effort) -> list[Row]:
    """All rows; a quick run has a tenth of the connections in the last one."""
    scale = 1.0 if effort.share == 1.0 else 0.1
    idle = IdleRow(
        "idle",
        "Memory of idle connections beside busy ones",
        {"penstock": "oip_json", "envoy_plain": "oip_json", "nginx_plain": "oip_json", "obvious": "oip_json"},
        idle=round(10_000 * scale),
        busy=round(1_000 * scale),
        rate=400.0,
        busy_seconds=4.0 if effort.share == 1.0 else 1.0,
    )
    return [SMALL_JSON, SMALL_GRPC, POLICIES_JSON, POLICIES_GRPC, LARGE_JSON, LARGE_BINARY, idle]


AIMS = [
    Aim("small_json", "cpu_us", "envoy_transcoder", 0.55, 0.3, "small JSON infer: CPU vs Envoy's transcoder"),
    Aim("small_grpc", "cpu_us", "envoy_grpc", 1.2, 0.7, "small gRPC passthrough: CPU vs Envoy's passthrough"),
    Aim(
        "policies_json",
        "cpu_us",
        "envoy_transcoder_policies",
        0.65,
        0.35,
        "small JSON infer with key, limit, metrics: CPU vs Envoy's transcoder with JWT, local limit, log",
    ),
    Aim("large_json", "p50_ms", "direct_rest", 0.35, 0.2, "image as JSON: latency vs straight to Triton's REST"),
    Aim("large_binary", "cpu_us", "envoy_plain", 1.5, 0.8, "image as binary tensor: CPU vs Envoy's plain proxy"),
    Aim("idle", "kb_per_idle", None, 20.0, 6.0, "memory per idle connection, KB"),
]
