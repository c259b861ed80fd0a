"""The options of policies and their page in the documentation agree."""

from __future__ import annotations

from importlib import import_module

import msgspec.inspect as mi
import pytest

from config.kinds import POLICIES
from config.load import parse
from config.schema import Node
from tests.support.configuration_page import EXAMPLES, ROWS, expected
from tests.support.schema_walk import fields


def options(kind: str) -> type[Node]:
    spec: type[Node] = import_module(f"policies.{kind}").Spec
    return spec


@pytest.mark.parametrize("kind", POLICIES)
def test_the_page_has_every_option_with_its_type_bounds_and_default(kind: str) -> None:
    described = list(fields(mi.type_info(options(kind)), kind))
    rows = [row for row in ROWS if row.key.startswith(f"`{kind}.")]
    assert {row[:3] for row in rows} == {expected(*field) for field in described}
    assert len(rows) == len(described) > 0
    assert [row for row in rows if len(row.meaning) < 5] == []


@pytest.mark.parametrize("block", [block for block in EXAMPLES if "policies:" in block])
def test_examples_of_the_page_are_configurations(block: str) -> None:
    assert parse(block, "docs/configuration.md", policies={kind: options(kind) for kind in POLICIES}).policies
