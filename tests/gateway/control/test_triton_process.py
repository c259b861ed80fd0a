"""One process: how it starts, is watched, taken over and ended, with a shell in place of Triton."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from config.schema import Models
from gateway.control import proc
from gateway.control.launch import Launch, Ports, free_ports
from gateway.control.triton_process import SHARED_MEMORY, StartError, TritonProcess, told
from tests.support.deadline import eventually
from tests.support.shell_triton import ShellTritons

Scene = Callable[[ShellTritons], Coroutine[Any, Any, None]]


def play(directory: Path, scene: Scene) -> None:
    tritons = ShellTritons(directory)

    async def run() -> None:
        async with asyncio.timeout(20):
            await scene(tritons)

    try:
        asyncio.run(run())
    finally:
        tritons.close()


def start(tritons: ShellTritons, **changes: object) -> TritonProcess:
    launch = Launch.of(tritons.spec(**changes), Models(), 0)
    return TritonProcess.start(launch, free_ports("127.0.0.1", 0, ()), tritons.place())


async def ready(tritons: ShellTritons, **changes: object) -> TritonProcess:
    process = start(tritons, **changes)
    await process.wait_ready(tritons.client(process.address), 5.0)
    return process


async def fail_to_start(tritons: ShellTritons, **changes: object) -> None:
    tritons.live = False
    process = start(tritons, **changes)
    try:
        await process.wait_ready(tritons.client(process.address), 5.0)
    finally:
        process.kill()
        await eventually(lambda: not proc.group_members(process.pid))


def test_it_is_ready_when_it_answers_and_nothing_is_left_when_it_stops(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        tritons.live = False
        process = start(tritons)
        waiting = asyncio.ensure_future(process.wait_ready(tritons.client(process.address), 5.0))
        await asyncio.sleep(0.2)
        assert not process.ready
        tritons.live = True
        await waiting
        assert process.ready
        assert process.endpoint.address == process.address == f"127.0.0.1:{process.ports.grpc}"
        assert process.endpoint.metrics == f"127.0.0.1:{process.ports.metrics}"
        assert process.memory() > 100_000
        left = Path(SHARED_MEMORY, f"penstock-{process._record.token}-x")
        left.touch()
        ends: list[bool] = []
        process.on_end = lambda: ends.append(process.ready)
        await process.stop(5.0)
        assert ends == [False]
        assert process.end_told() == "ended with exit status 0"
        assert process.log.tail()[-1] == "bye"
        assert not left.exists()
        await eventually(lambda: not proc.group_members(process.pid))
        assert not os.path.exists(tritons.place().record)

    play(tmp_path, scene)


def test_it_gets_the_words_of_its_launch_and_its_ports(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        process = await ready(tritons, arguments=("--more",))
        await eventually(process.log.tail)
        assert f"--grpc-port={process.ports.grpc}" in process.log.tail()[0]
        assert process.log.tail()[0].endswith("--more")
        await process.stop(5.0)

    play(tmp_path, scene)


def test_one_that_ends_before_it_answers_says_what_it_said_last(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        tritons.tell("die")
        with pytest.raises(StartError, match=r"ended with exit status 3; it said: error: told to die"):
            await fail_to_start(tritons)

    play(tmp_path, scene)


def test_one_that_does_not_answer_in_time(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        tritons.live = False
        process = start(tritons)
        with pytest.raises(StartError, match=r"not ready after 0.3 s: told to be silent"):
            await process.wait_ready(tritons.client(process.address), 0.3)
        process.kill()

    play(tmp_path, scene)


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        with pytest.raises(StartError, match=r"ended with exit status 127; it said: .*/nowhere/tritonserver"):
            await fail_to_start(tritons, command=("/nowhere/tritonserver",))

    play(tmp_path, scene)


def test_one_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        tritons.tell("deaf")
        process = await ready(tritons)
        await eventually(process.log.tail)
        began = asyncio.get_running_loop().time()
        await process.stop(0.3)
        assert 0.3 <= asyncio.get_running_loop().time() - began < 2
        assert process.end_told() == "ended with SIGKILL"

    play(tmp_path, scene)


def test_a_kill_is_seen_at_once(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        process = await ready(tritons)
        os.kill(process.pid, signal.SIGKILL)
        async with asyncio.timeout(1.0):
            await process.ended.wait()
        assert not process.ready
        process.kill()
        await eventually(lambda: not proc.group_members(process.pid))

    play(tmp_path, scene)


def test_it_dies_with_the_supervisor(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        process = await ready(tritons)
        tritons.cut_lifeline()
        async with asyncio.timeout(2.0):
            await process.ended.wait()
        await eventually(lambda: not proc.group_members(process.pid))
        process.kill()

    play(tmp_path, scene)


def test_the_next_control_takes_it_over(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        first = await ready(tritons)
        first.let_go()
        process = TritonProcess.adopt(tritons.place())
        assert process is not None
        assert (process.pid, process.ready, process.key, process.ports) == (first.pid, True, first.key, first.ports)
        await process.stop(5.0)
        assert process.end_told() == "ended"
        assert proc.identify(process.pid) is None
        assert TritonProcess.adopt(tritons.place()) is None

    play(tmp_path, scene)


def test_one_that_ended_meanwhile_is_cleaned_up_and_a_stranger_with_its_id_is_not(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        first = await ready(tritons)
        await eventually(first.log.tail)
        first.let_go()
        os.kill(first.pid, signal.SIGKILL)
        await eventually(lambda: proc.identify(first.pid) is None)
        assert proc.group_members(first.pid)  # the shell on the lifeline
        assert TritonProcess.adopt(tritons.place()) is None
        await eventually(lambda: not proc.group_members(first.pid))
        assert not os.path.exists(tritons.place().record)
        other = start(tritons)
        other._record = type(other._record)(
            other.key, proc.Identity(other.pid, 1), Ports(1, 2), "127.0.0.1", "another", ready=True
        )
        other._keep_record()
        assert TritonProcess.adopt(tritons.place()) is None
        assert not other.ended.is_set()
        other.kill()

    play(tmp_path, scene)


def test_a_record_that_is_no_record(tmp_path: Path) -> None:
    async def scene(tritons: ShellTritons) -> None:
        record = Path(tritons.place().record)
        record.parent.mkdir()
        record.write_text("{")
        assert TritonProcess.adopt(tritons.place()) is None

    play(tmp_path, scene)


def test_exit_codes_in_words() -> None:
    assert (told(1), told(-9)) == ("exit status 1", "SIGKILL")
