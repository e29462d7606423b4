"""``osler synth patients``: folders that `open_study` reads, and refusals in one message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import Result

from osler.readers import open_study
from osler.study import Slide
from tests.cli.running import invoke, require_refusal

for package in ("pyarrow", "reportlab", "pypdfium2"):
    pytest.importorskip(package, reason="needs the synth extra")


def patients(out: Path, *more: str, count: str = "2") -> Result:
    arguments = ("--count", count, "--out", out, "--seed", "7", "--matrix", "64", *more)
    return invoke("synth", "patients", *arguments)


def test_patients_are_written_and_can_be_opened(tmp_path: Path) -> None:
    result = patients(tmp_path / "set")
    assert result.exit_code == 0, result.output
    assert "2 patients written" in result.stdout
    for name in ("OSLER-7-0", "OSLER-7-1"):
        folder = tmp_path / "set" / name
        facts = json.loads((folder / "facts.json").read_text())["facts"]
        study = open_study(folder)
        drawn = [exam for exam in facts["exams"] if exam["modality"] != "SM"]
        assert len([series for series in study.series() if not isinstance(series, Slide)]) == len(drawn)
        assert [point.study_uid for point in study.timepoints] == [exam["acquisition"]["study_uid"] for exam in drawn]
    again = patients(tmp_path / "set", "--json")
    record = json.loads(again.stdout)
    assert (record["written"], record["kept"], record["patients"]) == (0, 2, ["OSLER-7-0", "OSLER-7-1"])


def test_lost_images_are_made_again_and_said(tmp_path: Path) -> None:
    assert patients(tmp_path / "set", "--documents", "none", count="1").exit_code == 0
    lost = sorted((tmp_path / "set").rglob("*.dcm"))[:12]
    before = [path.read_bytes() for path in lost]
    for path in lost:
        path.unlink()
    again = patients(tmp_path / "set", "--documents", "none", count="1")
    assert again.exit_code == 0, again.output
    named = [path.relative_to(tmp_path / "set").as_posix() for path in lost]
    assert f"Missing or damaged, made again: {named[0]}" in again.stderr
    assert "0 patients written, 1 there already" in again.stdout
    assert [path.read_bytes() for path in lost] == before


def test_the_record_alone_is_small(tmp_path: Path) -> None:
    result = patients(tmp_path / "set", "--images", "none", "--documents", "none")
    assert result.exit_code == 0, result.output
    assert not list(tmp_path.rglob("*.dcm"))
    assert not list(tmp_path.rglob("*.pdf"))
    assert len(list(tmp_path.rglob("record.fhir.json"))) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--count", "0"), "A count of patients of 0"),
        (("--count", "-5"), "A count of patients of -5"),
        (("--count", "1", "--seed", "-1"), "A seed of -1"),
        (("--count", "1", "--matrix", "3"), "A matrix of 3 pixels"),
    ],
)
def test_absurd_options_are_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = invoke("synth", "patients", "--out", tmp_path / "set", *arguments)
    require_refusal(result)
    assert message in result.stderr
    assert not (tmp_path / "set").exists()


def test_a_folder_with_other_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    error = require_refusal(patients(tmp_path, "--json"), as_json=True)
    assert "holds other data" in error["problem"]
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
