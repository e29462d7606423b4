"""PNG, JPEG and TIFF: values, orientation, depth, pages, damage."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from osler.errors import FileFormatError
from osler.readers import Limits, open_study
from osler.study import Image

GRAY = np.random.default_rng(0).integers(0, 256, (70, 90)).astype("uint8")
COLOR = np.random.default_rng(1).integers(0, 256, (70, 90, 3)).astype("uint8")


def _open(path: Path) -> Image:
    (image,) = open_study(path).images()
    assert image.read().shape == image.pixels.shape
    return image


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("pixels", [GRAY, COLOR], ids=["gray", "color"])
def test_lossless_pictures(tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
    PillowImage.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    (tmp_path / f"a.{suffix}").rename(tmp_path / "a.dcm")
    image = _open(tmp_path / "a.dcm")
    assert np.array_equal(image.read(), pixels)
    assert image.units == ("RGB" if pixels.ndim == 3 else "arbitrary")
    assert image.size == (90, 70)
    assert image.origins[0].file == str(tmp_path / "a.dcm")
    assert image.affine is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    """A bright top left quarter, stored turned or mirrored in each of eight ways, comes out at the top left."""
    upright = np.zeros((96, 128), "uint8")
    upright[:48, :64] = 255
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    PillowImage.fromarray(np.ascontiguousarray(undo(upright))).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = _open(tmp_path / "a.jpg")
    assert np.abs(image.read().astype(int) - upright).mean() < 2
    assert image.size == (128, 96)


def test_depths(tmp_path: Path) -> None:
    deep = (GRAY.astype("uint16") * 257).astype("uint16")
    PillowImage.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(_open(tmp_path / "deep.png").read(), deep)
    PillowImage.fromarray(GRAY > 100).save(tmp_path / "bits.png")
    assert np.array_equal(_open(tmp_path / "bits.png").read(), (GRAY > 100) * 255)
    real = GRAY.astype("float32") / 3
    real[0, 0] = np.nan
    PillowImage.fromarray(real).save(tmp_path / "real.tif")
    values = _open(tmp_path / "real.tif").read()
    assert values[0, 0] == np.nanmin(real)
    assert np.array_equal(values[1:], real[1:])


def test_palette_and_transparency(tmp_path: Path) -> None:
    PillowImage.fromarray(GRAY).convert("P").save(tmp_path / "p.png")
    assert np.array_equal(_open(tmp_path / "p.png").read(), np.repeat(GRAY[..., None], 3, axis=2))
    clear = np.dstack([COLOR, np.full((70, 90), 255, "uint8")])
    clear[0, 0, 3] = 0
    PillowImage.fromarray(clear).save(tmp_path / "rgba.png")
    image = _open(tmp_path / "rgba.png")
    assert image.read()[0, 0].tolist() == [0, 0, 0]
    assert np.array_equal(image.read()[1:], COLOR[1:])
    assert "Transparent parts are read as black." in image.problems


def test_pages_of_a_tiff(tmp_path: Path) -> None:
    pages = [PillowImage.fromarray(page) for page in (GRAY, GRAY[::-1], GRAY[:, ::-1])]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    study = open_study(tmp_path / "a.tif")
    assert np.array_equal(study.images()[0].read(), GRAY)
    assert "3 pages" in study.images()[0].problems[0]
    assert study.left_out[0].count == 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_cut_pictures(tmp_path: Path, kind: str) -> None:
    buffer = io.BytesIO()
    PillowImage.fromarray(COLOR).save(buffer, format=kind)
    path = tmp_path / "cut.img"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) * 2 // 3])
    with pytest.raises(FileFormatError, match=r"cut\.img is a (truncated|damaged) picture"):
        open_study(path).images()[0].read()


def test_too_many_pixels(tmp_path: Path) -> None:
    PillowImage.new("1", (13000, 12000)).save(tmp_path / "wide.png")
    with pytest.raises(FileFormatError, match=r"wide\.png has 13000 x 12000 pixels\. At most 150,000,000"):
        open_study(tmp_path / "wide.png")
    raw = bytearray((tmp_path / "wide.png").read_bytes())
    raw[16:24] = (2_000_000).to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"bomb\.png has more pixels than any camera takes"):
        open_study(tmp_path / "bomb.png")
    with pytest.raises(FileFormatError, match="At most 100 pixels"):
        open_study(tmp_path / "wide.png", limits=Limits(picture_pixels=100))


def test_one_pixel(tmp_path: Path) -> None:
    PillowImage.new("L", (1, 1), 7).save(tmp_path / "a.png")
    image = _open(tmp_path / "a.png")
    assert image.read().tolist() == [[7]]
    assert "Only 1 x 1 pixels" in image.problems[0]
