"""What a slide's header leaves open is said; a missing package is one line."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from osler.errors import FileFormatError, RequestError, UnsupportedError
from osler.readers import open_study
from tests.readers import make_slide

PIXELS = make_slide.tissue_pixels(width=700, height=600, blobs=((0.5, 0.5, 0.3),))


def test_a_slide_without_pixel_size(tmp_path: Path) -> None:
    make_slide.write_svs(tmp_path / "a.svs", PIXELS, microns=None)
    make_slide.write_pyramid(tmp_path / "b.tif", PIXELS, microns=None)
    (scanned,), (generic,) = (open_study(tmp_path / name).slides() for name in ("a.svs", "b.tif"))
    assert scanned.spacing is None
    assert "does not say how large a pixel is: its objective of 20x is taken" in scanned.problems[0]
    assert generic.spacing is None
    assert "20x is assumed, and positions are in px only" in generic.problems[0]


def test_a_pixel_size_that_no_scanner_has(tmp_path: Path) -> None:
    make_slide.write_pyramid(tmp_path / "a.tif", PIXELS, microns=352.8)  # 72 dpi
    (slide,) = open_study(tmp_path / "a.tif").slides()
    assert slide.spacing is None
    assert "0.3528 x 0.3528 mm, which no scanner has" in slide.problems[0]


def test_a_slide_in_an_archive_is_refused(tmp_path: Path) -> None:
    make_slide.write_svs(tmp_path / "a.svs", PIXELS)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.svs", "a.svs")
    with pytest.raises(UnsupportedError, match=r"whole slide inside an archive.*Unpack the archive|inside an archive"):
        open_study(tmp_path / "a.zip")


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_slide.write_svs(tmp_path / "a.svs", PIXELS)
    for name in ("tiffslide", "openslide"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        RequestError, match=r"package 'tiffslide', which is not installed\. pip install 'osler\[slides\]'"
    ):
        open_study(tmp_path / "a.svs")


def test_a_missing_package_does_not_stop_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    make_slide.write_svs(tmp_path / "a.svs", PIXELS)
    Image.fromarray(PIXELS).save(tmp_path / "b.png")
    for name in ("tiffslide", "openslide"):
        monkeypatch.setitem(sys.modules, name, None)
    study = open_study(tmp_path)
    assert len(study.images()) == 1
    assert "'tiffslide', which is not installed" in study.left_out[0].why


def test_what_no_library_reads_names_each(tmp_path: Path) -> None:
    from osler.readers.blob import DiskBlob
    from osler.readers.slide import read_slide

    (tmp_path / "a.svs").write_bytes(b"II*\x00" + bytes(200))
    with pytest.raises(FileFormatError, match=r"a whole slide that cannot be read \(tiffslide: .*OpenSlide"):
        read_slide(DiskBlob(tmp_path / "a.svs", 204))


def test_a_slide_beside_other_files(tmp_path: Path) -> None:
    from PIL import Image

    make_slide.write_svs(tmp_path / "a.svs", PIXELS)
    Image.fromarray(PIXELS).save(tmp_path / "b.png")
    study = open_study(tmp_path)
    assert len(study.slides()) == len(study.images()) == 1
    assert np.array_equal(study.images()[0].read(), PIXELS)
