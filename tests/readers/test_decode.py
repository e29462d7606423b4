"""Decoded values against pydicom, for every image among pydicom's own test files."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.pixels import apply_color_lut, apply_rescale

from osler.errors import OslerError
from osler.readers import open_study
from osler.study import Image

FILES = Path(pydicom.__file__).parent / "data/test_files"
NAMES = sorted(path.relative_to(FILES).as_posix() for path in FILES.rglob("*") if path.is_file())

# Images whose pixels pydicom cannot decode itself, so that there is nothing to compare.
_NO_REFERENCE = {"JPGExtended.dcm", "JPEG-lossy.dcm"}
_DAMAGED = {"JPEG2000-embedded-sequence-delimiter.dcm"}
# What Osler opens of pydicom's own files; a reader that refuses more has lost something.
_IMAGES_AT_LEAST = 55


@cache
def _try(name: str) -> Image | OslerError | None:
    """The image of a file, ``None`` if there is no single image in it, or the error that it gives."""
    try:
        return next(iter(open_study(FILES / name).images()), None)
    except OslerError as error:
        return error


def _values(image: Image) -> np.ndarray | OslerError:
    try:
        return image.read()
    except OslerError as error:
        return error


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_pydicom_files_open_right_or_give_a_clear_error(name: str) -> None:
    found = _try(name)
    if isinstance(found, Image):
        found = _compared(found, name=name)
    if isinstance(found, OslerError):
        assert found.next_step
        assert Path(name).name in str(found) or "2 patients" in str(found)


def _compared(image: Image, *, name: str) -> OslerError | None:
    """Compares the values of an image with pydicom's; gives the error of one that cannot be read."""
    values = _values(image)
    assert isinstance(values, OslerError) == (name in _DAMAGED), values
    if isinstance(values, OslerError):
        return values
    if name in _NO_REFERENCE:
        return None
    ds = dcmread(FILES / name, force=True)
    expected = ds.pixel_array
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        expected = apply_color_lut(expected, ds) >> 8
    if int(ds.get("NumberOfFrames") or 1) > 1:
        expected = expected[0]
    if image.units == "RGB":
        limit = 2**ds.BitsStored - 1 if ds.PhotometricInterpretation != "PALETTE COLOR" else 255
        expected = np.rint(expected.astype(float) * 255 / limit)
        assert np.abs(values - expected).max() <= 1
        return None
    if ds.PhotometricInterpretation == "MONOCHROME1":
        expected = 2**ds.BitsStored - 1 - expected.astype(int)
    np.testing.assert_allclose(values, apply_rescale(expected, ds), rtol=1e-6)
    return None


def test_most_of_them_open() -> None:
    assert sum(isinstance(_try(name), Image) for name in NAMES) >= _IMAGES_AT_LEAST


@pytest.mark.parametrize("name", sorted(_NO_REFERENCE))
def test_12_bit_jpeg(name: str) -> None:
    """Values from pydicom's own notes on these files (pixels_reference.py), by another decoder."""
    values = _try(name).read()
    assert (values[420, 140], values[230, 120]) == (244, 95)


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm"],
)
def test_lossless_codecs_give_the_same_values(name: str) -> None:
    assert np.array_equal(_try(name).read(), _try("MR_small.dcm").read())


def test_a_cut_compressed_file_is_noticed_when_opened(tmp_path: Path) -> None:
    whole = (FILES / "MR_small_jp2klossless.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-300])
    with pytest.raises(OslerError, match=r"cut\.dcm is truncated: its compressed pixels end \d+ bytes too early"):
        open_study(tmp_path / "cut.dcm")


def test_a_damaged_codestream_names_its_file(tmp_path: Path) -> None:
    raw = bytearray((FILES / "MR_small_jp2klossless.dcm").read_bytes())
    start = raw.index(b"\xff\x4f\xff\x51")
    raw[start : start + 60] = bytes(60)
    (tmp_path / "bad.dcm").write_bytes(raw)
    (image,) = open_study(tmp_path / "bad.dcm").images()
    with pytest.raises(OslerError, match=r"bad\.dcm: its pixels \(JPEG 2000.*\) cannot be decoded: .*gdcm"):
        image.read()
