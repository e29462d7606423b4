"""What a data set needs is said when it is absent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from osler.errors import RequestError
from osler.train.sources import colin27, cranium, slide_tiles


def test_absent_slide_reader_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    with pytest.raises(RequestError, match=r"osler\[slides\]"):
        next(slide_tiles(tmp_path))


def test_files_of_other_packages_may_be_absent(tmp_path: Path) -> None:
    for place in ("", str(tmp_path / "none")):
        assert list(colin27(place)) == []
        assert list(cranium(place)) == []
