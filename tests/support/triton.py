"""Real Triton servers for tests: started once per set of models, shared by all tests of a run, ended with it.

    triton = start_triton(["simple", "repeat_int32"])
    first, second = start_tritons(2, ["simple"])

A test that stops or kills its server, or changes what is loaded, takes one of its own: `own_triton`.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deploy.triton import Triton
from tests.support.model_repository import LOADABLE, write_repository

_Key = tuple[tuple[str, ...], bool, tuple[str, ...], int]
_servers: dict[_Key, Triton] = {}


def start_triton(
    models: Sequence[str] = LOADABLE, *, explicit: bool = False, arguments: Sequence[str] = (), number: int = 0
) -> Triton:
    """The shared server that has exactly these models, ready; a different `number` is another server with the same.

    With `explicit`, the models are in the repository and loaded at the start, except `badload`.
    """
    key = (tuple(sorted(models)), explicit, tuple(arguments), number)
    server = _servers.get(key)
    if server is None or not server.running:
        if server is not None:
            server.kill()  # it ended by itself; what watched over it has not
        server = _servers[key] = _new(models, explicit, arguments)
    return server.wait_ready()


def start_tritons(count: int, models: Sequence[str] = LOADABLE, *, explicit: bool = False) -> list[Triton]:
    """`count` shared servers with the same models."""
    return [start_triton(models, explicit=explicit, number=number) for number in range(count)]


@contextmanager
def own_triton(
    models: Sequence[str] = LOADABLE, *, explicit: bool = False, arguments: Sequence[str] = ()
) -> Iterator[Triton]:
    """A server for one test only. Its repository, `triton.repository`, may be changed."""
    triton = _new(models, explicit, arguments)
    try:
        yield triton.wait_ready()
    finally:
        triton.kill()
        shutil.rmtree(triton.repository.parent)


@contextmanager
def own_tritons(*models: Sequence[str]) -> Iterator[list[Triton]]:
    """A server in explicit mode for each of these sets of models, started at the same time."""
    tritons: list[Triton] = []
    try:
        tritons += [_new(each, True, ()) for each in models]
        yield [triton.wait_ready() for triton in tritons]
    finally:
        for triton in tritons:
            triton.kill()
            shutil.rmtree(triton.repository.parent)


def _new(models: Sequence[str], explicit: bool, arguments: Sequence[str]) -> Triton:
    directory = Path(tempfile.mkdtemp(prefix="penstock-test-"))
    try:
        repository = write_repository(directory / "models", models)
        loaded = [name for name in models if name != "badload"]
        log = directory / "triton.log"
        return Triton(repository, explicit=explicit, models=loaded, log=log, arguments=arguments).start()
    except BaseException:
        shutil.rmtree(directory)
        raise


@atexit.register
def _stop_all() -> None:
    for server in _servers.values():
        server.terminate()
    for server in _servers.values():
        server.stop()
        shutil.rmtree(server.repository.parent, ignore_errors=True)
