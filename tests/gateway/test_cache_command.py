"""`penstock cache purge` against a real store: who listens hears what is meant."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway import cli
from state.cache_ledger import EVERYTHING, of_model, of_scope
from tests.support.caches import Process
from tests.support.configurations import text_with
from tests.support.deadline import eventually
from tests.support.stores import a_client, at
from tests.support.valkey import Valkey

SUBJECTS = [
    (("--model", "m"), of_model("m")),
    (("--model", "m", "--version", "2"), of_model("m", "2")),
    (("--tenant", "acme"), of_scope("tenant", "acme")),
    (("--principal", "ann"), of_scope("principal", "ann")),
    (("--shared",), of_scope("shared", "")),
    (("--everything",), EVERYTHING),
]


@pytest.fixture
def file(valkey: Valkey, tmp_path: Path) -> str:
    path = tmp_path / "gateway.yaml"
    path.write_text(text_with(state=f"'unix:{valkey.socket}'"))
    return str(path)


def test_all_gateways_hear_of_it(file: str, valkey: Valkey, capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> list[str]:
        async with a_client(at(valkey)) as state:
            gateway = Process(state)
            await gateway.settled()
            for words, _ in SUBJECTS:
                assert await asyncio.to_thread(cli.main, ["cache", "purge", file, *words]) == 0
            await eventually(lambda: len(gateway.purged) == len(SUBJECTS))
            return gateway.purged

    assert asyncio.run(run()) == [subject for _, subject in SUBJECTS]
    assert capsys.readouterr().out.startswith("purged")


def test_what_is_wrong_is_said(file: str, valkey: Valkey, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["cache", "purge", file, "--tenant", "a", "--version", "1"]) != 0
    assert "--version: expected --model with it" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["cache", "purge", file])
    valkey.kill()
    assert cli.main(["cache", "purge", file, "--everything"]) != 0
    assert capsys.readouterr().err
