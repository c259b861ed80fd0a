"""One `tritonserver` process: started, watched, and ended, by this control or by the one that comes after it.

A Triton outlives the control that started it, so that a control that crashes costs no request: a record in the run
directory says which process it is, and the next control takes it over. It does not outlive the gateway. A shell that
becomes the Triton leaves a child behind that waits on the gateway's lifeline, a pipe which only the supervisor holds
open, and kills the whole process group when that closes, by whatever end.
"""

from __future__ import annotations

import asyncio
import contextlib
import glob
import os
import re
import secrets
import signal
import subprocess
from collections.abc import Callable

import msgspec

from config.schema import Endpoint
from gateway.control import proc
from gateway.control.launch import Launch, Ports
from gateway.control.poller import Client
from gateway.control.process_log import ProcessLog

PROBE_INTERVAL = 0.1
PROBE_TIMEOUT = 1.0
SHARED_MEMORY = "/dev/shm"
TOKEN_VARIABLE = "PENSTOCK_PROCESS"
"""In the environment of a Triton and its children, so that what a control before this one left can be told from
strangers that got the same process id."""

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to reach what listens on all addresses."""

_TELLS = re.compile(r"^E\d{4} |\berror: |Error: |unrecognized option")
_SCRIPT = 'exec 3<&0 </dev/null; { read -r line <&3; kill -s KILL 0; } >/dev/null 2>&1 & exec "$@" 3<&-'


class StartError(Exception):
    """A Triton did not come up. The text says why."""


class Record(msgspec.Struct, frozen=True):
    """What the next control needs to take a process over."""

    key: str
    identity: proc.Identity
    ports: Ports
    host: str
    token: str
    ready: bool


class Place(msgspec.Struct, frozen=True):
    """The files of one process, and the descriptor of the lifeline."""

    record: str
    log: str
    lifeline: int


class TritonProcess:
    """A Triton that runs, or ran. `start` or `adopt` makes one; `stop` must end it. `on_end` is called when it ends,
    whoever ended it."""

    def __init__(self, record: Record, place: Place, popen: subprocess.Popen[bytes] | None) -> None:
        self.ended = asyncio.Event()
        self.on_end: Callable[[], None] = lambda: None
        self.log = ProcessLog(place.log)
        self._record = record
        self.place = place
        self._popen = popen
        self._cleared = False
        self._watched = os.pidfd_open(record.identity.pid)
        asyncio.get_running_loop().add_reader(self._watched, self._over)

    @classmethod
    def start(cls, launch: Launch, ports: Ports, place: Place) -> TritonProcess:
        """Start one. Raises `StartError` when there is no such command or no place for its log."""
        token = secrets.token_hex(8)
        words = launch.words(ports, prefix=_prefix(token))
        variables = launch.variables() | {TOKEN_VARIABLE: token}
        try:
            output = ProcessLog(place.log).open()
            try:
                popen = subprocess.Popen(
                    ["/bin/sh", "-c", _SCRIPT, "penstock", *words],
                    stdin=place.lifeline,
                    stdout=output,
                    stderr=output,
                    env=variables,
                    start_new_session=True,
                )
            finally:
                os.close(output)
            identity = proc.identify(popen.pid)
            if identity is None:
                _kill_group(popen.pid)
                raise StartError(f"ended with {told(popen.wait())}{last_words(ProcessLog(place.log))}")
            process = cls(Record(launch.key, identity, ports, launch.host, token, ready=False), place, popen)
            process._keep_record()
        except OSError as error:
            raise StartError(str(error)) from error
        return process

    @classmethod
    def adopt(cls, place: Place) -> TritonProcess | None:
        """The process that a control before this one started; None, and nothing of it left, if it ended."""
        try:
            with open(place.record, "rb") as file:
                record = msgspec.json.decode(file.read(), type=Record)
        except (OSError, msgspec.MsgspecError):
            return None
        if proc.identify(record.identity.pid) == record.identity:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                return cls(record, place, None)
        _remove_leftovers(record)
        os.unlink(place.record)
        return None

    @property
    def pid(self) -> int:
        """Process id, which is also that of its process group."""
        return self._record.identity.pid

    @property
    def ready(self) -> bool:
        """It answered once, and runs."""
        return self._record.ready and not self.ended.is_set()

    @property
    def key(self) -> str:
        """That of its `Launch`."""
        return self._record.key

    @property
    def ports(self) -> Ports:
        return self._record.ports

    @property
    def address(self) -> str:
        """`host:port` of its gRPC service."""
        return _join(self._record.host, self._record.ports.grpc)

    @property
    def endpoint(self) -> Endpoint:
        """As a pool's configuration would have it."""
        return Endpoint(self.address, metrics=_join(self._record.host, self._record.ports.metrics))

    def memory(self) -> int:
        """Bytes of main memory that it has, with the processes of its Python models."""
        return proc.memory_of(proc.group_members(self.pid))

    async def wait_ready(self, client: Client, timeout: float) -> None:
        """Return when it answers. Raises `StartError` when it ends first, or takes longer than `timeout` seconds."""
        reason = "it does not answer"
        try:
            async with asyncio.timeout(timeout):
                while not self.ended.is_set():
                    poll = await client.live(PROBE_TIMEOUT)
                    if poll.live:
                        self._record = msgspec.structs.replace(self._record, ready=True)
                        self._keep_record()
                        return
                    reason = poll.reason
                    await self._sleep_or_end(PROBE_INTERVAL)
        except TimeoutError:
            raise StartError(f"not ready after {timeout:g} s: {reason}{self.last_words()}") from None
        except OSError as error:
            raise StartError(f"cannot write {self.place.record}: {error}") from error
        finally:
            await client.close()
        raise StartError(f"{self.end_told()}{self.last_words()}")

    async def _sleep_or_end(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended.wait()

    async def stop(self, grace: float) -> None:
        """SIGTERM, at most `grace` seconds to comply, then SIGKILL; nothing is left of it. Cancelled, SIGKILL now."""
        try:
            if not self.ended.is_set():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGTERM)
                await self._sleep_or_end(grace)
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL for the whole group: the Triton, its children, and the shell that waits on the lifeline, which is a
        member until now, so that nobody else can have the group's id."""
        if self._cleared:
            return
        self._cleared = True
        _kill_group(self.pid)
        if self._popen is not None:
            self._popen.wait()
        self._over()
        _remove_shared_memory(self._record.token)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.place.record)

    def let_go(self) -> None:
        """Watch it no longer, and leave it running for the next control."""
        self._unwatch()
        if self._popen is not None:
            self._popen.returncode = 0  # else its destructor warns that the process runs, as it is to

    def end_told(self) -> str:
        """How it ended, in words."""
        code = self._popen.poll() if self._popen is not None else None
        return "ended" if code is None else f"ended with {told(code)}"

    def last_words(self) -> str:
        """What its log says of why, to be appended to a reason."""
        return last_words(self.log)

    def _over(self) -> None:
        if not self.ended.is_set():
            self._unwatch()
            if self._popen is not None:
                self._popen.poll()
            self.ended.set()
            self.on_end()

    def _unwatch(self) -> None:
        if self._watched >= 0:
            asyncio.get_running_loop().remove_reader(self._watched)
            os.close(self._watched)
            self._watched = -1

    def _keep_record(self) -> None:
        path = self.place.record
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with open(f"{path}.new", "wb") as file:
            file.write(msgspec.json.encode(self._record))
        os.replace(f"{path}.new", path)


def last_words(log: ProcessLog) -> str:
    """The last line that tells of an error, else the last, to be appended to a reason. A Triton that is given a wrong
    option says so and then prints a page of help."""
    lines = log.tail()
    errors = [line for line in lines if _TELLS.search(line)]
    return f"; it said: {(errors or lines)[-1].strip()[:300]}" if lines else ""


def told(code: int) -> str:
    """An exit status in words; minus a signal's number if one ended it."""
    return f"exit status {code}" if code >= 0 else signal.Signals(-code).name


def _join(host: str, port: int) -> str:
    host = ANY_ADDRESS.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _prefix(token: str) -> str:
    return f"penstock-{token}-"


def _remove_leftovers(record: Record) -> None:
    """End what is left of a group whose leader ended while no control was there."""
    variable = f"{TOKEN_VARIABLE}={record.token}"
    for pid in proc.group_members(record.identity.pid):
        if proc.has_variable(pid, variable):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    _remove_shared_memory(record.token)


def _remove_shared_memory(token: str) -> None:
    for path in glob.glob(f"{SHARED_MEMORY}/{_prefix(token)}*"):
        with contextlib.suppress(OSError):  # gone already, or not a file
            os.unlink(path)
