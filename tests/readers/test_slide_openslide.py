"""OpenSlide, where it is installed, reads the same pixels."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from osler.errors import OslerError
from osler.prepare import Preprocess, prepare_images
from osler.readers import open_study
from osler.readers.slide_openslide import open_by_openslide
from tests.readers import make_mirax, make_slide

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


@pytest.fixture
def mirax(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    pixels = make_slide.tissue_pixels(width=1536, height=1024, blobs=((0.4, 0.5, 0.3),))
    return tmp_path / "a.mrxs", make_mirax.write_mirax(tmp_path / "a.mrxs", pixels, missing=((1, 2),))


@pytest.mark.parametrize("opened", ["file", "folder"])
def test_a_mirax_slide(mirax: tuple[Path, list[np.ndarray]], opened: str) -> None:
    path, made = mirax
    study = open_study(path if opened == "file" else path.parent)
    assert study.left_out == ()  # its folder of data holds no files of their own
    (slide,) = study.slides()
    assert (slide.spacing, slide.magnification, slide.problems) == ((0.0005, 0.0005), 20, ())
    assert [(level.width, level.height, level.downsample) for level in slide.pixels.levels] == [
        (1536, 1024, 1.0), (768, 512, 2.0), (384, 256, 4.0)
    ]  # fmt: skip
    for number, level in enumerate(made):
        height, width = level.shape[:2]
        whole = slide.pixels.read_region(level=number, x=0, y=0, width=width, height=height)
        assert np.array_equal(whole, level)  # what was not scanned is white
        assert not (whole == make_slide.MAGENTA).all(axis=-1).any()  # neither the label nor the glass
    again = pickle.loads(pickle.dumps(slide.pixels))
    assert np.array_equal(again.read_region(level=1, x=70, y=60, width=90, height=80), made[1][60:140, 70:160])


def test_tiles_of_a_mirax_slide_know_where_they_lie(mirax: tuple[Path, list[np.ndarray]]) -> None:
    path, made = mirax
    prepared = prepare_images(open_study(path), preprocess=Preprocess(image_size=64, image_tokens=4))
    tiles = [image.tile for image in prepared.images if image.tile is not None]
    assert tiles
    inside = (made[0] < 230).any(axis=-1)
    for tile in tiles:
        assert tile.mm is not None
        x0, y0, x1, y1 = (round(edge / 0.0005) for edge in (tile.mm.x0, tile.mm.y0, tile.mm.x1, tile.mm.y1))
        assert (x0, y0, x1, y1) == (tile.pixel.x0, tile.pixel.y0, tile.pixel.x1, tile.pixel.y1)
        assert inside[y0:y1, x0:x1].any(), "a tile without tissue"


@pytest.mark.parametrize("name", ["Index.dat", "Slidedat.ini", "Data0000.dat"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_damaged_mirax_slide_is_an_error_of_ours(
    mirax: tuple[Path, list[np.ndarray]], name: str, share: float
) -> None:
    path, made = mirax
    part = path.with_suffix("") / name
    part.write_bytes(part.read_bytes()[: int(part.stat().st_size * share)])
    height, width = made[0].shape[:2]

    def read() -> None:
        (slide,) = open_study(path).slides()
        slide.pixels.read_region(level=0, x=0, y=0, width=width, height=height)

    with pytest.raises(OslerError, match=r"a\.mrxs"):
        read()
