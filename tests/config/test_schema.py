"""The schema and its page in the documentation agree."""

from __future__ import annotations

import msgspec
import msgspec.inspect as mi
import pytest

from config.forms import FORMS
from config.load import parse
from config.scalars import bare
from config.schema import Config, Node
from tests.support.configuration_page import EXAMPLES, ROWS, expected
from tests.support.configurations import config_with
from tests.support.schema_walk import fields

FIELDS = list(fields())
BLOCKS = [block for block in EXAMPLES if "policies:" not in block]


def test_the_page_has_every_field_with_its_type_bounds_and_default() -> None:
    assert {row[:3] for row in ROWS if not row.of_policy} == {expected(*field) for field in FIELDS}


def test_the_page_describes_every_field_once() -> None:
    rows = [row for row in ROWS if not row.of_policy]
    assert len(rows) == len(FIELDS)
    assert [row for row in rows if len(row.meaning) < 5] == []


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_of_the_page_are_configurations(block: str) -> None:
    assert parse(block, "docs/configuration.md").routes


def test_the_page_has_examples() -> None:
    assert len(BLOCKS) >= 15


def test_every_form_of_the_schema_is_known() -> None:
    forms = {bare(kind)[1].get("form") for _, field in FIELDS for kind in [field.type]} - {None}
    assert forms <= set(FORMS)


def test_every_whole_number_and_duration_has_bounds() -> None:
    for path, field in FIELDS:
        options = field.type.types if isinstance(field.type, mi.UnionType) else (field.type,)
        for kind, _ in map(bare, options):
            if isinstance(kind, mi.IntType | mi.FloatType):
                assert kind.ge is not None, path
                assert kind.le is not None, path


def test_a_configuration_survives_the_wire_between_processes() -> None:
    config = config_with(workers="2", drain="{delay: 0s}")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(config), type=Config) == config


def test_parts_are_frozen_and_equal_by_value() -> None:
    assert config_with() == config_with()
    with pytest.raises(AttributeError):
        config_with().workers = 3  # type: ignore[misc]


def test_unknown_fields_are_refused_on_the_wire_too() -> None:
    for part in Node.__subclasses__():
        assert part.__struct_config__.forbid_unknown_fields
        assert part.__struct_config__.frozen
