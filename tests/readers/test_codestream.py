"""The short way to a JPEG 2000 frame: the same values as pydicom, and no further than it is safe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import JPEG2000Lossless

from osler.errors import FileFormatError
from osler.readers import open_study
from osler.readers.blob import DiskBlob
from osler.readers.codestream import decode_codestream
from osler.readers.dicom_scan import scan_file
from osler.study import Image
from tests.readers.make_dicom import base_dataset, save

_SIZE = (40, 56)


def _picture(dtype: str, *, low: int, high: int) -> np.ndarray:
    return np.random.default_rng(7).integers(low, high, _SIZE).astype(dtype)


def _packed(path: Path, *, pixels: np.ndarray, bits: int, fragments: int = 1, **elements: object) -> Path:
    ds = base_dataset(pixels, BitsStored=bits, HighBit=bits - 1)
    ds.compress(JPEG2000Lossless)
    if fragments > 1:
        whole = get_frame(ds.PixelData, 0, number_of_frames=1)
        ds.PixelData = encapsulate([whole], fragments_per_frame=fragments)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    return save(ds, path)


def _opened(path: Path) -> tuple[Image, np.ndarray | None]:
    """The image by `open_study`, and what the short way alone makes of it."""
    blob = DiskBlob(path, path.stat().st_size)
    (frame,) = scan_file(blob)
    assert frame.file.codestream is not None
    (image,) = open_study(path).images()
    return image, decode_codestream(blob, codestream=frame.file.codestream)


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize(
    ("dtype", "bits", "low", "high"),
    [("uint8", 8, 0, 256), ("uint16", 12, 0, 4096), ("uint16", 16, 0, 65536), ("int16", 16, -3000, 3000)],
)
def test_the_same_values_as_pydicom(tmp_path: Path, dtype: str, bits: int, low: int, high: int, fragments: int) -> None:
    pixels = _picture(dtype, low=low, high=high)
    path = _packed(tmp_path / "a.dcm", pixels=pixels, bits=bits, fragments=fragments)
    image, short = _opened(path)
    assert short is not None
    assert short.dtype == pixel_array(path).dtype
    assert np.array_equal(short, pixels)
    assert np.array_equal(image.read(), pixels)


@pytest.mark.parametrize("elements", [{"PixelRepresentation": 1}, {"BitsStored": 14, "HighBit": 13}])
def test_a_codestream_other_than_its_header_is_left_to_pydicom(tmp_path: Path, elements: dict[str, int]) -> None:
    path = _packed(tmp_path / "a.dcm", pixels=_picture("uint16", low=0, high=4096), bits=12, **elements)
    image, short = _opened(path)
    assert short is None
    assert np.array_equal(image.read(), pixel_array(path))


def test_a_codestream_of_another_size_is_never_unpacked(tmp_path: Path) -> None:
    path = _packed(tmp_path / "a.dcm", pixels=_picture("uint16", low=0, high=4096), bits=12, Rows=20)
    image, short = _opened(path)
    assert short is None
    with pytest.raises(FileFormatError, match=r"a\.dcm: its pixels"):
        image.read()


def test_a_download_that_ends_in_zeros_is_refused(tmp_path: Path) -> None:
    """openjpeg alone would take the zeros for coefficients and return a picture."""
    path = _packed(tmp_path / "a.dcm", pixels=_picture("uint16", low=0, high=4096), bits=12)
    raw = bytearray(path.read_bytes())
    begin = raw.index(b"\xff\x4f\xff\x51")
    length = len(get_frame(dcmread(path).PixelData, 0, number_of_frames=1))
    raw[begin + length * 7 // 10 : begin + length] = bytes(length - length * 7 // 10)
    path.write_bytes(raw)
    image, short = _opened(path)
    assert short is None
    with pytest.raises(FileFormatError, match=r"a\.dcm: its pixels \(JPEG 2000.*cannot be decoded"):
        image.read()


def test_a_file_that_is_gone_is_left_to_pydicom(tmp_path: Path) -> None:
    path = _packed(tmp_path / "a.dcm", pixels=_picture("uint16", low=0, high=4096), bits=12)
    blob = DiskBlob(path, path.stat().st_size)
    (frame,) = scan_file(blob)
    assert frame.file.codestream is not None
    path.unlink()
    assert decode_codestream(blob, codestream=frame.file.codestream) is None
