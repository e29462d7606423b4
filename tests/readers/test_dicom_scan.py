"""Headers: every encoding, odd values, and only headers."""

from __future__ import annotations

import datetime as dt
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RawDataStorage

from osler.errors import FileFormatError, UnsupportedError
from osler.readers import open_study
from osler.readers.blob import DiskBlob
from osler.readers.dicom_scan import scan_file
from tests.readers.make_dicom import base_dataset, ramp, save


def _blob(path: Path) -> DiskBlob:
    return DiskBlob(path, path.stat().st_size)


def test_what_is_kept(tmp_path: Path) -> None:
    ds = base_dataset(
        ramp(1)[0], BodyPartExamined="CHEST", PixelPaddingValue=-2000, SliceThickness="1.5", GantryDetectorTilt="3"
    )
    (frame,) = scan_file(_blob(save(ds, tmp_path / "a.dcm")))
    file = frame.file
    assert (file.modality, file.body_part, file.rows, file.columns) == ("CT", "CHEST", 8, 10)
    assert (file.study_date, file.thickness, file.tilt) == (dt.date(2024, 1, 2), 1.5, 3.0)
    assert (file.padding, file.signed, file.bits_stored) == ((-2000, -2000), True, 16)
    assert (frame.slope, frame.intercept) == (1.0, 0.0)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_encodings(tmp_path: Path, syntax: str) -> None:
    ds = base_dataset(ramp(1)[0])
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = ramp(1)[0].astype(">i2").tobytes()
    ds.file_meta.TransferSyntaxUID = syntax
    (image,) = open_study(save(ds, tmp_path / "a.dcm")).images()
    assert np.array_equal(image.read(), ramp(1)[0])


def test_a_file_without_preamble_and_meta(tmp_path: Path) -> None:
    ds = base_dataset(ramp(1)[0])
    del ds.file_meta
    ds.save_as(tmp_path / "bare", implicit_vr=True, little_endian=True, enforce_file_format=False)
    (image,) = open_study(tmp_path / "bare").images()
    assert np.array_equal(image.read(), ramp(1)[0])


def test_pixels_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(base_dataset(np.zeros((2000, 2000), "int16")), tmp_path / "large.dcm")
    opened = []
    original = Path.open

    def counting(self: Path, *args: object, **named: object) -> object:
        opened.append(original(self, *args, **named))
        return opened[-1]

    monkeypatch.setattr(Path, "open", counting)
    scan_file(_blob(path))
    assert path.stat().st_size > 8e6
    assert len(opened) == 1


def test_dates_fall_back(tmp_path: Path) -> None:
    ds = base_dataset(ramp(1)[0], StudyDate="", SeriesDate="99999999", AcquisitionDate="2020.03.04")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (frame,) = scan_file(_blob(save(ds, tmp_path / "a.dcm")))
    assert frame.file.study_date == dt.date(2020, 3, 4)


@pytest.mark.parametrize("modality", ["SEG", "SR", "SM", "PR", "RTDOSE", "RTSTRUCT", "RTPLAN", "KO", "REG"])
def test_objects_that_are_not_images(tmp_path: Path, modality: str) -> None:
    path = save(base_dataset(ramp(1)[0], modality=modality), tmp_path / "object.dcm")
    with pytest.raises(UnsupportedError, match=r"object\.dcm is a.* Osler reads DICOM images"):
        open_study(path)


def test_an_object_without_pixels(tmp_path: Path) -> None:
    ds = base_dataset(ramp(1)[0], PixelData=None, Rows=None)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RawDataStorage
    path = save(ds, tmp_path / "object.dcm")
    with pytest.raises(UnsupportedError, match=r"object\.dcm is a DICOM object without pixels \(modality 'CT'\)"):
        open_study(path)


def test_an_image_without_its_pixels(tmp_path: Path) -> None:
    path = save(base_dataset(ramp(1)[0], PixelData=None), tmp_path / "header.dcm")
    with pytest.raises(FileFormatError, match=r"header\.dcm is truncated before its pixels \(or an image exported"):
        open_study(path)


@pytest.mark.parametrize("packed", ["plain", "zip"])
def test_more_frames_than_there_can_be_are_not_listed(tmp_path: Path, packed: str) -> None:
    raw = Path(get_testdata_file("MR_small_jp2klossless.dcm"))
    ds = dcmread(raw)
    ds.NumberOfFrames, ds.Rows, ds.Columns = 2_000_000_000, 1, 1
    path = save(ds, tmp_path / "many.dcm")
    if packed == "zip":
        with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
            archive.write(path, "many.dcm")
        path = tmp_path / "many.zip"
    with pytest.raises(FileFormatError, match=r"many.* truncated: 2,000,000,000 frames are announced and at most"):
        open_study(path)


def test_a_video_is_named(tmp_path: Path) -> None:
    ds = dcmread(get_testdata_file("MR_small_jp2klossless.dcm"))
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    with pytest.raises(UnsupportedError, match=r"video\.dcm is a video"):
        open_study(save(ds, tmp_path / "video.dcm"))


def test_truncation_anywhere_is_one_error(tmp_path: Path) -> None:
    """A file cut at any byte is refused with its name; no library error comes through."""
    whole = save(base_dataset(ramp(1)[0]), tmp_path / "whole.dcm").read_bytes()
    path = tmp_path / "cut.dcm"
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"cut\.dcm.*(truncated|not a readable DICOM file|not DICOM)"):
            open_study(path)


def test_flipped_bytes_never_give_a_library_error(tmp_path: Path) -> None:
    whole = bytearray(save(base_dataset(ramp(1)[0]), tmp_path / "whole.dcm").read_bytes())
    rng = np.random.default_rng(5)
    path = tmp_path / "flipped.dcm"
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(132, len(whole) - 160, 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        outcomes.add(_outcome(path))
    assert outcomes == {"read", "refused with its name"}


def _outcome(path: Path) -> str:
    try:
        for series in open_study(path).series():
            series.read()
    except (FileFormatError, UnsupportedError) as error:
        return "refused with its name" if path.name in str(error) else f"refused without: {error}"
    return "read"


def test_names_of_patients_stay_out_of_errors_and_warnings(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    ds = base_dataset(ramp(1)[0])
    path = save(ds, tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"SECRET-1", b"SEC\xff\xfeT-1")[:-10])
    with pytest.raises(FileFormatError) as caught:
        open_study(path)
    text = str(caught.value) + "".join(str(warning.message) for warning in recwarn)
    assert "SEC" not in text
    assert "Jane" not in text
