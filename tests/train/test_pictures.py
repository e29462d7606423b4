"""Patients are kept apart, and stay so."""

from __future__ import annotations

from osler.train.pictures import split_of
from osler.train.sources import picture_files
from tests.shared_data import SHARED_DATA, needs_shared_data


def test_about_a_fifth_is_held_out() -> None:
    held = sum(split_of("nih", patient=str(i)) == "held-out" for i in range(5000))
    assert 900 < held < 1100


def test_split_never_changes() -> None:
    # Shipped weights were trained on this split: a change would leak held-out patients.
    assert [split_of("nih", patient=str(i)) for i in (61, 211, 252)] == ["train", "train", "held-out"]
    assert split_of("lung-petct", patient="lung-petct") == "held-out"
    assert split_of("lidc", patient="lidc") == "train"


@needs_shared_data
def test_no_patient_is_on_both_sides() -> None:
    assert SHARED_DATA is not None
    sides: dict[tuple[str, str], set[str]] = {}
    for entry in picture_files(SHARED_DATA):
        sides.setdefault((entry.source, entry.patient), set()).add(split_of(entry.source, patient=entry.patient))
    assert all(len(found) == 1 for found in sides.values())
    stems = [entry.path.stem for entry in picture_files(SHARED_DATA)]
    assert len(stems) == len(set(stems))
