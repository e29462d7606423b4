"""OpenSlide, where it is installed, reads the same pixels."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from osler.readers import open_study
from osler.readers.slide_openslide import open_by_openslide
from tests.readers import make_slide

pytest.importorskip("openslide", reason="OpenSlide is not installed")
PIXELS = make_slide.tissue_pixels(width=1200, height=900, blobs=((0.5, 0.5, 0.3),))


def test_levels_and_regions(tmp_path: Path) -> None:
    made = make_slide.write_svs(tmp_path / "a.svs", PIXELS, levels=2)
    source, spacing, power = open_by_openslide(tmp_path / "a.svs")
    assert spacing == pytest.approx((0.0005, 0.0005))
    assert power == 20
    assert [(level.width, level.height) for level in source.levels] == [(1200, 900), (600, 450)]
    for number, level in enumerate(made):
        region = source.read_region(level=number, x=100, y=60, width=300, height=200)
        assert np.array_equal(region, level[60:260, 100:400])
    again = pickle.loads(pickle.dumps(source))
    assert np.array_equal(again.read_region(level=1, x=-5, y=0, width=9, height=4)[:, 5:], made[1][:4, :4])


def test_it_takes_over_where_tiffslide_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_slide.write_svs(tmp_path / "a.svs", PIXELS)
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    (slide,) = open_study(tmp_path / "a.svs").slides()
    assert np.array_equal(slide.pixels.read_region(level=0, x=3, y=4, width=50, height=60), PIXELS[4:64, 3:53])
