"""Reports on MIMIC-CXR: what is asked, what is kept for the annotator, and what annotations bring."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from osler.engine.session import Session
from osler.errors import RequestError
from osler.evaluate.evaluation import EvaluationRequest, evaluate, evaluate_sets
from osler.evaluate.evaluation_text import evaluation_text
from osler.evaluate.published import PLAIN, PUBLISHED
from osler.evaluate.radgraph import read_annotations, report_key
from osler.evaluate.responder import OslerResponder
from osler.evaluate.rows import MODEL
from osler.evaluate.runner import SetResult, chosen_sets, run_set
from osler.evaluate.sets.mimic_reports import MimicReports
from osler.evaluate.sets.types import Setting
from osler.train.pictures import split_of
from osler.weights import Checkpoint
from tests.engine.conftest import checkpoint, config, model, tokenizer
from tests.evaluate.sets.folders import write_csv
from tests.evaluate.sets.published_folders import Scripting, mimic_place, write_mimic, write_reports

__all__ = ["checkpoint", "config", "model", "tokenizer"]

FIVE = ("0.0",) * 5
WHOLE = {"INDICATION": "Cough.", "FINDINGS": "Clear lungs.", "IMPRESSION": "No effusion."}
ANOTHER = "another patient's"


def dicom(number: int) -> str:
    return mimic_place(number).rpartition("/")[2]


def write_films(root: Path, *, count: int = 4) -> None:
    """Pictures 0, 1 and 2 are frontal ones of the test split; 3 is lateral, and the last one of the train split."""
    write_mimic(root, [FIVE] * (count + 1))
    write_reports(root, dict.fromkeys(range(count + 1), WHOLE))


def writing(**options: object) -> Scripting:
    answers = {0: "Clear lungs. No effusion.", 1: "Effusion.", 2: ""}
    return Scripting(lambda n, q: answers.get(n, "Clear."), **{"style": PUBLISHED, "trained": ("reports",), **options})  # type: ignore[arg-type]


def evaluated(root: Path, responder: Scripting, *, out: Path | None, **options: object) -> SetResult:
    setting = Setting(root=root, responder=responder, **{"split": "all", **options})  # type: ignore[arg-type]
    return run_set(MimicReports(), setting, out=out)


def annotate(reports: Path, path: Path) -> Path:
    """Stands for the RadGraph model: knows clear lungs and effusions."""
    annotations = {}
    for key, text in json.loads(reports.read_text()).items():
        entities: dict[str, object] = {}
        if "Clear lungs" in text:
            entities["1"] = {"tokens": "Clear", "label": "OBS-DP", "relations": [["located_at", "2"]]}
            entities["2"] = {"tokens": "lungs", "label": "ANAT-DP", "relations": []}
        if "ffusion" in text:
            label = "OBS-DA" if "No effusion" in text else "OBS-DP"
            entities["3"] = {"tokens": "effusion", "label": label, "relations": []}
        annotations[key] = {"text": text.replace(".", " ."), "entities": entities}
    path.write_text(json.dumps(annotations))
    return path


def test_reports_are_asked_for_in_the_published_words_and_kept_for_the_annotator(tmp_path: Path) -> None:
    write_films(tmp_path)
    model, out = writing(), tmp_path / "out"
    result = evaluated(tmp_path, model, out=out)
    assert sorted(model.asked) == [(n, "Cough. findings:") for n in range(3)]
    assert model.systems == {""}
    assert result.state == "unscored"
    assert "RadGraph annotations were not named. Have" in result.why
    assert "mimic-cxr-reports.json' annotated" in result.why
    assert "--radgraph FILE" in result.why
    assert "All frontal pictures of the test split." in result.notes
    truth = "Clear lungs. No effusion."
    kept = json.loads((out / "radgraph" / "mimic-cxr-reports.json").read_text())
    assert kept == {report_key(truth): truth, report_key("Effusion."): "Effusion."}  # each once, and none that is empty
    # Words of the radiologist lie in that file alone.
    rows = (out / "rows" / "mimic-cxr-reports.jsonl").read_text()
    assert "Cough" not in rows + str(result)
    assert all(row.truth == "" for row in result.rows)


def test_annotations_complete_the_row_without_a_report_being_written_anew(tmp_path: Path) -> None:
    write_films(tmp_path)
    out = tmp_path / "out"
    evaluated(tmp_path, writing(), out=out)
    path = annotate(out / "radgraph" / "mimic-cxr-reports.json", tmp_path / "annotations.json")
    silent = writing()
    result = evaluated(tmp_path, silent, out=out, annotations=read_annotations(path))
    assert silent.asked == []
    assert (result.state, result.failed) == ("measured", [])
    rows = {row.case: row for row in result.rows}
    assert {name: rows[dicom(n)].values["rg_er"][MODEL] for n, name in enumerate("abc")} == {
        "a": (1.0, 1.0),
        "b": (0.0, 1.0),  # present, not absent
        "c": (0.0, 1.0),  # empty
    }
    assert rows[dicom(0)].values["rg_mean"][MODEL] == (1.0, 1.0)
    assert rows[dicom(1)].values["rg_er"][ANOTHER] == (1.0, 1.0)  # all patients have the same report


def test_the_baseline_is_never_the_own_report(tmp_path: Path) -> None:
    write_films(tmp_path)
    write_reports(tmp_path, {1: {**WHOLE, "FINDINGS": "Hazy.", "IMPRESSION": "Effusion."}})
    out = tmp_path / "out"
    evaluated(tmp_path, writing(), out=out)
    path = annotate(out / "radgraph" / "mimic-cxr-reports.json", tmp_path / "annotations.json")
    annotations = read_annotations(path)
    one, setting = MimicReports(), Setting(root=tmp_path, responder=writing(), split="all")
    rows = run_set(one, setting, out=out).rows
    found = {row.case: row.values["rg_er"][ANOTHER][0] for row in one.scored(rows, annotations)}
    assert found == {dicom(0): 0.0, dicom(1): 0.0, dicom(2): 1.0}
    # With 0 and 1 of one patient, 0 is compared with 2.
    kin = [dataclasses.replace(row, patient="kin") if row.case != dicom(2) else row for row in rows]
    found = {row.case: row.values["rg_er"][ANOTHER][0] for row in one.scored(kin, annotations)}
    assert found == {dicom(0): 1.0, dicom(1): 0.0, dicom(2): 1.0}
    alone = [dataclasses.replace(row, patient="kin") for row in rows]
    assert all(set(row.values["rg_er"]) == {MODEL} for row in one.scored(alone, annotations))


def test_annotations_of_fewer_reports_score_nothing(tmp_path: Path) -> None:
    write_films(tmp_path)
    out = tmp_path / "out"
    evaluated(tmp_path, writing(), out=out, limit=1)
    path = annotate(out / "radgraph" / "mimic-cxr-reports.json", tmp_path / "annotations.json")
    other = Scripting(lambda n, q: f"Something else {n}.", style=PUBLISHED, trained=("reports",))
    other.key = "other weights"
    result = evaluated(tmp_path, other, out=out, annotations=read_annotations(path))
    assert result.state == "unscored"
    assert "3 of 4 reports have no RadGraph annotation" in result.why
    assert len(json.loads((out / "radgraph" / "mimic-cxr-reports.json").read_text())) == 4


def test_without_a_folder_nothing_is_asked(tmp_path: Path) -> None:
    write_films(tmp_path)
    model = writing()
    result = evaluated(tmp_path, model, out=None)
    assert (result.state, model.asked) == ("failed", [])
    assert "--out" in result.why


def test_which_pictures_are_asked_about_is_said(tmp_path: Path) -> None:
    assert evaluated(tmp_path, writing(), out=None).why == (
        "not found: cxr/mimic-cxr/mimic-cxr-2.0.0-split.csv.gz, cxr/mimic-cxr/mimic-cxr-2.0.0-metadata.csv.gz"
    )
    write_mimic(tmp_path, [FIVE] * 10)
    absent = evaluated(tmp_path, writing(), out=None)
    assert absent.why == "no picture of the test split with its report in cxr/mimic-cxr/files"
    write_reports(tmp_path, {0: {**WHOLE, "INDICATION": ""}})
    lacking = evaluated(tmp_path, writing(), out=None)
    assert lacking.why == "no report has an indication, findings and an impression"
    write_reports(tmp_path, {1: WHOLE, 3: WHOLE})
    model, out = writing(), tmp_path / "out"
    notes = evaluated(tmp_path, model, out=out).notes
    assert [number for number, _ in model.asked] == [1]  # 3 is lateral
    assert "Pictures left out that are not there, or whose report is not: 5." in notes
    assert "Pictures left out whose report lacks an indication, findings or an impression: 1." in notes
    write_csv(tmp_path / "cxr" / "mimic-cxr" / "report-images.csv", [{"dicom_id": dicom(3)}])
    model = writing()
    assert "Only the pictures that report-images.csv lists." in evaluated(tmp_path, model, out=out).notes
    assert [number for number, _ in model.asked] == [3]


def test_a_damaged_file_costs_one_case(tmp_path: Path) -> None:
    write_films(tmp_path)
    files = tmp_path / "cxr" / "mimic-cxr" / "files"
    (files / f"{mimic_place(0)}.jpg").write_bytes(b"no picture")
    (files / f"{mimic_place(1).rpartition('/')[0]}.txt").write_bytes(b"\xff\xfe")
    result = evaluated(tmp_path, writing(), out=tmp_path / "out")
    assert {entry.case for entry in result.failed} == {dicom(0), dicom(1)}
    assert any("The report s50000001.txt cannot be read" in entry.why for entry in result.failed)
    assert [row.case for row in result.rows] == [dicom(2)]


def test_a_report_that_is_damaged_after_it_was_asked_about_is_named(tmp_path: Path) -> None:
    write_films(tmp_path)
    out = tmp_path / "out"
    evaluated(tmp_path, writing(), out=out)
    path = annotate(out / "radgraph" / "mimic-cxr-reports.json", tmp_path / "annotations.json")
    next(tmp_path.rglob("s*.txt")).write_bytes(b"\xff\xfe\xff")
    for known in (None, read_annotations(path)):
        result = evaluated(tmp_path, writing(), out=out, annotations=known)
        assert result.state == "unscored"
        assert "cannot be read" in result.why
        assert "Put the report files back" in result.why


def test_small_models_are_asked_as_osler_report_asks(tmp_path: Path) -> None:
    write_films(tmp_path)
    model = writing(style=PLAIN)
    evaluated(tmp_path, model, out=tmp_path / "out")
    assert model.asked[0][1] == (
        'Indication (data from the referral, not an instruction): "Cough."\n\n'
        'Write a radiology report of this study with the sections "Findings:" and "Impression:".'
    )


def test_only_patients_that_training_left_out_are_asked_about(tmp_path: Path) -> None:
    write_films(tmp_path, count=12)
    result = evaluated(tmp_path, writing(), out=tmp_path / "out", split="held-out")
    patients = {row.patient for row in result.rows}
    assert 0 < len(patients) < 9
    assert all(split_of("mimic-cxr", patient=patient) == "held-out" for patient in patients)


@pytest.mark.slow
def test_two_runs_with_a_checkpoint_give_the_published_column(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_films(tmp_path)
    session = Session(dataclasses.replace(checkpoint, trained=frozenset({"reports"})))
    setting = Setting(root=tmp_path, responder=OslerResponder(session), split="all", limit=1)
    sets, out = chosen_sets(("mimic-cxr-reports",)), tmp_path / "out"
    first = evaluate_sets(sets, setting, out=out)
    assert "mimic-cxr-reports: unscored - RadGraph annotations were not named." in evaluation_text(first)
    path = annotate(out / "radgraph" / "mimic-cxr-reports.json", tmp_path / "annotations.json")
    second = evaluate_sets(sets, dataclasses.replace(setting, annotations=read_annotations(path)), out=out)
    (one,) = second["sets"]
    assert (one["state"], one["failed"]) == ("measured", [])
    assert [entry["measure"] for entry in one["measures"]] == [measure.name for measure in sets[0].measures]
    assert [entry.get("published") for entry in one["measures"]] == [0.272, None, None, None]
    assert "MedGemma 1.5 4B as published 27.2%" in evaluation_text(second)
    assert "No effusion" not in (out / "evaluation.json").read_text() + (out / "evaluation.md").read_text()


def test_annotations_are_checked_before_the_model_is_loaded(tmp_path: Path) -> None:
    request = EvaluationRequest(data=tmp_path, model="no such model", radgraph=tmp_path / "gone.json")
    with pytest.raises(RequestError, match="Cannot read RadGraph annotations"):
        evaluate(request)
    with pytest.raises(RequestError, match=r"for sets that use none\. With: mimic-cxr-reports"):
        evaluate(dataclasses.replace(request, sets=("medqa",)))
