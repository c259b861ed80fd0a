"""Penstock itself, as an operator would run it: `penstock serve FILE --workers 1`, all its processes counted.

It is the compiled build where that was made from these sources (`make compile`), beside which the pure one is a peer of
its own; else it is the pure one.
"""

from __future__ import annotations

import os
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deploy.packaging.compiled import COMPILED, PROJECT, current
from loadtests.peers.base import ProcessPeer, accepts, free_address, get_status

# Another build to measure, say an installed release: the words before `serve FILE --workers 1`.
COMMAND_VARIABLE = "PENSTOCK_BENCH_COMMAND"

_CONFIG = """
listen:
  - address: {address}
admin: {{address: "{admin}"}}
pools:
  triton:
    kind: triton
    endpoints: ["{backend}"]
routes:
  - name: all
    match: {{model: "*"}}
    to: {{pool: triton}}
{more}"""


class _Penstock(ProcessPeer):
    """REST transcoded to gRPC, gRPC passed through, on one port."""

    dialects = ("oip_json", "oip_binary", "grpc")
    more = ""

    @classmethod
    def build(cls) -> Path:
        """The folder whose packages run."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Write its configuration, with no policies but what `more` says."""
        self._admin = free_address()
        config = self.scratch / f"{self.name}.yaml"
        places = {"address": self.address, "admin": self._admin, "backend": self.backend.grpc}
        config.write_text(_CONFIG.format(**places, more=self.more))
        return [*self.program(), "serve", str(config), "--workers", "1"]

    def program(self) -> list[str]:
        """The words that call Penstock: with `-P` the packages come from Python's path and not from this folder."""
        return [sys.executable, "-P", "-m", "gateway"]

    def environment(self) -> dict[str, str]:
        """This build comes first."""
        return {**os.environ, "PYTHONPATH": str(self.build())}

    def ready(self) -> bool:
        """The admin port says when every route has somewhere to go; the port for clients must be open as well."""
        return get_status(self._admin, "/readyz") == 200 and accepts(self.address)


class Penstock(_Penstock):
    """The build that is meant to be run, or the one that the variable names."""

    name = "penstock"
    label = "Penstock"

    @classmethod
    def build(cls) -> Path:
        """The compiled one, if these sources were."""
        return COMPILED if current() else PROJECT

    @classmethod
    def version(cls) -> str | None:
        """Of the distribution when it is installed, and which build it is."""
        kind = "compiled" if cls.build() == COMPILED else "pure Python"
        if other := os.environ.get(COMMAND_VARIABLE):
            kind = f"called as `{other}`"
        try:
            return f"penstock {version('penstock')} ({kind})"
        except PackageNotFoundError:
            return f"penstock from source ({kind})"

    def program(self) -> list[str]:
        """The words that call Penstock."""
        other = os.environ.get(COMMAND_VARIABLE)
        return shlex.split(other) if other else super().program()

    def environment(self) -> dict[str, str]:
        """This build comes first, unless another was named."""
        return dict(os.environ) if os.environ.get(COMMAND_VARIABLE) else super().environment()


class PenstockPure(_Penstock):
    """The source as it is."""

    name = "penstock_pure"
    label = "Penstock, pure Python"

    @classmethod
    def build(cls) -> Path:
        """The source."""
        return PROJECT

    @classmethod
    def missing(cls) -> str | None:
        """Twice the same says nothing."""
        return None if current() else "`Penstock` is that, nothing was compiled: make compile"


class PenstockCache(Penstock):
    """With answers kept in the worker: what is asked again is answered without Triton."""

    name = "penstock_cache"
    label = "Penstock, cache hit"
    more = "    policies: [{kind: cache, ttl: 1h, shared_store: false}]\n"
