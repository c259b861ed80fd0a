"""Paths of a configuration and the files they lead to."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from config.files import check_files, resolve_paths
from config.schema import Config, Tls
from tests.support.configurations import config_with

KINDS = ("certificate", "key", "client_ca")


def with_tls(folder: str = "") -> Config:
    tls = ", ".join(f"{kind}: {folder}{kind}.pem" for kind in KINDS)
    return config_with(listen=f"[{{address: a:1, tls: {{{tls}}}}}]", state_directory=f"{folder}state")


def tls_of(config: Config) -> Tls:
    tls = config.listen[0].tls
    assert tls is not None
    return tls


@pytest.fixture(scope="module")
def pems() -> dict[str, bytes]:
    ca = trustme.CA()
    server = ca.issue_cert("gateway.example")
    return {
        "certificate": server.cert_chain_pems[0].bytes(),
        "key": server.private_key_pem.bytes(),
        "client_ca": ca.cert_pem.bytes(),
    }


@pytest.fixture
def folder(tmp_path: Path, pems: dict[str, bytes]) -> Path:
    for kind, content in pems.items():
        (tmp_path / f"{kind}.pem").write_bytes(content)
    return tmp_path


def found(folder: Path) -> dict[str, str]:
    return {str(path[-1]): message for path, message in check_files(resolve_paths(with_tls(), folder))}


def test_relative_paths_start_at_the_base(tmp_path: Path) -> None:
    config = resolve_paths(with_tls(), tmp_path)
    certificate, key, client_ca = (str(tmp_path / f"{kind}.pem") for kind in KINDS)
    assert tls_of(config) == Tls(certificate, key, client_ca)
    assert config.state_directory == str(tmp_path / "state")


def test_absolute_paths_stay(tmp_path: Path) -> None:
    assert resolve_paths(with_tls("/etc/penstock/"), tmp_path) == with_tls("/etc/penstock/")


def test_nothing_to_resolve(tmp_path: Path) -> None:
    assert resolve_paths(config_with(), tmp_path) == config_with()


def test_good_files(folder: Path) -> None:
    assert found(folder) == {}


def test_repositories_of_managed_pools(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "file").write_text("")
    pools = "{a: {managed: {repository: [models, /dev, file, none]}}, b: {endpoints: [a:1]}}"
    config = resolve_paths(config_with(pools=pools, routes='[{match: {model: "*"}, to: a}]'), tmp_path)
    managed = config.pools["a"].managed
    assert managed is not None
    assert managed.repository == (str(tmp_path / "models"), "/dev", str(tmp_path / "file"), str(tmp_path / "none"))
    place = ("pools", "a", "managed", "repository")
    assert list(check_files(config)) == [
        ((*place, 2), f"expected a folder of models, got '{tmp_path / 'file'}'"),
        ((*place, 3), f"expected a folder of models, got '{tmp_path / 'none'}'"),
    ]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert found(tmp_path) == {
        kind: f"cannot read '{tmp_path / f'{kind}.pem'}': No such file or directory" for kind in KINDS
    }


def test_a_folder_is_no_file(folder: Path) -> None:
    (folder / "key.pem").unlink()
    (folder / "key.pem").mkdir()
    assert found(folder) == {"key": f"cannot read '{folder / 'key.pem'}': Is a directory"}


def test_certificate_and_key_exchanged(folder: Path, pems: dict[str, bytes]) -> None:
    (folder / "certificate.pem").write_bytes(pems["key"])
    (folder / "key.pem").write_bytes(pems["certificate"])
    assert {kind: message.split(",")[0] for kind, message in found(folder).items()} == {
        "certificate": "expected a PEM file with 'CERTIFICATE-----'",
        "key": "expected a PEM file with 'PRIVATE KEY-----'",
    }


@pytest.mark.parametrize("sign", ["-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"])
def test_a_key_with_a_passphrase(folder: Path, sign: str) -> None:
    (folder / "key.pem").write_text(f"-----BEGIN RSA PRIVATE KEY-----\n{sign}\n")
    assert found(folder)["key"].startswith("expected a private key without a passphrase, got an encrypted one in ")


def test_the_state_directory_may_come_later_but_is_no_file(folder: Path) -> None:
    (folder / "state").write_text("")
    assert found(folder) == {"state_directory": f"expected a folder, got the file '{folder / 'state'}'"}
