"""What may be written after `penstock keys`."""

from __future__ import annotations

import pytest

from gateway.cli import parser


def parsed(*words: str) -> dict[str, object]:
    return vars(parser().parse_args(["keys", *words]))


def test_create() -> None:
    options = parsed("create", "f", "alice", "--scope", "a", "--scope", "b", "--expires", "30d", "--limit", "l=5/s")
    assert (options["file"], options["principal"], options["scope"]) == ("f", "alice", ["a", "b"])
    assert (options["expires"], options["starts"], options["limit"]) == (30 * 86400, None, [("l", "5/s")])
    assert (options["output"], options["offline"]) == ("table", False)


def test_rotate() -> None:
    assert parsed("rotate", "f", "id")["grace"] == 86400
    assert parsed("rotate", "f", "id", "--grace", "0s")["grace"] == 0


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("create", "f"),
        ("create", "f", "alice", "--expires", "soon"),
        ("create", "f", "alice", "--limit", "5/s"),
        ("list", "f", "-o", "xml"),
        ("revoke", "f"),
        ("destroy", "f"),
    ],
)
def test_mistakes(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(*words)
    assert caught.value.code == 2
    assert "usage: penstock keys" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["create", "list", "show", "rotate", "revoke"])
def test_each_has_help_with_an_example(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(action, "--help")
    assert f"penstock keys {action} gateway.yaml" in capsys.readouterr().out
