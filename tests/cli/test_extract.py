"""``osler extract`` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from fhir.resources.R4B.bundle import Bundle

from osler.writers import load_schema
from tests.cli.running import invoke, require_refusal, spawn
from tests.readers.make_document import GERMAN, make_pdf


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return make_pdf(tmp_path / "report.pdf", GERMAN)


def test_values_and_their_lines(report: Path) -> None:
    result = invoke("extract", report, "--rules-only", "--quiet")
    assert result.exit_code == 0, result.output
    assert "2021-02-03 Potassium 5.8 mmol/L (3.5 to 5.1) H [LOINC 2823-3]" in result.stdout
    assert "    page 1: Kalium (K) 5,8 + mmol/l 3,5 - 5,1" in result.stdout
    assert f"Not read  {report} page 1: Natrium 139 136 145" in result.stdout


def test_json(report: Path) -> None:
    result = invoke("extract", report, "--rules-only", "--json", "--quiet")
    record = json.loads(result.stdout)
    jsonschema.validate(record, load_schema("extraction"))
    assert {value["way"] for value in record["values"]} == {"layout"}


def test_the_example_of_the_help(report: Path) -> None:
    result = spawn("extract", report.name, "--rules-only", "--fhir", "observations.json", folder=report.parent)
    assert result.returncode == 0, result.stderr
    bundle = Bundle.model_validate(json.loads((report.parent / "observations.json").read_text()))
    assert len(bundle.entry) >= 7


def test_another_file_is_not_overwritten(report: Path) -> None:
    target = report.parent / "mine.json"
    target.write_text("{}")
    require_refusal(invoke("extract", report, "--rules-only", "--fhir", target))
    assert target.read_text() == "{}"
    assert invoke("extract", report, "--rules-only", "--quiet", "--fhir", target, "--force").exit_code == 0
    assert invoke("extract", report, "--rules-only", "--quiet", "--fhir", target).exit_code == 0


def test_a_bad_schema(report: Path) -> None:
    schema = report.parent / "schema.json"
    schema.write_text("{")
    assert "cannot be read: not JSON" in invoke("extract", report, "--schema", schema).stderr


def test_a_misspelt_speculation_is_named(report: Path) -> None:
    result = invoke("extract", report, "--speculation", "lokup")
    assert result.exit_code == 2
    assert "Did you mean 'lookup'?" in " ".join(result.output.split())


def test_a_password(tmp_path: Path) -> None:
    path = make_pdf(tmp_path / "locked.pdf", ["secret"], password="abc")
    result = invoke("extract", path)
    require_refusal(result)
    assert "is protected by a password" in result.stderr


def test_nothing_of_the_document_is_logged(report: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        invoke("extract", report, "--rules-only", "--quiet")
    assert "Kalium" not in caplog.text
    assert "03.02.2021" not in caplog.text
