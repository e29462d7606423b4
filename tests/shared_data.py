"""Where the shared medical data lies, for tests that need real files.

The folder stands beside the project (``../shared/data`` from its root) or
where ``OSLER_SHARED_DATA`` points. Tests that need it carry
``needs_shared_data`` and are skipped, saying why, where it is absent.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def _find() -> Path | None:
    named = os.environ.get("OSLER_SHARED_DATA")
    root = Path(__file__).resolve().parents[1]
    # A git worktree lies one level deeper than the main checkout.
    places = [Path(named)] if named else [root.parent / "shared/data", root.parent.parent / "shared/data"]
    return next((place for place in places if place.is_dir()), None)


SHARED_DATA: Path | None = _find()

needs_shared_data = pytest.mark.skipif(
    SHARED_DATA is None,
    reason="no shared medical data: set OSLER_SHARED_DATA or put it at ../shared/data beside the project",
)
