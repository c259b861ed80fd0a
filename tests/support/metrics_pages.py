"""Pages of metrics as Tritons write them, for tests: of version 2.51, of a GPU build, with vLLM and TensorRT-LLM."""

from __future__ import annotations

from collections.abc import Mapping

COUNTERS = {
    "success": "nv_inference_request_success",
    "executions": "nv_inference_exec_count",
    "hits": "nv_cache_num_hits_per_model",
    "input_us": "nv_inference_compute_input_duration_us",
    "infer_us": "nv_inference_compute_infer_duration_us",
    "output_us": "nv_inference_compute_output_duration_us",
}
PENDING = "nv_inference_pending_request_count"


def page(models: Mapping[tuple[str, str], Mapping[str, float]]) -> bytes:
    """A page with the values of each model and version: `pending` and the keys of `COUNTERS`, 0 where not given."""
    lines = []
    for field, family in (*COUNTERS.items(), ("pending", PENDING)):
        kind = "gauge" if family == PENDING else "counter"
        lines += [f"# HELP {family} What it is", f"# TYPE {family} {kind}"]
        for (model, version), values in models.items():
            lines.append(f'{family}{{model="{model}",version="{version}"}} {values.get(field, 0)}')
    lines += ["# HELP nv_cpu_utilization CPU", "# TYPE nv_cpu_utilization gauge", "nv_cpu_utilization 0.25", ""]
    return "\n".join(lines).encode()


GPU = b"""\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{gpu_uuid="GPU-a",model="m",version="1"} 3
nv_inference_request_success{gpu_uuid="GPU-b",model="m",version="1"} 4
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="m",version="1"} 2
# HELP nv_gpu_utilization GPU utilization rate [0.0 - 1.0)
# TYPE nv_gpu_utilization gauge
nv_gpu_utilization{gpu_uuid="GPU-b"} 0.5
nv_gpu_utilization{gpu_uuid="GPU-a"} 0.75
# HELP nv_gpu_memory_total_bytes GPU total memory, in bytes
# TYPE nv_gpu_memory_total_bytes gauge
nv_gpu_memory_total_bytes{gpu_uuid="GPU-a"} 16101933056.000000
# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 4294967296.000000
"""

VLLM = b"""\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="vllm_model",version="1"} 10
# HELP nv_inference_pending_request_count Instantaneous number of pending requests awaiting execution per-model.
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{model="vllm_model",version="1"} 0
# HELP vllm:num_requests_running Number of requests currently running on GPU.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model="vllm_model",version="1"} 6
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{model="vllm_model",version="1"} 4
# HELP vllm:e2e_request_latency_seconds Histogram of end to end request latency in seconds.
# TYPE vllm:e2e_request_latency_seconds histogram
vllm:e2e_request_latency_seconds_count{model="vllm_model",version="1"} 10
vllm:e2e_request_latency_seconds_sum{model="vllm_model",version="1"} 3.6
vllm:e2e_request_latency_seconds_bucket{model="vllm_model",version="1",le="+Inf"} 10
"""

TENSORRT_LLM = b"""\
# HELP nv_trt_llm_request_metrics TRT LLM request metrics
# TYPE nv_trt_llm_request_metrics gauge
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="waiting",version="1"} 3
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="context",version="1"} 1
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="scheduled",version="1"} 4
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="max",version="1"} 512
nv_trt_llm_request_metrics{model="tensorrt_llm",request_type="active",version="1"} 7
# HELP nv_trt_llm_kv_cache_block_metrics TRT LLM KV cache block metrics
# TYPE nv_trt_llm_kv_cache_block_metrics gauge
nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction",model="tensorrt_llm",version="1"} 0.6
"""
OLD_TENSORRT_LLM = TENSORRT_LLM.replace(b'request_type="waiting"', b'request_type="other"')
