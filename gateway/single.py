"""`--workers 0`: control and one worker in one event loop, for tests and debugging."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

from config.schema import Config
from gateway.admin.api import AdminServer
from gateway.control.plane import Plane
from gateway.control.process import ReadinessWatch, announce, ground_in
from gateway.lifeline import Exit
from gateway.link import DirectLink, OnWorld
from gateway.rundir import RunDirectory, new_node
from gateway.store_place import is_embedded, located
from gateway.supervisor import GRACE, Child, Settings, own_launcher, store_child, store_there
from gateway.tasks import spawn
from gateway.worker_main import MakeDataPlane, Worker

_log = logging.getLogger(__name__)


class Single:
    """All of a gateway in this process. The first `stop` drains it; the second ends it at once."""

    def __init__(self, config: Config, make: MakeDataPlane, file: str = "") -> None:
        """`file` is where the configuration came from."""
        self._config = config
        self._file = file
        self._directory: RunDirectory | None = None
        self._store: Child | None = None
        path = self._path()
        plane_config = located(config, self._directory) if self._directory is not None else config
        node = None if is_embedded(config) else new_node()
        self._plane = Plane(plane_config, workers=1, ground=ground_in(path, config, self._hold), node=node)
        self._admin = AdminServer(config.admin.address, self._plane)
        self._worker = Worker(0, make, self._connect, self._plane.board)
        self._announced = False
        self._running: asyncio.Task[int] | None = None
        ReadinessWatch(self._plane, self._ready)

    def _path(self) -> str:
        if all(pool.managed is None for pool in self._config.pools.values()) and not is_embedded(self._config):
            return ""
        self._directory = directory = RunDirectory.make(self._config.state_directory)
        directory.write_config(self._config)
        directory.write_source(self._file)
        return directory.path

    def _hold(self) -> int:
        """A lifeline that this process holds itself."""
        read, self._lifeline = os.pipe()
        return read

    def stop(self) -> None:
        """Fail readiness and drain, or end now if draining."""
        if self._plane.draining and self._running is not None:
            self._running.cancel()
            return
        self._plane.drain()
        self._worker.stop()

    async def run(self) -> int:
        """Serve until stopped. Returns the exit code: 0 if it drained."""
        self._running = asyncio.current_task()
        try:
            await self._admin.start()
        except OSError as error:
            _log.error("cannot open the admin port: %s", error)
            return Exit.CANNOT_LISTEN
        await self._start_store()
        try:
            async with asyncio.TaskGroup() as group:
                polling = group.create_task(self._plane.run(), name="plane")
                code = await self._worker.run(self._config.drain.delay)
                polling.cancel()
        except asyncio.CancelledError:
            return Exit.FAILED
        finally:
            await self._plane.close()
            await self._admin.close()
            await self._end_store()
            if self._directory is not None:
                self._directory.remove()
        return code

    async def _start_store(self) -> None:
        """Run the embedded store, if there is one, as the supervisor would."""
        if self._directory is not None and is_embedded(self._config):
            settings = Settings(own_launcher(), self._directory.path, 0, self._config.drain)
            self._store = store_child(settings, lambda child: None)
            self._keeping = spawn(self._store.keep(), "keeper of the store")
            await store_there(self._directory.store)

    async def _end_store(self) -> None:
        if self._store is not None:
            self._store.end()
            done, _ = await asyncio.wait([self._keeping], timeout=GRACE)
            if not done:
                self._store.send(signal.SIGKILL)

    def _connect(self, on_world: OnWorld) -> DirectLink:
        link = DirectLink(self._plane, on_world)
        self._plane.attach(link.publish, link.publish_keys, link.publish_places)
        return link

    def _ready(self) -> None:
        if not self._announced:
            self._announced = True
            announce(self._config, self._admin.url)
