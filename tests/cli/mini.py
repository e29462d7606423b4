"""Whether the trained Osler-mini is in this copy: tests that need its words skip without it."""

from __future__ import annotations

import pytest

from osler.weights.catalog import MINI_FOLDER

needs_mini = pytest.mark.skipif(
    not (MINI_FOLDER / "config.json").is_file(), reason="the trained parts of osler-mini are not in this copy"
)
