"""The page of the documentation about the configuration: its tables of keys, and its examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import msgspec.inspect as mi

from config.kinds import POLICIES
from tests.support.schema_walk import default_words, type_words

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
_TABLES = re.findall(r"^\| Key \| Type \| Default \| Meaning \|\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)


class Row(NamedTuple):
    """A key, and what the page says of it."""

    key: str
    type: str
    default: str
    meaning: str

    @property
    def of_policy(self) -> bool:
        """Whether it is an option of a kind of policy: `retry.attempts`."""
        return self.key.strip("`").split(".")[0] in POLICIES


ROWS = [Row(*re.split(r" \| ", line.strip("| "))) for table in _TABLES for line in table.splitlines()]


def expected(path: str, field: mi.Field) -> tuple[str, str, str]:
    """What the page has to say of a field, but for its meaning."""
    return f"`{path}`", type_words(field.type), default_words(field)
