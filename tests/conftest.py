"""Puts the build under test first on the path, before a test imports any of it."""

from __future__ import annotations

import sys

from tests.support.build import BUILD

sys.path.insert(0, str(BUILD))
