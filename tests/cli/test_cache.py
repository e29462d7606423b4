"""``osler cache`` shows and removes encoded studies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from osler.engine.study_cache import StudyCache
from tests.cli.running import invoke


def test_it_shows_and_clears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_STUDY_CACHE", str(tmp_path))
    StudyCache(tmp_path).put("features", content="a", tensors={"features": torch.zeros(1000)})
    shown = invoke("cache")
    assert "1 encoded images and 0 read studies" in shown.stdout
    assert json.loads(invoke("cache", "--json").stdout)["entries"] == 1
    assert "Removed 1 entries" in invoke("cache", "--clear").stdout
    assert list(tmp_path.iterdir()) == []


def test_it_may_be_off() -> None:
    assert "off" in invoke("cache").stdout
    assert json.loads(invoke("cache", "--json").stdout) == {"state": "off"}
