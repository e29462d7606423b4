"""DICOMDIR: files are found through it, and only below its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet

from osler.errors import FileFormatError, PatientMixError
from osler.readers import open_study
from tests.readers.make_dicom import ramp, write_series

FILES = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests"


def _disk(tmp_path: Path) -> Path:
    named = {"StudyTime": "120000", "StudyID": "1", "SeriesNumber": 1}
    paths = write_series(tmp_path / "in", volume=ramp(4), **named)
    disk = FileSet()
    for path in paths:
        disk.add(path)
    disk.write(tmp_path / "disk")
    (tmp_path / "disk/stray.txt").write_text("not named by the directory")
    return tmp_path / "disk/DICOMDIR"


def test_files_are_found_through_it(tmp_path: Path) -> None:
    study = open_study(_disk(tmp_path))
    assert np.array_equal(study.volumes()[0].read(), ramp(4))
    assert study.left_out == ()


def test_its_folder_reads_the_same(tmp_path: Path) -> None:
    study = open_study(_disk(tmp_path).parent)
    assert np.array_equal(study.volumes()[0].read(), ramp(4))


def test_files_that_are_gone_are_said(tmp_path: Path) -> None:
    directory = _disk(tmp_path)
    gone = max(path for path in directory.parent.rglob("*") if path.is_file() and path.name.startswith("IM"))
    gone.unlink()
    study = open_study(directory)
    assert study.left_out[0].why == "named by the DICOMDIR, and not there"


def test_names_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    directory = _disk(tmp_path)
    ds = pydicom.dcmread(directory)
    secret = write_series(tmp_path, volume=ramp(1))[0]
    for record in ds.DirectoryRecordSequence:
        if "ReferencedFileID" in record:
            record.ReferencedFileID = ["..", secret.name]
            break
    ds.save_as(directory)
    study = open_study(directory)
    assert study.left_out[0].why == "named by the DICOMDIR, and outside of its folder"
    assert study.volumes()[0].shape[0] == 3


def test_a_directory_of_several_patients() -> None:
    with pytest.raises(PatientMixError, match="belong to 2 patients"):
        open_study(FILES / "DICOMDIR")


def test_an_empty_directory() -> None:
    with pytest.raises(FileFormatError, match="holds no images"):
        open_study(FILES / "DICOMDIR-empty.dcm")
