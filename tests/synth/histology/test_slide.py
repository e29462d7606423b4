"""Slides that other programs read, with the truth about them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from osler.errors import RequestError
from osler.synth.histology import SlideSpec, SlideTruth, TumorPlace, render_tile, write_slide

tifffile = pytest.importorskip("tifffile")
SPEC = SlideSpec(
    organ="prostate", key=11, width_mm=0.55, height_mm=0.41, pixel_mm=0.0005,
    tumors=(TumorPlace(center_mm=(0.3, 0.2), half_mm=(0.12, 0.1), pattern="prostate-gleason-4"),),
)  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SlideTruth]:
    path = tmp_path_factory.mktemp("slides") / "prostate.tiff"
    return path, write_slide(path, spec=SPEC)


def test_levels_are_halved_until_they_are_small(written: tuple[Path, SlideTruth]) -> None:
    with tifffile.TiffFile(written[0]) as file:
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(820, 1100, 3), (410, 550, 3), (205, 275, 3)]
        assert all(level.keyframe.is_tiled and level.keyframe.tile == (256, 256) for level in levels)


def test_tiffslide_reads_what_the_tiles_show(written: tuple[Path, SlideTruth]) -> None:
    tiffslide = pytest.importorskip("tiffslide")
    slide = tiffslide.TiffSlide(written[0])
    assert slide.dimensions == (1100, 820)
    assert slide.properties["tiffslide.mpp-x"] == pytest.approx(0.5)
    region = np.asarray(slide.read_region((300, 200), 0, (256, 256)).convert("RGB")).astype(int)
    tile = render_tile(SPEC, column=300, row=200)
    assert np.abs(region - tile.pixels).mean() < 8
    small = np.asarray(slide.read_region((0, 0), 2, (275, 205)).convert("RGB")).astype(int)
    means = region.reshape(64, 4, 64, 4, 3).mean(axis=(1, 3))
    assert np.abs(small[50:114, 75:139] - means).mean() < 10


def test_the_truth_is_the_tiles_truth(written: tuple[Path, SlideTruth]) -> None:
    truth = written[1]
    whole = render_tile(SPEC, column=0, row=0, width=1100, height=820)
    assert truth.counts == whole.counts
    assert truth.tumor_mm2 == pytest.approx(whole.tumor_mask.sum() * 0.0005**2)
    for box in whole.tumor_boxes:
        assert any(
            big.x0 <= box.x0 and big.y0 <= box.y0 and big.x1 >= box.x1 and big.y1 >= box.y1 for big in truth.tumor_boxes
        )
    assert truth.tumor_boxes_mm[0][2] == pytest.approx(truth.tumor_boxes[0].x1 * 0.0005)


def test_the_same_slide_has_the_same_bytes(written: tuple[Path, SlideTruth], tmp_path: Path) -> None:
    write_slide(tmp_path / "again.tiff", spec=SPEC)
    assert (tmp_path / "again.tiff").read_bytes() == written[0].read_bytes()


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "slide.tiff"
    path.write_bytes(b"mine")
    with pytest.raises(RequestError, match="exists"):
        write_slide(path, spec=SPEC)
    assert path.read_bytes() == b"mine"


def test_too_large_a_slide_is_refused_before_any_work(tmp_path: Path) -> None:
    big = SlideSpec(organ="colon", key=1, width_mm=60, height_mm=60)
    with pytest.raises(RequestError, match="A slide of 120000 x 120000 px"):
        write_slide(tmp_path / "big.tiff", spec=big)
    with pytest.raises(RequestError, match="1 to 100"):
        write_slide(tmp_path / "small.tiff", spec=SPEC, quality=0)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_one_line_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(RequestError, match=r"'tifffile', which is not installed.*pip install 'osler\[synth\]'"):
        write_slide(tmp_path / "slide.tiff", spec=SPEC)
