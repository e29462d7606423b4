"""`open_study` as a whole: what is found, what is left out, what is refused."""

from __future__ import annotations

import copy
import datetime as dt
import os
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from osler.errors import FileFormatError, OslerError, PatientMixError, UnsupportedError
from osler.readers import Limits, open_study
from tests.readers.make_dicom import base_dataset, ramp, save, write_series


def test_nested_folders_give_one_volume_in_order(tmp_path: Path) -> None:
    volume = ramp(6)
    write_series(tmp_path / "a/b", volume=volume, keep=[0, 3, 5])
    write_series(tmp_path / "a/c/d", volume=volume, keep=[1, 2, 4])
    study = open_study(tmp_path)
    (found,) = study.volumes()
    assert np.array_equal(found.read(), volume)
    assert found.affine.spacing == pytest.approx((0.5, 0.5, 2.0))
    assert [origin.instance_number for origin in found.origins] == [1, 2, 3, 4, 5, 6]
    assert all(Path(origin.file).is_file() and origin.sop_uid for origin in found.origins)
    assert (found.modality, found.units, found.study_uid) == ("CT", "HU", "1.2.3.1")
    assert study.timepoints[0].date == dt.date(2024, 1, 2)
    assert study.left_out == ()


def test_a_zip_reads_like_its_folder(tmp_path: Path) -> None:
    volume = ramp(6)
    paths = write_series(tmp_path / "in", volume=volume)
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for path in paths:
            target.write(path, f"deep/er/{path.name}")
    (found,) = open_study(archive).volumes()
    assert np.array_equal(found.read(slices=[4, 1]), volume[[4, 1]])
    assert found.origins[0].file == f"{archive}!deep/er/{paths[0].name}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "scan.zip"]


def test_a_study_can_go_to_another_process(tmp_path: Path) -> None:
    """Data loaders hand copies of studies to workers; an open archive cannot be copied, so it is opened again."""
    volume = ramp(3)
    paths = write_series(tmp_path / "in", volume=volume)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as target:
        for path in paths:
            target.write(path, path.name)
    study = copy.deepcopy(open_study(tmp_path / "scan.zip"))
    assert np.array_equal(study.volumes()[0].read(), volume)


def test_time_points_by_date(tmp_path: Path) -> None:
    for number, date in enumerate(("20240301", "20230101", "")):
        uid = f"1.2.{number + 1}"
        write_series(tmp_path / uid, volume=ramp(3), StudyDate=date, StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.9")
    points = open_study(tmp_path).timepoints
    assert [point.date for point in points] == [dt.date(2023, 1, 1), dt.date(2024, 3, 1), None]
    assert [point.study_uid for point in points] == ["1.2.2", "1.2.1", "1.2.3"]


def test_a_date_in_the_future_is_said(tmp_path: Path) -> None:
    for number, date in enumerate(("20240301", "20931231")):
        uid = f"1.2.{number + 1}"
        write_series(tmp_path / uid, volume=ramp(3), StudyDate=date, StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.9")
    assert open_study(tmp_path).problems == ("A study is dated in the future: 2093-12-31.",)


def test_one_series_uid_in_two_studies_gives_two_series(tmp_path: Path) -> None:
    write_series(tmp_path / "a", volume=ramp(4), StudyInstanceUID="1.1", StudyDate="20240101")
    write_series(tmp_path / "b", volume=ramp(5), StudyInstanceUID="1.2", StudyDate="20250101")
    study = open_study(tmp_path)
    one, two = study.volumes()
    assert (one.series, two.series) == ("1.2.3.2#study1", "1.2.3.2#study2")
    assert (one.shape[0], two.shape[0]) == (4, 5)
    assert study.problems == (
        "1 Series Instance UID(s) stand in several studies: they are told apart by '#study' and a number.",
    )


def test_two_patients_are_refused_without_naming_them(tmp_path: Path) -> None:
    write_series(tmp_path / "one", volume=ramp(2))
    write_series(tmp_path / "two", volume=ramp(3), PatientID="SECRET-2", PatientName="Roe^John")
    with pytest.raises(
        PatientMixError, match=r"belong to 2 patients \(2, 3 files\).*Open the folder of one patient"
    ) as caught:
        open_study(tmp_path)
    assert not any(word in str(caught.value) for word in ("SECRET", "Doe", "Roe"))


def test_the_patient_is_an_opaque_key(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(3))
    study = open_study(tmp_path)
    assert study.patient
    assert "SECRET" not in repr(study)
    assert "Jane" not in repr(study)


def test_broken_files_in_a_folder_are_named_and_do_not_stop_the_rest(tmp_path: Path) -> None:
    volume = ramp(5)
    paths = write_series(tmp_path, volume=volume)
    whole = paths[0].read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-50])
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "text.dcm").write_text("not an image")
    (tmp_path / "note.json").write_text('{"a": 1}')
    (tmp_path / "inner.zip").write_bytes(b"PK\x03\x04rest")
    save(base_dataset(ramp(1)[0], modality="SR"), tmp_path / "report.dcm")
    study = open_study(tmp_path)
    assert np.array_equal(study.volumes()[0].read(), volume)
    reasons = {Path(item.what).name: item.why for item in study.left_out}
    assert "truncated: 160 bytes of pixel data are announced and 110 are there" in reasons["cut.dcm"]
    assert "empty" in reasons["empty.dcm"]
    assert "text file" in reasons["text.dcm"]
    assert "JSON" in reasons["note.json"]
    assert "archive inside" in reasons["inner.zip"]
    assert "structured report" in reasons["report.dcm"]
    assert sum(item.count for item in study.left_out) == 6


def test_many_files_left_out_for_one_reason_are_counted(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(3))
    for number in range(8):
        (tmp_path / f"z{number}.txt").write_text("words")
    (item,) = open_study(tmp_path).left_out
    assert item.count == 8
    assert "z0.txt" in item.what
    assert "and 3 more" in item.what


def test_copies_of_a_slice_are_dropped(tmp_path: Path) -> None:
    volume = ramp(4)
    paths = write_series(tmp_path, volume=volume)
    (tmp_path / "copy.dcm").write_bytes(paths[2].read_bytes())
    study = open_study(tmp_path)
    assert np.array_equal(study.volumes()[0].read(), volume)
    assert "copy of an image" in study.left_out[0].why


def _bad_inputs(folder: Path) -> dict[str, Path]:
    rng = np.random.default_rng(3)
    good = save(base_dataset(ramp(1)[0]), folder / "good.dcm").read_bytes()
    nifti_head = bytearray(352)
    nifti_head[:4], nifti_head[344:348] = (348).to_bytes(4, "little"), b"n+1\0"
    contents = {
        "empty.dcm": b"",
        "empty.nii.gz": b"",
        "text.dcm": b"I am a text.\n" * 50,
        "random.nii": rng.bytes(5000),
        "random.nii.gz": b"\x1f\x8b\x08" + rng.bytes(5000),
        "random.dcm": rng.bytes(5000),
        "random.png": b"\x89PNG\r\n\x1a\n" + rng.bytes(500),
        "random.jpg": b"\xff\xd8\xff" + rng.bytes(500),
        "random.tif": b"II*\x00" + rng.bytes(500),
        "random.zip": b"PK\x03\x04" + rng.bytes(500),
        "preamble.dcm": bytes(128) + b"DICM",
        "noise-after-preamble.dcm": bytes(128) + b"DICM" + rng.bytes(3000),
        "cut-in-header.dcm": good[:400],
        "cut-in-pixels.dcm": good[:-20],
        "zeros.nii": bytes(nifti_head),
        "zeros": bytes(2000),
        "document.pdf": b"%PDF-1.7 something",
        "page.html": b"<!DOCTYPE html><html></html>",
        "volume.nrrd": b"NRRD0004\ntype: short\n",
        "picture.gif": b"GIF89a" + rng.bytes(50),
    }
    paths = {}
    for name, content in contents.items():
        paths[name] = folder / "bad" / name
        paths[name].parent.mkdir(exist_ok=True)
        paths[name].write_bytes(content)
    return paths


def _read_everything(path: Path) -> None:
    for series in open_study(path).series():
        series.read()


def test_bad_files_give_one_error_that_names_the_file(tmp_path: Path) -> None:
    for name, path in _bad_inputs(tmp_path).items():
        start = time.perf_counter()
        with pytest.raises(OslerError) as caught:
            _read_everything(path)
        assert name in str(caught.value), name
        assert caught.value.next_step, name
        assert time.perf_counter() - start < 5, name


def test_a_folder_of_only_bad_files(tmp_path: Path) -> None:
    _bad_inputs(tmp_path)
    with pytest.raises(FileFormatError, match=r"holds nothing that can be used \(2\d left out\)"):
        open_study(tmp_path / "bad")


@pytest.mark.parametrize(("path", "text"), [("absent.dcm", "no such file"), ("a\0b", "null"), ("x" * 5000, "too long")])
def test_paths_that_cannot_be(tmp_path: Path, path: str, text: str) -> None:
    with pytest.raises(FileFormatError, match=f"(?i)cannot be opened.*{text}"):
        open_study(tmp_path / path)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="holds no files"):
        open_study(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = save(base_dataset(ramp(1)[0]), tmp_path / "mine.dcm")
    path.chmod(0)
    with pytest.raises(FileFormatError, match=r"mine\.dcm cannot be read \(permission denied\)"):
        open_study(path)


def test_a_denied_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for root, whom no mode stops: the operating system's refusal is what matters."""
    path = save(base_dataset(ramp(1)[0]), tmp_path / "mine.dcm")

    def refuse(self: Path, *_args: object, **_named: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(FileFormatError, match=r"mine\.dcm cannot be read \(permission denied\)"):
        open_study(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    with pytest.raises(UnsupportedError, match="pipe"):
        open_study(tmp_path / "pipe.dcm")
    write_series(tmp_path, volume=ramp(3))
    assert "pipe" in open_study(tmp_path).left_out[0].why


def test_terabyte_headers_are_refused_with_numbers(tmp_path: Path) -> None:
    tracemalloc.start()
    ds = base_dataset(ramp(1)[0], Rows=65535, Columns=65535, NumberOfFrames=500)
    with pytest.raises(FileFormatError, match=r"500 x 65535 x 65535 x 1 voxels of 2 bytes, which is 3\.9 TiB"):
        open_study(save(ds, tmp_path / "huge.dcm"))
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_zero_rows(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="0 x 10"):
        open_study(save(base_dataset(ramp(1)[0], Rows=0), tmp_path / "zero.dcm"))


def test_one_pixel(tmp_path: Path) -> None:
    study = open_study(save(base_dataset(np.full((1, 1), 7, "int16"), modality="DX"), tmp_path / "dot.dcm"))
    (image,) = study.images()
    assert image.read().tolist() == [[7]]
    assert "Only 1 x 1 pixels" in " ".join(image.problems)


def test_pictures_and_scans_together(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(3))
    PillowImage.fromarray(np.zeros((80, 90), np.uint8)).save(tmp_path / "photo.png")
    study = open_study(tmp_path)
    assert [len(point.series) for point in study.timepoints] == [1, 1]
    assert study.timepoints[1].date is None
    assert "taken to be of one patient" in study.problems[0]


def test_too_many_files(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(5))
    with pytest.raises(UnsupportedError, match="more than 4 files"):
        open_study(tmp_path, limits=Limits(files=4))


def test_an_empty_path_is_not_the_working_directory() -> None:
    with pytest.raises(FileFormatError, match="The path is empty"):
        open_study("")
