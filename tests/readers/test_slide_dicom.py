"""DICOM slides: levels by series, beside other DICOM, without label and overview."""

from __future__ import annotations

import datetime as dt
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from osler.errors import FileFormatError, PatientMixError, RequestError
from osler.readers import open_study
from tests.readers import make_dicom, make_slide

PIXELS = make_slide.tissue_pixels(width=1100, height=900, blobs=((0.3, 0.4, 0.2), (0.8, 0.6, 0.15)))


def test_levels_and_regions(tmp_path: Path) -> None:
    made = make_slide.write_dicom_slide(tmp_path, PIXELS, levels=3)
    study = open_study(tmp_path)
    (slide,) = study.slides()
    assert study.timepoints[0].date == dt.date(2024, 5, 3)
    assert slide.description == "H and E"
    assert slide.spacing == pytest.approx((0.0005, 0.0005))
    assert slide.magnification == 20
    assert [(level.width, level.height) for level in slide.pixels.levels] == [(1100, 900), (550, 450), (275, 225)]
    for number, level in enumerate(made):
        height, width = level.shape[:2]
        assert np.array_equal(slide.pixels.read_region(level=number, x=0, y=0, width=width, height=height), level)
    edge = slide.pixels.read_region(level=1, x=500, y=-10, width=100, height=60)
    assert np.array_equal(edge[10:, :50], made[1][:50, 500:])
    assert (edge[:10] == 255).all()
    again = pickle.loads(pickle.dumps(slide.pixels))
    assert np.array_equal(again.read_region(level=2, x=9, y=8, width=7, height=6), made[2][8:14, 9:16])


def test_label_and_overview_are_left_out(tmp_path: Path) -> None:
    make_slide.write_dicom_slide(tmp_path, PIXELS)
    study = open_study(tmp_path)
    assert {entry.why for entry in study.left_out} == {
        "a picture of the glass (label), which may show the patient's name",
        "a picture of the glass (overview), which may show the patient's name",
    }
    (slide,) = study.slides()
    assert len(slide.origins) == 2
    for index, level in enumerate(slide.pixels.levels):
        pixels = slide.pixels.read_region(level=index, x=0, y=0, width=level.width, height=level.height)
        assert not (pixels == make_slide.MAGENTA).all(axis=-1).any()


def test_one_file_of_a_series_is_a_slide_of_one_level(tmp_path: Path) -> None:
    make_slide.write_dicom_slide(tmp_path, PIXELS)
    (slide,) = open_study(tmp_path / "1.dcm").slides()
    assert slide.size == (550, 450)
    with pytest.raises(Exception, match=r"label.*may show the patient's name"):
        open_study(tmp_path / "2.dcm")


def test_beside_other_dicom(tmp_path: Path) -> None:
    make_slide.write_dicom_slide(tmp_path / "slide", PIXELS, patient="P1")
    make_dicom.write_series(tmp_path / "ct", volume=make_dicom.ramp(), PatientID="P1")
    study = open_study(tmp_path)
    assert len(study.slides()) == len(study.volumes()) == 1
    make_dicom.write_series(tmp_path / "other", volume=make_dicom.ramp(), PatientID="P2")
    with pytest.raises(PatientMixError, match="belong to 2 patients"):
        open_study(tmp_path)


def test_a_slide_without_pixel_size_is_left_out(tmp_path: Path) -> None:
    make_slide.write_dicom_slide(tmp_path / "slide", PIXELS, levels=1, microns=None, patient="P1")
    with pytest.raises(FileFormatError, match=r"0\.dcm makes no slide.*does not say how large a pixel is"):
        open_study(tmp_path)
    make_dicom.write_series(tmp_path / "ct", volume=make_dicom.ramp(), PatientID="P1")
    study = open_study(tmp_path)
    assert len(study.volumes()) == 1
    assert any("how large a pixel is" in entry.why for entry in study.left_out)


def test_a_cut_file_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    make_slide.write_dicom_slide(tmp_path, PIXELS)
    whole = (tmp_path / "1.dcm").read_bytes()
    (tmp_path / "1.dcm").write_bytes(whole[: len(whole) // 2])
    study = open_study(tmp_path)
    assert len(study.slides()[0].pixels.levels) == 1
    assert any("1.dcm" in entry.what and "truncated" in entry.why for entry in study.left_out)
    with pytest.raises(FileFormatError, match=r"1\.dcm is truncated"):
        open_study(tmp_path / "1.dcm")


def test_levels_that_lie_are_said(tmp_path: Path) -> None:
    make_slide.write_dicom_slide(tmp_path, PIXELS, levels=1)
    dataset = dcmread(tmp_path / "0.dcm")
    dataset.TotalPixelMatrixColumns = 9_000_000
    dataset.save_as(tmp_path / "0.dcm")
    with pytest.raises(FileFormatError, match=r"9000000 x 900 px|makes no slide"):
        open_study(tmp_path)


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_slide.write_dicom_slide(tmp_path, PIXELS)
    monkeypatch.setitem(sys.modules, "wsidicom", None)
    with pytest.raises(
        RequestError, match=r"package 'wsidicom', which is not installed\. pip install 'osler\[slides\]'"
    ):
        open_study(tmp_path)
