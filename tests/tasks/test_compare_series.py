"""Series of two dates are paired by what they show, and MR of two real dates is compared with measurements."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import nibabel
import numpy as np
import pytest

from osler.readers import open_study
from osler.study import ArrayPixels, Image, TimePoint
from osler.tasks.compare import compare
from osler.tasks.compare_series import paired_series, sequence_of, unlike_sequences
from osler.weights import Checkpoint
from tests.shared_data import SHARED_DATA, needs_shared_data
from tests.tasks.scripted import Scripted


def series(description: str, *, modality: str = "MR") -> Image:
    return Image(
        series=description,
        pixels=ArrayPixels(np.zeros((4, 4), dtype=np.uint8)),
        modality=modality,
        description=description,
    )


@pytest.mark.parametrize(
    ("description", "sequence"),
    [
        ("study1_FLAIR.nii.gz", "FLAIR"),
        ("AX T2 FLAIR", "FLAIR"),
        ("t2_tse_sag", "T2"),
        ("T2*_gre", "SWI"),
        ("sub-01_T1w.nii.gz", "T1"),
        ("MPRAGE post Gd", "T1 with contrast"),
        ("AX T1 +C", "T1 with contrast"),
        ("ep2d_diff_ADC", "ADC"),
        ("localizer", ""),
    ],
)
def test_sequences_by_their_names(description: str, sequence: str) -> None:
    assert sequence_of(series(description)) == sequence
    assert sequence_of(series(description, modality="CT")) == ""


def test_series_are_paired_by_sequence_whatever_their_order() -> None:
    prior = TimePoint(series=(series("T1"), series("FLAIR a"), series("FLAIR b")))
    now = TimePoint(series=(series("FLAIR now"), series("DWI"), series("T1 now")))
    assert [(a.description, b.description) for a, b in paired_series(prior, now)] == [
        ("FLAIR a", "FLAIR now"),
        ("T1", "T1 now"),
    ]
    assert list(unlike_sequences(prior, now)) == []


def test_unlike_sequences_are_said() -> None:
    prior, now = TimePoint(series=(series("T1"),)), TimePoint(series=(series("FLAIR"),))
    assert paired_series(prior, now) == ()
    (note,) = unlike_sequences(prior, now)
    assert note.startswith("The study of today is FLAIR, a prior T1: what differs may be the sequence")
    assert list(unlike_sequences(TimePoint(series=(series("scan"),)), now)) == []  # nothing is known of the prior


@needs_shared_data
@pytest.mark.parametrize("patient", ["patient01", "patient03"])
def test_brain_mr_of_two_dates(patient: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    assert SHARED_DATA is not None
    folder = SHARED_DATA / "mr" / "ms-longitudinal" / patient
    if not folder.is_dir():
        pytest.skip(f"mr/ms-longitudinal/{patient} is not in the shared data")
    now, prior = (open_study(folder / f"study{number}_FLAIR.nii.gz") for number in (2, 1))
    assert [(a.description, b.description) for a, b in paired_series(prior.timepoints[-1], now.timepoints[-1])] == [
        ("study1_FLAIR.nii.gz", "study2_FLAIR.nii.gz")
    ]
    # The mask of new lesions stands for what was drawn today; at the earlier date they were not there.
    mask = nibabel.load(folder / "gt.nii.gz")
    drawn = np.asanyarray(mask.dataobj)
    nibabel.save(nibabel.Nifti1Image(np.zeros_like(drawn), mask.affine), tmp_path / "before.nii.gz")
    answer = compare(
        Scripted(checkpoint, trained={"answers"}, writer=lambda *_: "The head."),
        now,
        [prior],
        dates=[dt.date(2020, 5, 1), dt.date(2019, 3, 1)],
        drawn=[folder / "gt.nii.gz", tmp_path / "before.nii.gz"],
    )
    (entry,) = answer.progression
    milliliters = (drawn > 0).sum() * np.prod(mask.header.get_zooms()) / 1000
    assert (entry.finding, entry.change, entry.before, entry.unit) == ("label 1", "new", None, "mL")
    assert entry.now == pytest.approx(milliliters, rel=1e-3)
    assert (entry.days, entry.earlier, entry.later) == (427, dt.date(2019, 3, 1), dt.date(2020, 5, 1))
    assert not any("sequence" in note for note in answer.warnings)
    assert any("is not trained for: progression" in note for note in answer.warnings)
    assert {used.description for used in answer.used} >= {"study1_FLAIR.nii.gz", "study2_FLAIR.nii.gz"}


@needs_shared_data
def test_another_sequence_of_the_same_patient_is_said(checkpoint: Checkpoint) -> None:
    assert SHARED_DATA is not None
    folder = SHARED_DATA / "mr" / "ms-lesions"
    files = {kind: path for path in sorted(folder.rglob("*.nii.gz")) for kind in ("T1", "FLAIR") if kind in path.name}
    if len(files) < 2:
        pytest.skip("mr/ms-lesions holds no T1 and FLAIR")
    session = Scripted(checkpoint, trained={"answers"}, writer=lambda *_: "The head.")
    answer = compare(session, files["FLAIR"], [files["T1"]])
    assert any("what differs may be the sequence" in note for note in answer.warnings)
