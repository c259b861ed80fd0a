"""The control process around the plane: the admin port, the link to the workers, and what SIGTERM does."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from config.addresses import UNIX
from config.schema import Config, Listener
from gateway.admin.api import AdminServer
from gateway.control.link_server import LinkServer
from gateway.control.managed import Ground
from gateway.control.plane import Plane
from gateway.lifeline import Exit
from gateway.rundir import RunDirectory
from gateway.store_place import is_embedded, located

_log = logging.getLogger(__name__)


class Control:
    """Control as a process: `drain` fails readiness and keeps the admin port up, `stop` ends it."""

    def __init__(self, directory: RunDirectory, workers: int) -> None:
        given = directory.read_config()
        config = located(given, directory)
        board = directory.open_board(workers)
        ground = ground_in(directory.path, config, directory.lifeline)
        node = None if is_embedded(given) else directory.node()
        self._plane = Plane(config, workers, board=board, slots=directory.slots, ground=ground, node=node)
        self._server = LinkServer(directory.socket, self._plane)
        self._plane.attach(self._server.publish, self._server.publish_keys, self._server.publish_places)
        self._admin = AdminServer(config.admin.address, self._plane)
        ReadinessWatch(self._plane, self._ready)
        self._config = config
        self._directory = directory
        self._stop = asyncio.Event()

    def _ready(self) -> None:
        if self._directory.announce_once():
            announce(self._config, self._admin.url)

    def drain(self) -> None:
        """Fail readiness from now on; a second time, end."""
        if self._plane.draining:
            self.stop()
        else:
            self._plane.drain()

    def stop(self) -> None:
        """Let `run` return."""
        self._stop.set()

    async def run(self) -> int:
        """Serve until stopped. Returns the exit code; raises what the pollers raised, if they failed."""
        try:
            await self._admin.start()
        except OSError as error:
            _log.error("cannot open the admin port: %s", error)
            return Exit.CANNOT_LISTEN
        await self._server.start()
        try:
            async with asyncio.TaskGroup() as group:
                polling = group.create_task(self._plane.run(), name="plane")
                await self._stop.wait()
                polling.cancel()
            await self._plane.close()
        finally:
            await self._server.close()
            await self._admin.close()
        return Exit.OK


def ground_in(directory: str, config: Config, lifeline: Callable[[], int]) -> Ground | None:
    """Where Tritons of the gateway are kept, if it has any; logs outlive the gateway where it has a directory for
    good."""
    if all(pool.managed is None for pool in config.pools.values()):
        return None
    logs = os.path.join(config.state_directory or directory, "logs")
    return Ground(os.path.join(directory, "tritons"), logs, lifeline(), reserved_ports(config))


def reserved_ports(config: Config) -> frozenset[int]:
    """The ports that this gateway opens itself, perhaps later than it starts its Tritons."""
    addresses = [*(listener.address for listener in config.listen), config.admin.address]
    return frozenset(int(each.rpartition(":")[2]) for each in addresses if not each.startswith(UNIX)) - {0}


class ReadinessWatch:
    """Logs when the gateway becomes ready and when it no longer is; calls `ready` whenever it becomes ready."""

    def __init__(self, plane: Plane, ready: Callable[[], None]) -> None:
        self._plane = plane
        self._ready = ready
        self._was_ready = False
        plane.on_change(self._look)

    def _look(self) -> None:
        missing = self._plane.missing()
        if self._was_ready == (not missing):
            return
        self._was_ready = not missing
        if missing:
            level = logging.INFO if self._plane.draining else logging.WARNING
            _log.log(level, "not ready", extra={"missing": missing})
        else:
            _log.info("ready")
            self._ready()


def announce(config: Config, admin_url: str) -> None:
    """Tell the person or script that started the gateway where it serves, on stdout."""
    urls = ", ".join(_url(listener) for listener in config.listen)
    try:
        print(f"penstock: serving on {urls} (admin {admin_url})", flush=True)
    except OSError as error:
        _log.warning("cannot write to stdout: %s", error)


def _url(listener: Listener) -> str:
    return f"{'https' if listener.tls else 'http'}://{listener.address}"
