"""What is overloaded: a real Triton whose model takes a set time, behind Penstock with two workers; and who calls."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from prometheus_client.parser import text_string_to_metric_families

from deploy.triton import Triton
from loadtests.exchange import Address
from loadtests.peers.base import HOST, Backend, free_address
from loadtests.peers.penstock import Penstock

MODEL = "timed"
INSTANCES = 16
SECONDS = 0.1
CAPACITY = INSTANCES / SECONDS
"""Calls a second that the model can do: on paper."""
WORKERS = 2
QUEUE = 200
DEADLINE = 1.0
CLASSES = ("high", "normal", "low")
TENANTS = ("acme", "umbrella")
ISSUER, AUDIENCE = "https://issuer.example", "penstock"
_CODE = Path(__file__).parent / "models" / "timed"
_MODEL = """name: "{name}"
backend: "python"
max_batch_size: 1
input [ {{ name: "INPUT0" data_type: TYPE_INT32 dims: [ 1 ] }} ]
output [ {{ name: "BEGAN" data_type: TYPE_INT64 dims: [ 1 ] }} ]
instance_group [ {{ kind: KIND_CPU count: {instances} }} ]
parameters {{ key: "seconds" value {{ string_value: "{seconds}" }} }}
"""
_CONFIG = """
listen:
  - address: {address}
admin: {{address: "{admin}"}}
state: none
pools:
  triton: {{endpoints: ["{backend}"]}}
policies:
  staff: {{kind: jwt, issuer: "{issuer}", audiences: {audience}, jwks_file: "{keys}", tenant: tenant}}
  room:
    kind: concurrency
    limit: {limit}
    by: [pool, model]
    queue: {{requests: {queue}, wait: 10s}}
    classes:
      - {{name: high, scope: high}}
      - {{name: normal, scope: normal}}
      - {{name: low}}
routes:
  - name: all
    match: {{model: "*"}}
    to: {{pool: triton}}
    policies: [staff, {{kind: timeout, total: {deadline}s}}, room]
"""


class Overloaded(Penstock):
    """Penstock with a limit of what the backend does at once."""

    name = "overload"

    def command(self) -> list[str]:
        """Write the configuration and the issuer's keys."""
        self._admin = free_address()
        self.key = ec.generate_private_key(ec.SECP256R1())
        keys = self.scratch / "keys.json"
        public = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))
        keys.write_text(json.dumps({"keys": [public | {"kid": "k", "alg": "ES256", "use": "sig"}]}))
        config = self.scratch / "gateway.yaml"
        config.write_text(
            _CONFIG.format(
                address=self.address,
                admin=self._admin,
                backend=self.backend.grpc,
                issuer=ISSUER,
                audience=AUDIENCE,
                keys=keys,
                limit=INSTANCES,
                queue=QUEUE,
                deadline=DEADLINE,
            )
        )
        return [*self.program(), "serve", str(config), "--workers", str(WORKERS)]

    def token(self, tenant: str, scope: str) -> str:
        """Of a caller of this tenant with this right."""
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": f"{tenant}-{scope}", "tenant": tenant, "scope": scope}
        return jwt.encode(claims | {"iat": now, "exp": now + 3600}, self.key, "ES256", {"kid": "k"})

    def resident(self) -> float:
        """Bytes of memory that the workers have. Raises OSError."""
        return sum([self.sums("penstock_process_resident_bytes", process=f"worker {n}") for n in range(WORKERS)])

    def sums(self, family: str, **labels: str) -> float:
        """The sum of the samples of a metric that have these labels. Raises OSError."""
        with urllib.request.urlopen(f"http://{self._admin}/metrics", timeout=5) as reply:
            page = reply.read().decode()
        return sum(
            sample.value
            for metric in text_string_to_metric_families(page)
            for sample in metric.samples
            if sample.name == family and labels.items() <= sample.labels.items()
        )


@dataclass(frozen=True)
class Stage:
    """All that runs."""

    triton: Triton
    gateway: Overloaded


@contextmanager
def staged(scratch: Path) -> Iterator[Stage]:
    """Start it all, and leave nothing behind. Raises TritonError and PeerError."""
    with Triton(_repository(scratch), log=scratch / "triton.log") as triton:
        with urllib.request.urlopen(f"http://{triton.http_address}/v2", timeout=10) as reply:
            version: Any = json.load(reply)["version"]
        rest, grpc = (Address(HOST, port) for port in (triton.http_port, triton.grpc_port))
        with Overloaded(Backend(rest, grpc, version, triton.pid), scratch) as gateway:
            yield Stage(triton, gateway)


def _repository(scratch: Path) -> Path:
    models = scratch / "models"
    shutil.copytree(_CODE, models / MODEL)
    text = _MODEL.format(name=MODEL, instances=INSTANCES, seconds=SECONDS)
    (models / MODEL / "config.pbtxt").write_text(text)
    return models
