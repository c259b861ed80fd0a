"""The Tritons: their model repositories, and which server an answer came from."""

from __future__ import annotations

import asyncio
import struct
import time
from pathlib import Path

import pytest

from deploy.triton import Triton
from loadtests.exchange import Address, WrongAnswerError
from loadtests.load import generator
from loadtests.load.client import Reply
from loadtests.payloads import pb
from loadtests.routing.fleet import Answers, repository
from loadtests.routing.scenarios import SERVICE, SLOWED, SLOWER


def answer(name: str, server: int) -> Reply:
    message = pb.ModelInferResponse(model_name="even", raw_output_contents=[struct.pack("<i", server)])
    message.outputs.add(name=name, datatype="INT32", shape=[1, 1])
    return Reply(200, {}, bytearray(bytes(5) + message.SerializeToString()))


def test_only_the_slowed_server_is_slower_and_only_with_one_model(tmp_path: Path) -> None:
    found = {}
    for server in (0, SLOWED):
        for model in ("even", "uneven"):
            text = (repository(tmp_path / model, server) / model / "config.pbtxt").read_text()
            [found[server, model]] = [line for line in text.splitlines() if '"seconds"' in line]
    slow = found.pop((SLOWED, "uneven"))
    assert f'"{SERVICE * SLOWER}"' in slow
    assert all(f'"{SERVICE}"' in line for line in found.values())


def test_an_answer_tells_its_server() -> None:
    answers = Answers("even")
    assert [answers.server(answer("SERVER", index)) for index in (2, 0, 2)] == [2, 0, 2]


@pytest.mark.parametrize("wrong", [answer("OUTPUT0", 0), answer("SERVER", 4), answer("SERVER", -1)])
def test_other_answers_are_wrong(wrong: Reply) -> None:
    with pytest.raises(WrongAnswerError):
        Answers("even").server(wrong)


@pytest.mark.triton
def test_a_real_one_takes_its_time(tmp_path: Path) -> None:
    answers = Answers("uneven")
    with Triton(repository(tmp_path, SLOWED), log=tmp_path / "log") as triton:
        address = Address("127.0.0.1", triton.grpc_port)
        asyncio.run(generator.ask(answers.exchange, address))
        began = time.perf_counter()
        reply = asyncio.run(generator.ask(answers.exchange, address))
    assert answers.server(reply) == SLOWED
    assert time.perf_counter() - began >= SERVICE * SLOWER
