"""Triage: the order is right, a run can stop at any moment, and one bad study stops nothing."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from osler.engine.head_features import frontal_xrays_alone
from osler.engine.session import Session
from osler.errors import FileFormatError, RequestError
from osler.study import Affine, Study
from osler.tasks.triage import COLUMNS, TriageRequest, Worklist, triage, watch
from osler.tasks.triage_journal import TriagedStudy, TriageJournal
from osler.weights import Checkpoint
from tests.engine.conftest import checkpoint, config, model, tokenizer  # noqa: F401 (fixtures)
from tests.readers.make_dicom import ramp, write_series
from tests.tasks.scripted import SilentHead

TEXT_ONLY = "gemma-3-270m"
"""Weights without findings, which triage then need not load."""

AFFINE = Affine.from_parts(spacing=(0.8, 0.8, 2.0))


def put(inbox: Path, name: str, *, priority: str = "", arrived: int = 1000, level: float = 0.0) -> None:
    folder = inbox / name
    folder.mkdir(parents=True)
    write_series(folder, volume=(ramp(2) + level).astype(np.int16), affine=AFFINE, PatientID=name, StudyDate="20240310")
    if priority:
        for path in folder.iterdir():
            dataset = dcmread(path)
            dataset.RequestedProcedurePriority = priority
            dataset.save_as(path)
    os.utime(folder, (arrived, arrived))


def record(inbox: Path, name: str, *, potassium: float, arrived: int) -> None:
    resource = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2823-3", "display": "Potassium"}]},
        "effectiveDateTime": "2024-03-10",
        "valueQuantity": {"value": potassium, "unit": "mmol/L", "code": "mmol/L"},
    }
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": resource}]}
    (inbox / name / "record.json").write_text(json.dumps(bundle), encoding="utf-8")
    os.utime(inbox / name, (arrived, arrived))


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    put(folder, "a-late", arrived=3000)
    put(folder, "b-early", arrived=1000)
    put(folder, "c-stat", priority="STAT", arrived=5000)
    put(folder, "d-high", priority="HIGH", arrived=4000)
    (folder / "e-broken").mkdir()
    (folder / "e-broken" / "x.dcm").write_bytes(b"no image")
    return folder


def order(found: Worklist) -> list[str]:
    return [Path(study.path).name for study in found.studies]


def test_the_order_is_by_level_then_arrival(inbox: Path) -> None:
    found = triage(TriageRequest(model=TEXT_ONLY, inbox=inbox))
    assert order(found) == ["c-stat", "d-high", "b-early", "a-late"]
    assert found.studies[0].reasons == ("requested as STAT",)
    assert [Path(study.path).name for study in found.failed] == ["e-broken"]
    assert found.untrained == ("findings",)
    answer = found.answer()
    assert answer.task == "triage"
    assert any("may still be urgent" in warning for warning in answer.warnings)
    assert "e-broken" in answer.left_out[0].what


def test_a_critical_value_in_the_record_moves_a_study_up(inbox: Path) -> None:
    record(inbox, "a-late", potassium=6.9, arrived=3000)
    found = triage(TriageRequest(model=TEXT_ONLY, inbox=inbox))
    assert order(found) == ["c-stat", "a-late", "d-high", "b-early"]  # as urgent as the fourth, and here before it
    assert found.studies[order(found).index("a-late")].reasons == ("potassium 6.9 mmol/L, critical from 6.2",)


def test_what_was_looked_at_is_not_read_again(inbox: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import osler.tasks.triage as module

    opened: list[str] = []
    plain = module.open_study
    monkeypatch.setattr(module, "open_study", lambda path: (opened.append(Path(path).name), plain(path))[1])
    request = TriageRequest(model=TEXT_ONLY, inbox=inbox, journal=tmp_path / "list.journal")
    first = triage(request)
    assert len(opened) == 5
    opened.clear()
    assert triage(request) == first
    assert opened == []
    put(inbox, "f-new", priority="STAT", arrived=100)
    shutil.rmtree(inbox / "d-high")
    assert order(triage(request)) == ["f-new", "c-stat", "b-early", "a-late"]
    assert opened == ["f-new"]


def test_a_stopped_run_goes_on(inbox: Path, tmp_path: Path) -> None:
    request = TriageRequest(model=TEXT_ONLY, inbox=inbox, journal=tmp_path / "list.journal")

    def stop(done: int, total: int, order: Sequence[TriagedStudy]) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        triage(request, on_study=stop)
    kept = TriageJournal(tmp_path / "list.journal", weights="none").read()
    assert len(kept) == 2
    with (tmp_path / "list.journal").open("ab") as file:
        file.write(b'{"kind": "osler triage journal 1", "path": "/cut')
    assert order(triage(request)) == ["c-stat", "d-high", "b-early", "a-late"]
    assert triage(request) == triage(TriageRequest(model=TEXT_ONLY, inbox=inbox))


class LikelyHead(SilentHead):
    """A findings head that calls a bright study a pneumothorax."""

    findings = frozenset({"pneumothorax", "pneumonia"})

    def probabilities(self, session: Session, study: Study, *, findings: Sequence[str]) -> Mapping[str, float | None]:
        bright = float(study.volumes()[0].read().mean()) > 5000
        return {name: (0.9 if bright else 0.1) if name == "pneumothorax" else None for name in findings}


def test_trained_findings_join_without_a_change_of_surface(inbox: Path, checkpoint: Checkpoint) -> None:  # noqa: F811
    put(inbox, "g-bright", arrived=9000, level=9000.0)
    session = Session(dataclasses.replace(checkpoint, trained=frozenset({"answers", "findings"})))
    session.heads = {"findings": LikelyHead()}  # type: ignore[attr-defined]
    found = triage(TriageRequest(model=TEXT_ONLY, inbox=inbox), session=session)
    assert found.untrained == ()
    assert order(found)[:3] == ["c-stat", "g-bright", "d-high"]
    bright = found.studies[order(found).index("g-bright")]
    assert bright.reasons == ("pneumothorax 90%",)
    assert any("cannot tell" in note for note in bright.notes)
    assert [Path(study.path).name for study in found.failed] == ["e-broken"]


def test_each_study_is_prepared_once_and_before_its_turn(
    inbox: Path,
    checkpoint: Checkpoint,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class PreparingHead(LikelyHead):
        def probabilities(
            self, session: Session, study: Study, *, findings: Sequence[str]
        ) -> Mapping[str, float | None]:
            session.prepare(study)
            return super().probabilities(session, study, findings=findings)

    monkeypatch.setattr("osler.engine.session.prepare_images", lambda *_, **__: pytest.fail("prepared again"))
    session = Session(dataclasses.replace(checkpoint, trained=frozenset({"answers", "findings"})))
    session.heads = {"findings": PreparingHead()}  # type: ignore[attr-defined]
    found = triage(TriageRequest(model=TEXT_ONLY, inbox=inbox), session=session)
    assert order(found) == ["c-stat", "d-high", "b-early", "a-late"]
    assert [Path(study.path).name for study in found.failed] == ["e-broken"]


def test_what_no_head_reads_is_not_prepared(
    tmp_path: Path,
    checkpoint: Checkpoint,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The head reads X-rays: of a CT beside one, and of a CT alone, no slice is decoded."""

    class XrayHead(LikelyHead):
        def looked_at(self, study: Study) -> Study:
            return frontal_xrays_alone(study)

        def probabilities(
            self, session: Session, study: Study, *, findings: Sequence[str]
        ) -> Mapping[str, float | None]:
            images.append([image.modality for image in session.prepare(study).images])
            return dict.fromkeys(findings, 0.9 if images[-1] else None)

    put(tmp_path, "a-ct")
    put(tmp_path, "b-both")
    film = dcmread(next((tmp_path / "b-both").iterdir()))
    film.Modality, film.SeriesInstanceUID, film.SOPInstanceUID = "DX", "1.2.9", "1.2.9.1"
    film.save_as(tmp_path / "b-both" / "film.dcm")
    monkeypatch.setattr("osler.study.Volume.read", lambda *_, **__: pytest.fail("a volume was read"))
    images: list[list[str]] = []
    session = Session(dataclasses.replace(checkpoint, trained=frozenset({"answers", "findings"})))
    session.heads = {"findings": XrayHead()}  # type: ignore[attr-defined]
    found = triage(TriageRequest(model=TEXT_ONLY, inbox=tmp_path), session=session)
    assert images == [[], ["DX"]]
    assert order(found) == ["b-both", "a-ct"]
    assert any("cannot tell" in note for note in found.studies[1].notes)


def test_the_table_is_safe_in_a_spreadsheet(inbox: Path) -> None:
    found = Worklist(
        studies=(TriagedStudy(path="=cmd|x", stamp="1", arrived=0.0, reasons=("@SUM(A1)",)),), failed=(), untrained=()
    )
    (header, row) = csv.reader(io.StringIO(found.to_csv()))
    assert tuple(header) == COLUMNS
    assert row[1] == "'=cmd|x"
    assert row[3] == "'@SUM(A1)"
    rows = list(csv.DictReader(io.StringIO(triage(TriageRequest(model=TEXT_ONLY, inbox=inbox)).to_csv())))
    assert [row["state"] for row in rows] == ["ordered"] * 4 + ["failed"]
    assert [row["place"] for row in rows] == ["1", "2", "3", "4", ""]


def test_watching_lists_only_changes_until_it_is_stopped(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            put(inbox, "h-new", priority="STAT", arrived=50)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("osler.tasks.triage.time.sleep", sleep)
    lists: list[Worklist] = []
    request = TriageRequest(model=TEXT_ONLY, inbox=inbox, journal=tmp_path / "j")
    with pytest.raises(KeyboardInterrupt):
        watch(request, seconds=1, on_list=lists.append)
    assert [len(found.studies) for found in lists] == [4, 5]
    with pytest.raises(RequestError, match="Watching every 0"):
        watch(request, seconds=0, on_list=lists.append)


def test_a_foreign_file_is_not_taken_for_a_journal(inbox: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("my notes\n", encoding="utf-8")
    with pytest.raises(FileFormatError, match="no journal of `osler triage`"):
        triage(TriageRequest(model=TEXT_ONLY, inbox=inbox, journal=tmp_path / "notes.txt"))
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "my notes\n"
    with pytest.raises(RequestError, match="Cannot write"):
        triage(TriageRequest(model=TEXT_ONLY, inbox=inbox, journal=tmp_path / "no" / "j"))
    with pytest.raises(FileFormatError, match="cannot be listed"):
        triage(TriageRequest(inbox=tmp_path / "absent"))
