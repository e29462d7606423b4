"""Decoded values against pydicom, for every image among pydicom's own test files."""

from __future__ import annotations

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
_DAMAGED = {"JPEG2000-embedded-sequence-delimiter.dcm", "MR_truncated.dcm"}
# What Osler opens of pydicom's own files; a reader that refuses more has lost something.
_IMAGES_AT_LEAST = 55


def _open(name: str) -> Image | None:
    try:
        study = open_study(FILES / name)
    except OslerError as error:
        assert error.next_step
        assert Path(name).name in str(error) or "patients" in str(error)
        return None
    return next(iter(study.images()), None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_pydicom_files_open_right_or_give_a_clear_error(name: str) -> None:
    image = _open(name)
    if image is None:
        return
    try:
        values = image.read()
    except OslerError as error:
        assert name in _DAMAGED, error
        assert Path(name).name in str(error)
        return
    assert name not in _DAMAGED
    if name in _NO_REFERENCE:
        return
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
    else:
        assert np.array_equal(values, apply_rescale(expected, ds))


def test_most_of_them_open() -> None:
    assert sum(_open(name) is not None for name in NAMES) >= _IMAGES_AT_LEAST


@pytest.mark.parametrize("name", sorted(_NO_REFERENCE))
def test_12_bit_jpeg(name: str) -> None:
    """Values from pydicom's own notes on these files (pixels_reference.py), by another decoder."""
    values = _open(name).read()
    assert (values[420, 140], values[230, 120]) == (244, 95)


@pytest.mark.parametrize(
    "name",
    ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_bigendian.dcm"],
)
def test_lossless_codecs_give_the_same_values(name: str) -> None:
    assert np.array_equal(_open(name).read(), _open("MR_small.dcm").read())


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
