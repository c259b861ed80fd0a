"""The arguments of `penstock cache`: one thing to purge, named."""

from __future__ import annotations

import pytest

from gateway.cli import parser


def test_one_thing_is_purged() -> None:
    options = parser().parse_args(["cache", "purge", "f.yaml", "--model", "m", "--version", "2"])
    assert (options.file, options.model, options.version, options.everything) == ("f.yaml", "m", "2", False)


@pytest.mark.parametrize("words", [[], ["--tenant", "a", "--model", "m"], ["--everything", "--shared"], ["--tenant"]])
def test_nothing_or_too_much_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(["cache", "purge", "f.yaml", *words])
    assert caught.value.code == 2
    assert "usage: penstock cache purge" in capsys.readouterr().err
