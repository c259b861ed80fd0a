"""A real Triton Inference Server: its environment and its processes.

install()
with Triton(repository) as triton:
    ...  # triton.grpc_address, triton.http_address, triton.metrics_address

python -m deploy.triton install
python -m deploy.triton run --repository DIR
"""

from deploy.triton.environment import Environment, TritonError, default_venv, find, install
from deploy.triton.server import Triton, free_ports

__all__ = ["Environment", "Triton", "TritonError", "default_venv", "find", "free_ports", "install"]
