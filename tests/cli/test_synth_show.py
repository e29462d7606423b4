"""``osler synth show``: a summary, the facts as JSON, a page as PNG."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from osler.synth.draw import draw_patient
from osler.synth.ontology import load_ontology
from tests.cli.running import invoke, require_refusal

for package in ("pyarrow", "matplotlib"):
    pytest.importorskip(package, reason="needs the synth extra")


def test_the_summary_names_exams_record_and_report() -> None:
    result = invoke("synth", "show", "12", "--seed", "7")
    assert result.exit_code == 0, result.output
    patient = draw_patient(seed=7, number=12)
    assert f"OSLER-7-12  {patient.sex}, {patient.age} years" in result.stdout
    drugs = {entry.key: entry.name for entry in load_ontology().medications}
    flat = " ".join(result.stdout.split()).lower()
    for medication in patient.medications:
        assert drugs[medication.key].lower() in flat
    assert f"Report, day {patient.exams[-1].day}" in result.stdout


def test_json_is_the_facts() -> None:
    record = json.loads(invoke("synth", "show", "12", "--seed", "7", "--json").stdout)
    patient = draw_patient(seed=7, number=12)
    assert (record["synthetic"], record["facts"]["age"]) == (True, patient.age)
    assert [exam["day"] for exam in record["facts"]["exams"]] == [exam.day for exam in patient.exams]
    assert len(record["reports"]) == len(patient.exams)


def test_a_page_is_drawn_and_other_files_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.png"
    result = invoke("synth", "show", "12", "--seed", "7", "--picture", page, "--matrix", "64")
    assert result.exit_code == 0, result.output
    assert f"Page: {page}" in result.stdout
    assert Image.open(page).size[0] > 1000
    page.write_text("mine")
    refused = invoke("synth", "show", "12", "--picture", page)
    require_refusal(refused)
    assert "exists" in refused.stderr
    assert page.read_text() == "mine"


@pytest.mark.parametrize("name", ["x.txt", "page", "page.jpg"])
def test_a_picture_with_another_ending_is_refused(tmp_path: Path, name: str) -> None:
    refused = invoke("synth", "show", "12", "--seed", "7", "--picture", tmp_path / name, "--force")
    require_refusal(refused)
    assert "would not end in '.png'" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("-1",), "-1"), (("1", "--seed", "-2"), "-2"), (("9" * 30,), "Numbers are 0")],
)
def test_a_patient_out_of_range_is_refused(arguments: tuple[str, ...], message: str) -> None:
    result = invoke("synth", "show", *(("--", *arguments) if arguments[0] == "-1" else arguments))
    require_refusal(result)
    assert message in result.stderr
