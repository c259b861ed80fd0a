"""The example configurations are what `penstock check --strict` takes without a word."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import trustme

from deploy.triton.environment import PROJECT
from gateway.cli import main

EXAMPLES = sorted((PROJECT / "deploy" / "examples").glob("*.yaml"))


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = main(["check", "--strict", str(path)])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.parametrize("path", [each for each in EXAMPLES if each.stem != "tls"], ids=lambda path: path.stem)
def test_it_is_sound(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = check(path, capsys)
    assert (status, said.count("\n")) == (0, 1), said
    assert f"{path}: ok" in said


def test_that_with_tls_is_once_its_files_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(shutil.copy(PROJECT / "deploy" / "examples" / "tls.yaml", tmp_path))
    status, said = check(path, capsys)
    assert status != 0
    for field in ("certificate", "key", "client_ca"):
        assert f"listen[0].tls.{field}: cannot read" in said
    ca = trustme.CA()
    server = ca.issue_cert("gateway.example")
    (tmp_path / "tls").mkdir()
    server.cert_chain_pems[0].write_to_path(tmp_path / "tls" / "server.pem")
    server.private_key_pem.write_to_path(tmp_path / "tls" / "server.key")
    ca.cert_pem.write_to_path(tmp_path / "tls" / "clients.pem")
    assert check(path, capsys) == (0, f"{path}: ok (1 listener, 1 pool, 1 route)\n")
