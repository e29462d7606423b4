"""Folders of many patients: resumable, never mixed, the same patients in any order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from osler.errors import RequestError
from osler.synth.draw import draw_patient
from osler.synth.patient_folder import FolderPlan
from osler.synth.patient_set import MANIFEST, PatientSet, draw_with_reports, write_patients

pytest.importorskip("pyarrow", reason="needs the synth extra")

BARE = FolderPlan(images="none", documents="none", grid="none")
SOURCES = Path(__file__).parents[2] / "src"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_patients_are_written_once_and_more_are_added(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    first = write_patients(
        PatientSet(seed=5, count=2, plan=BARE), out=tmp_path / "set", progress=lambda *step: steps.append(step)
    )
    assert (first.written, first.kept) == (2, 0)
    assert steps == [(0, 2), (1, 2)]
    before = contents(tmp_path / "set")
    more = write_patients(PatientSet(seed=5, count=4, plan=BARE), out=tmp_path / "set")
    assert (more.written, more.kept) == (2, 2)
    assert more.patients == tuple(f"OSLER-5-{number}" for number in range(4))
    after = contents(tmp_path / "set")
    assert {name: after[name] for name in before} == before


def test_a_patient_is_the_same_alone_and_among_others(tmp_path: Path) -> None:
    write_patients(PatientSet(seed=5, count=4, plan=BARE), out=tmp_path / "many")
    write_patients(PatientSet(seed=5, count=1, first=3, plan=BARE), out=tmp_path / "one")
    assert contents(tmp_path / "many" / "OSLER-5-3") == contents(tmp_path / "one" / "OSLER-5-3")


def test_reports_belong_to_the_patient() -> None:
    patient, texts = draw_with_reports(seed=5, number=3)
    assert patient == draw_patient(seed=5, number=3)
    assert len(texts) == len(patient.exams)
    assert all(texts)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (PatientSet(seed=6, count=2, plan=BARE), "holds another collection: seed 5 there, 6 asked"),
        (PatientSet(seed=5, count=2, plan=FolderPlan(images="none")), "holds another collection: plan"),
    ],
)
def test_another_collection_is_refused(tmp_path: Path, wanted: PatientSet, message: str) -> None:
    write_patients(PatientSet(seed=5, count=1, plan=BARE), out=tmp_path)
    before = contents(tmp_path)
    with pytest.raises(RequestError, match=message):
        write_patients(wanted, out=tmp_path)
    assert contents(tmp_path) == before


def test_a_folder_with_other_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("keep me")
    with pytest.raises(RequestError, match=r"holds other data \(1 entries, no patients.json\).*nothing was written"):
        write_patients(PatientSet(seed=5, count=1, plan=BARE), out=tmp_path)
    assert contents(tmp_path) == {"thesis.txt": b"keep me"}


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{]")
    with pytest.raises(RequestError, match="cannot be read as a manifest"):
        write_patients(PatientSet(seed=5, count=1, plan=BARE), out=tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"Cannot use .*file' as a folder"):
        write_patients(PatientSet(seed=5, count=1, plan=BARE), out=tmp_path / "file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": 5, "count": 0}, "A count of patients of 0. 1 to"),
        ({"seed": 5, "count": -3}, "A count of patients of -3"),
        ({"seed": 5, "count": 10**12}, "A count of patients of 1000000000000"),
        ({"seed": -1, "count": 1}, "A seed of -1. 0 to 9,223,372,036,854,775,807"),
        ({"seed": 2**63, "count": 1}, "A seed of"),
        ({"seed": 1, "count": 1, "first": -1}, "A first patient of -1"),
    ],
)
def test_absurd_numbers_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        PatientSet(plan=BARE, **arguments)


def test_a_killed_run_leaves_whole_patients_and_goes_on(tmp_path: Path) -> None:
    wanted = PatientSet(seed=5, count=12, plan=FolderPlan(images="none", documents="text"))
    script = f"""
from pathlib import Path
from osler.synth.patient_folder import FolderPlan
from osler.synth.patient_set import PatientSet, write_patients

plan = FolderPlan(images="none", documents="text")
write_patients(PatientSet(seed=5, count=12, plan=plan), out=Path({str(tmp_path / "set")!r}))
"""
    run = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(SOURCES)})
    deadline = time.monotonic() + 60
    while not (tmp_path / "set" / "OSLER-5-2").exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    for folder in (tmp_path / "set").glob("OSLER-*"):
        assert json.loads((folder / "facts.json").read_text())["synthetic"] is True
    write_patients(wanted, out=tmp_path / "set")
    write_patients(wanted, out=tmp_path / "whole")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    assert not list((tmp_path / "set").glob(".osler-*"))
