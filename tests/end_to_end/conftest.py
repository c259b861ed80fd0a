"""The gateways that tests share: one for hostile clients, one for the programs of others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fake_backend import FakeBackend
from tests.support.hostile import HostileGateway
from tests.support.interop_world import World, interop_world


@pytest.fixture(scope="session")
def _hostile_gateway() -> Iterator[HostileGateway]:
    with FakeBackend() as backend, HostileGateway(backend) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def hostile(_hostile_gateway: HostileGateway) -> Iterator[HostileGateway]:
    """All that a module does to it leaves nothing behind."""
    yield _hostile_gateway
    _hostile_gateway.assert_calm()


@pytest.fixture
def bystander(hostile: HostileGateway) -> Iterator[None]:
    """Somebody else uses the gateway all the while, and notices nothing."""
    with hostile.bystander():
        yield


@pytest.fixture(scope="session")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with interop_world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture(scope="module")
def world(_world: World) -> Iterator[World]:
    """A gateway before a real Triton, for the programs of others. All that a module does leaves nothing behind."""
    yield _world
    _world.assert_calm()
