"""A data plane whose listeners have policies of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from config.routes import PolicySpec
from config.schema import Config, Endpoint, Pool
from tests.support.acting import BADGE
from tests.support.data_plane import PlaneThread, a_listener, a_route, a_state, running
from tests.support.model_server import ModelServer, model_server


@contextmanager
def fronts(*route_policies: PolicySpec) -> Iterator[tuple[PlaneThread, ModelServer]]:
    """Three listeners: one without policies, one with a badge, and one with a badge for health too. No route takes the
    model `secret`."""
    listen = (
        a_listener("open"),
        a_listener("badge", policies=(BADGE,)),
        a_listener("all", policies=(BADGE,), guard_health=True),
    )
    with model_server() as server:
        pools = {"p": Pool(endpoints=(Endpoint(server.address),))}
        config = Config(listen=listen, pools=pools, routes=(a_route("m", policies=route_policies),))
        with running(config, {"p": [a_state(server.address, {"m": {"1": "READY"}})]}) as plane:
            yield plane, server
