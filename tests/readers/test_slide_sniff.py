"""A slide is told from a picture by content, never by its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from osler.readers import open_study
from osler.readers.blob import DiskBlob
from osler.readers.slide_sniff import is_slide, mirax_folder, without_mirax_data
from tests.readers import make_slide

SMALL = make_slide.tissue_pixels(width=600, height=500, blobs=((0.5, 0.5, 0.3),))


def sniffed(path: Path) -> bool:
    return is_slide(DiskBlob(path, path.stat().st_size))


def test_pyramids_are_slides_whatever_their_name(tmp_path: Path) -> None:
    make_slide.write_pyramid(tmp_path / "a.jpg", SMALL, levels=2)
    make_slide.write_svs(tmp_path / "b.dat", SMALL)
    make_slide.write_ndpi(tmp_path / "c.tif", SMALL)
    assert all(sniffed(path) for path in tmp_path.iterdir())
    assert all(open_study(path).slides() for path in tmp_path.iterdir())


def test_sub_directories_are_levels(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(SMALL, tile=(128, 128), photometric="rgb", subifds=1)
        file.write(SMALL[::2, ::2].copy(), tile=(128, 128), photometric="rgb", subfiletype=1)
    assert sniffed(tmp_path / "a.tif")
    assert len(open_study(tmp_path / "a.tif").slides()[0].pixels.levels) == 2


def test_plain_tiffs_stay_pictures(tmp_path: Path) -> None:
    PillowImage.fromarray(SMALL).save(tmp_path / "plain.svs", format="TIFF")
    tifffile.imwrite(tmp_path / "tiled.tif", SMALL, tile=(128, 128), photometric="rgb")
    tifffile.imwrite(tmp_path / "big.tif", SMALL, bigtiff=True, photometric="rgb")
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for _ in range(3):
            file.write(SMALL, tile=(128, 128), photometric="rgb")
    for path in sorted(tmp_path.iterdir()):
        assert not sniffed(path), path
        assert np.array_equal(open_study(path).images()[0].read(), SMALL)


def test_a_large_tiled_color_image_is_a_slide(tmp_path: Path) -> None:
    wide = np.zeros((64, 4096, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "color.tif", wide, tile=(64, 64), photometric="rgb")
    tifffile.imwrite(tmp_path / "gray.tif", wide[..., 0], tile=(64, 64), photometric="minisblack")
    tifffile.imwrite(tmp_path / "strips.tif", wide, photometric="rgb")
    assert [sniffed(tmp_path / name) for name in ("color.tif", "gray.tif", "strips.tif")] == [True, False, False]


def test_a_cut_header_is_no_slide(tmp_path: Path) -> None:
    make_slide.write_svs(tmp_path / "a.svs", SMALL)
    (tmp_path / "b.svs").write_bytes((tmp_path / "a.svs").read_bytes()[:9])
    assert not sniffed(tmp_path / "b.svs")


@pytest.fixture
def mirax(tmp_path: Path) -> Path:
    """The layout of a MIRAX slide: a JPEG of the glass beside a folder of data."""
    PillowImage.new("RGB", (64, 32), make_slide.MAGENTA).save(tmp_path / "a.mrxs", format="JPEG")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Slidedat.ini").write_text("[GENERAL]\n")
    (tmp_path / "a" / "Data0000.dat").write_bytes(b"\xff\xd8\xff data")
    return tmp_path


def test_the_picture_of_a_mirax_slide_is_never_a_picture(mirax: Path) -> None:
    blob = DiskBlob(mirax / "a.mrxs", 1)
    assert mirax_folder(blob) == mirax / "a"
    assert mirax_folder(DiskBlob(mirax / "a" / "Data0000.dat", 1)) is None
    with pytest.raises(Exception, match=r"a\.mrxs is a whole slide that cannot be read|openslide"):
        open_study(mirax / "a.mrxs")
    with pytest.raises(Exception, match=r"holds nothing that can be used \(1 left out\).*a\.mrxs"):
        open_study(mirax)


def test_the_data_of_a_mirax_slide_are_no_files_of_their_own(mirax: Path) -> None:
    blobs = [DiskBlob(path, 1) for path in sorted(mirax.rglob("*")) if path.is_file()]
    assert len(blobs) == 3
    assert [blob.path.name for blob in without_mirax_data(blobs)] == ["a.mrxs"]
