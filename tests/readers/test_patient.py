"""One patient from several places."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.errors import FileFormatError, PatientMixError, RequestError
from osler.readers import open_patient, open_study
from tests.readers.make_dicom import ramp, write_series
from tests.readers.make_fhir import observation, patient, write


def scan(folder: Path, *, date: str, uid: str, number: str = "P-1", **fields: str) -> Path:
    write_series(
        folder, volume=ramp(3), StudyDate=date, StudyInstanceUID=uid, SeriesInstanceUID=f"{uid}.1", PatientID=number,
        PatientBirthDate="19600502", **fields,
    )  # fmt: skip
    return folder


def nifti(path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 3), np.int16), np.eye(4)), path)
    return path


def test_time_points_stand_in_order_and_the_record_comes_with_them(tmp_path: Path) -> None:
    now = scan(tmp_path / "now", date="20240301", uid="1.3")
    priors = [scan(tmp_path / "b", date="20220101", uid="1.2"), scan(tmp_path / "a", date="20200101", uid="1.1")]
    record = write(
        tmp_path / "record.json", patient("P-1"), observation(date="2023-01-01"), observation(date="2019-01-01")
    )
    study = open_patient(now, priors=priors, records=[record])
    assert [point.date and point.date.year for point in study.timepoints] == [2020, 2022, 2024]
    assert [event.date and event.date.year for event in study.events] == [2019, 2023]
    assert study.problems == ()
    assert study.patient == open_study(now).patient
    assert study.source == str(now)


def test_without_more_it_is_open_study(tmp_path: Path) -> None:
    now = scan(tmp_path / "now", date="20240301", uid="1.3")
    study, alone = open_patient(now), open_study(now)
    assert (study.patient, study.problems, study.source) == (alone.patient, alone.problems, alone.source)
    assert [point.study_uid for point in study.timepoints] == ["1.3"]


def test_different_patients_are_refused_by_their_paths_alone(tmp_path: Path) -> None:
    now = scan(tmp_path / "now", date="20240301", uid="1.3")
    other = scan(tmp_path / "other", date="20220101", uid="1.2", number="SECRET-7", PatientName="Poe^Ann")
    same = scan(tmp_path / "same", date="20210101", uid="1.1")
    with pytest.raises(PatientMixError, match=r"now \(study\) is of another patient than .*other \(prior\)") as caught:
        open_patient(now, priors=[same, other])
    assert not any(word in str(caught.value) for word in ("SECRET", "Poe", "P-1", "same (prior)"))
    assert "--allow-mixed-patients" in str(caught.value)
    study = open_patient(now, priors=[same, other], mixing="allow")
    assert len(study.timepoints) == 3
    assert "different patients" in study.problems[0]


def test_a_record_of_another_patient_is_refused_by_birth_date_or_number(tmp_path: Path) -> None:
    now = scan(tmp_path / "now", date="20240301", uid="1.3")
    record = write(tmp_path / "r.json", patient("X-1", birth="1980-01-01"), observation())
    with pytest.raises(PatientMixError, match=r"r\.json \(record\)"):
        open_patient(now, records=[record])
    one = write(tmp_path / "one.json", patient("P-1"), observation(identity="a"))
    two = write(tmp_path / "two.json", patient("P-2"), observation(identity="b"))
    with pytest.raises(PatientMixError, match=r"one\.json \(record\) is of another patient than .*two\.json"):
        open_patient(None, records=[one, two])


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    now = scan(tmp_path / "now", date="20240301", uid="1.3")
    record = write(tmp_path / "r.json", patient("X-1"), observation())
    (problem,) = open_patient(now, records=[record]).problems
    assert "Nothing in the files tells whether" in problem
    assert "r.json (record)" in problem


def test_priors_of_the_same_day_and_undated_ones(tmp_path: Path) -> None:
    now = scan(tmp_path / "now", date="20240301", uid="1.9")
    a = scan(tmp_path / "a", date="20220101", uid="1.1")
    b = scan(tmp_path / "b", date="20220101", uid="1.2")
    first, second = nifti(tmp_path / "first.nii"), nifti(tmp_path / "second.nii")
    study = open_patient(now, priors=[second, b, first, a])
    assert [point.study_uid for point in study.timepoints] == ["1.1", "1.2", "", "", "1.9"]
    names = [point.series[0].origins[0].file for point in study.timepoints[2:4]]
    assert [Path(name).name for name in names] == ["second.nii", "first.nii"]
    said = " ".join(study.problems)
    assert "Two studies or more on 2022-01-01: all are kept" in said
    assert "first.nii has no date: it stands before the study, in the order given." in said


def test_a_nifti_before_a_nifti(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    now, prior = nifti(tmp_path / "scan.nii"), nifti(tmp_path / "p" / "scan.nii")
    study = open_patient(now, priors=[prior])
    files = [point.series[0].origins[0].file for point in study.timepoints]
    assert files == [str(prior), str(now)]
    assert len({series.series for series in study.series()}) == 2


def test_a_prior_that_is_later_or_the_same_study_or_no_study(tmp_path: Path) -> None:
    now = scan(tmp_path / "now", date="20200301", uid="1.3")
    later = scan(tmp_path / "later", date="20240101", uid="1.4")
    again = scan(tmp_path / "again", date="20200301", uid="1.3")
    record = write(tmp_path / "r.json", patient("P-1"), observation())
    study = open_patient(now, priors=[later, again, record, now])
    said = " ".join(study.problems)
    assert "later was given as a prior, but is dated after the study." in said
    assert "r.json was given as a prior, but holds no images." in said
    assert "now was given twice" in said
    assert [point.study_uid for point in study.timepoints] == ["1.3", "1.4"]
    assert "the same study was given already" in [item.why for item in study.left_out]
    assert len(study.events) == 1


def test_a_record_inside_of_the_study_counts_once(tmp_path: Path) -> None:
    scan(tmp_path / "now", date="20200301", uid="1.3")
    record = write(tmp_path / "r.json", patient("P-1"), observation())
    study = open_patient(tmp_path, records=[record])
    assert len(study.events) == 1
    assert "lies inside of what was given" in study.problems[0]


def test_what_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Neither a study nor a record"):
        open_patient(None)
    with pytest.raises(RequestError, match="Priors without a study"):
        open_patient(None, priors=[tmp_path], records=[tmp_path])
    with pytest.raises(FileFormatError, match=r"absent.* cannot be opened"):
        open_patient(scan(tmp_path / "now", date="20200301", uid="1.3"), records=[tmp_path / "absent"])


def test_events_are_merged_in_time(tmp_path: Path) -> None:
    a = write(tmp_path / "a.json", patient("P-1"), observation(date="2020-01-01"), observation(date="2022-01-01"))
    b = write(tmp_path / "b.json", patient("P-1"), observation(date="2021-01-01"), observation(date=""))
    study = open_patient(None, records=[a, b])
    assert [event.date for event in study.events] == [
        dt.date(2020, 1, 1),
        dt.date(2021, 1, 1),
        dt.date(2022, 1, 1),
        None,
    ]
    assert study.timepoints == ()
