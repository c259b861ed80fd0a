"""Files that policies name start where the configuration is, and can be read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest

from config.fields import text
from config.load import ConfigError, load
from config.node import Node


class Filed(Node, frozen=True):
    """Options with files."""

    file: Annotated[str, text("A file", "path")] = ""
    other: Annotated[str, text("No file")] = ""


class Plain(Node, frozen=True):
    """Options without any."""

    file: Annotated[str, text("No file, though called so")] = ""


TYPES = {"filed": Filed, "plain": Plain}
HEAD = "pools: {p: {endpoints: ['a:1']}}\n"


def write(folder: Path, text: str) -> Path:
    file = folder / "gateway.yaml"
    file.write_text(HEAD + text)
    return file


def test_paths_start_at_the_file_wherever_the_policy_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    config = load(
        write(
            tmp_path,
            "listen: [{address: '127.0.0.1:1', policies: [shared, {kind: filed, file: ./a}]}]\n"
            "policies: {shared: {kind: filed, file: a, other: a}}\n"
            f"routes: [{{match: {{model: m}}, to: p, policies: [shared, {{kind: filed, file: {tmp_path}/a}},"
            " {kind: plain, file: a}, {kind: filed}]}]\n",
        ),
        policies=TYPES,
    )
    file = str(tmp_path / "a")
    assert [each.options["file"] for each in config.listen[0].policies] == [file, file]
    assert [each.options["file"] for each in config.routes[0].policies] == [file, file, "a", ""]
    assert config.policies["shared"].options["other"] == "a"


def test_files_that_cannot_be_read_are_mistakes_where_they_are_written(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        "listen: [{address: '127.0.0.1:1'}]\n"
        "policies: {shared: {kind: filed, file: b}}\n"
        "routes: [{match: {model: m}, to: p, policies: [{kind: filed, file: c}]}]\n",
    )
    with pytest.raises(ConfigError) as caught:
        load(file, policies=TYPES)
    assert [(each.line, each.path, each.message) for each in caught.value.problems] == [
        (3, "policies.shared.file", f"cannot read '{tmp_path}/b'"),
        (4, "routes[0].policies[0].file", f"cannot read '{tmp_path}/c'"),
    ]


def test_other_mistakes_are_reported_beside_them(tmp_path: Path) -> None:
    file = write(
        tmp_path, "listen: [7]\npolicies: {a: {kind: filed, file: b}, c: {kind: what}}\nroutes: [{match: 1}]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file, policies=TYPES)
    assert "policies.a.file" in {each.path for each in caught.value.problems}
    assert len(caught.value.problems) > 2
