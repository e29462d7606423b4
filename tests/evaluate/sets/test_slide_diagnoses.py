"""Slides beside their diagnoses: the published question and ROUGE-L."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.evaluate.published import PLAIN, PUBLISHED
from osler.evaluate.rows import MODEL
from osler.evaluate.runner import SetResult, run_set
from osler.evaluate.sets.slide_diagnoses import SlideDiagnoses
from osler.evaluate.sets.types import Setting
from tests.evaluate.sets.published_folders import Scripting, write_diagnoses

CARCINOMA = "Colon, biopsy: moderately differentiated adenocarcinoma."


def evaluated(root: Path, responder: Scripting) -> SetResult:
    return run_set(SlideDiagnoses(), Setting(root=root, responder=responder, split="all"))


def test_a_slide_is_asked_in_the_published_words_and_scored_by_rouge_l(tmp_path: Path) -> None:
    write_diagnoses(
        tmp_path, [("colon biopsy", CARCINOMA), ("colon biopsy", "Tubular adenoma"), ("skin biopsy", "Nevus")]
    )
    model = Scripting(lambda n, q: "Final Answer: colon biopsy: well differentiated adenocarcinoma", style=PUBLISHED)
    result = evaluated(tmp_path, model)
    assert result.failed == []
    rows = {row.case: row for row in result.rows}
    assert rows["0.svs"].asked == (
        "Provide a brief diagnostic text for the set of pathology patches extracted from a pathology slide. Consider "
        "the tissue type and procedure (below) when deciding what to include in the diagnostic text. colon biopsy"
    )
    # colon, biopsy, differentiated, adenocarcinoma: 4 of 5 words on both sides
    assert rows["0.svs"].values["rouge"][MODEL][0] == pytest.approx(0.8)
    assert rows["2.svs"].values["rouge"][MODEL][0] == 0.0
    # The commonest diagnosis of other patients' colon biopsies.
    assert rows["1.svs"].values["rouge"]["majority"][0] == 0.0
    assert model.systems == {""}


def test_damaged_and_missing_slides_are_counted(tmp_path: Path) -> None:
    model = Scripting(lambda n, q: "nevus", style=PLAIN)
    assert evaluated(tmp_path, model).why == "not found: slides/diagnoses.csv"
    write_diagnoses(tmp_path, [("skin", "Nevus"), ("skin", "Nevus"), ("skin", "  "), ("skin", "Nevus")])
    (tmp_path / "slides" / "1.svs").write_bytes(b"no slide")
    (tmp_path / "slides" / "3.svs").unlink()
    result = evaluated(tmp_path, model)
    assert {entry.case for entry in result.failed} == {"1.svs", "2.svs"}
    assert any("2.svs has no diagnosis in diagnoses.csv" in entry.why for entry in result.failed)
    assert [row.values["rouge"][MODEL][0] for row in result.rows] == [1.0]
    assert "1 slides that the table lists are not there, and are left out." in result.notes
    (tmp_path / "slides" / "diagnoses.csv").write_text("slide,diagnosis\n")
    assert "diagnoses.csv has no column 'patient'" in evaluated(tmp_path, model).why


def test_a_slide_without_a_place_or_outside_the_folder_costs_one_case(tmp_path: Path) -> None:
    write_diagnoses(tmp_path, [("skin", "Nevus")])
    (tmp_path / "outside.svs").write_bytes((tmp_path / "slides" / "0.svs").read_bytes())
    with (tmp_path / "slides" / "diagnoses.csv").open("a", encoding="utf-8") as file:
        file.write(",p1,skin,Nevus\n.,p2,skin,Nevus\n../outside.svs,p3,skin,Nevus\n")
    result = evaluated(tmp_path, Scripting(lambda n, q: "nevus", style=PLAIN))
    assert [row.case for row in result.rows] == ["0.svs"]
    why = {entry.case: entry.why for entry in result.failed}
    assert set(why) == {"record 2", ".", "../outside.svs"}
    assert "diagnoses.csv: '' names no file in slides" in why["record 2"]
    assert "'../outside.svs' does not lie in slides" in why["../outside.svs"]
