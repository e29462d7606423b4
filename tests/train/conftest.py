from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.small_base import write_base


@pytest.fixture(scope="session")
def small_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random base model with the real vocabulary."""
    return write_base(tmp_path_factory.mktemp("base") / "small")
