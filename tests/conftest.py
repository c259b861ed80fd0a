"""Puts the build under test first on the path, before a test imports any of it; and what tests of all packages ask
for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.support.build import BUILD

if TYPE_CHECKING:
    from tests.support.valkey import Valkey

sys.path.insert(0, str(BUILD))


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A valkey-server of this test's own."""
    from tests.support.valkey import Valkey

    with Valkey() as server:
        yield server
