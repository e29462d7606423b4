"""``osler ehr``, and priors and records on other commands."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from osler.writers import load_schema
from tests.cli.mini import needs_mini
from tests.cli.running import invoke, loaded_after, require_refusal, spawn
from tests.readers.make_dicom import ramp, write_series
from tests.readers.make_fhir import observation, patient, write
from tests.shared_data import SHARED_DATA, needs_shared_data


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return write(tmp_path / "record.json", patient("P-1"), observation("Hemoglobin A1c", 8.1, unit="%", code="4548-4"))


def test_the_example_of_the_help_runs(record: Path) -> None:
    result = invoke("ehr", record, "What was the last HbA1c?", "--steps")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Hemoglobin A1c: 8.1 %, 2021-03-05.\n")
    assert "Step 1    search_events(topic=hba1c, loinc=" in result.stdout
    assert "Entry     2021-03-05 Hemoglobin A1c 8.1 %" in result.stdout
    assert "Model     none: the answer is taken from the files" in result.stdout


def test_json_is_by_the_schema_and_loads_no_torch(record: Path) -> None:
    result = invoke("ehr", record, "What was the last HbA1c?", "--json")
    answer = json.loads(result.stdout)
    jsonschema.validate(answer, load_schema("answer"))
    assert answer["observations"][0]["value"] == 8.1
    assert answer["task"] == "ehr"
    asked = f"ask_record(EhrRequest(question='Last HbA1c?', records=({str(record)!r},)))"
    code = f"from osler.tasks.ehr import EhrRequest, ask_record\n{asked}"
    assert "torch" not in loaded_after(code)


def test_what_is_missing_is_said(record: Path, tmp_path: Path) -> None:
    require_refusal(invoke("ehr", record))
    require_refusal(invoke("ehr", tmp_path / "absent", "Why?"))
    refused = invoke("ehr", record, "")
    require_refusal(refused)
    assert "The question is empty" in refused.stderr


def test_inspect_shows_the_record_and_refuses_other_patients(record: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    write_series(scan, volume=ramp(3), PatientID="P-1", StudyDate="20240101")
    prior = tmp_path / "prior"
    write_series(prior, volume=ramp(3), PatientID="P-1", StudyDate="20200101", StudyInstanceUID="1.7")
    result = invoke("inspect", scan, "--prior", prior, "--record", record, "--no-picture")
    assert "2 time points (2020-01-01, 2024-01-01)" in result.stdout
    assert "Record: 1 event (1 observation), 2021-03-05 to 2021-03-05" in result.stdout
    result = invoke("inspect", record, "--json")
    inspection = json.loads(result.stdout)
    jsonschema.validate(inspection, load_schema("inspection"))
    assert (inspection["events"], inspection["record"]) == (1, {"observation": 1})
    other = tmp_path / "other"
    write_series(other, volume=ramp(3), PatientID="P-2", StudyInstanceUID="1.8")
    refused = invoke("inspect", scan, "--prior", other, "--no-picture", "--json")
    assert require_refusal(refused, as_json=True)["kind"] == "PatientMixError"
    allowed = invoke("inspect", scan, "--prior", other, "--no-picture", "--allow-mixed-patients")
    assert allowed.exit_code == 0
    assert "different patients" in allowed.stdout


def test_a_prior_needs_a_study(tmp_path: Path) -> None:
    refused = invoke("ask", "--no-image", "Why?", "--prior", tmp_path)
    require_refusal(refused)
    assert "--prior without a study" in refused.stderr


@needs_mini
@pytest.mark.slow
def test_ask_shows_the_record_to_the_model(record: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan"
    write_series(scan, volume=ramp(3), PatientID="P-1", StudyDate="20240101")
    result = invoke("ask", scan, "What is shown?", "--record", record, "--max-tokens", "2", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    jsonschema.validate(answer, load_schema("answer"))
    assert "event" in {one["kind"] for one in answer["evidence"]}
    assert answer["steps"][0]["result"].startswith("1 events")


def identifying(bundle: dict[str, Any]) -> set[str]:
    """Every name, address, number and telephone of the people in a bundle."""
    found: set[str] = set()

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            for entry in value.values():
                collect(entry)
        elif isinstance(value, list):
            for entry in value:
                collect(entry)
        elif isinstance(value, str) and len(value) > 3:
            found.add(value)

    for entry in bundle["entry"]:
        one = entry["resource"]
        if one["resourceType"] in ("Patient", "Practitioner", "Organization"):
            for key in ("id", "identifier", "name", "telecom", "address"):
                for part in one.get(key, ()) if isinstance(one.get(key), list) else [one.get(key)]:
                    part = (
                        {k: v for k, v in part.items() if k not in ("use", "system", "type", "country", "state")}
                        if isinstance(part, dict)
                        else part
                    )
                    collect(part)
        if one["resourceType"] == "Patient":
            found.add(one["birthDate"])
    return found - {"home", "official", "phone", "maiden", "both"}


@needs_shared_data
def test_no_patient_data_in_output_or_logs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Names, addresses and numbers of a whole bundle are searched in all that a run prints and logs."""
    assert SHARED_DATA is not None
    source = sorted((SHARED_DATA / "fhir").glob("*.json"))[4]
    path = tmp_path / "record.json"
    shutil.copy(source, path)
    secrets = identifying(json.loads(path.read_text()))
    assert len(secrets) > 10
    other = tmp_path / "other.json"
    shutil.copy(sorted((SHARED_DATA / "fhir").glob("*.json"))[5], other)
    secrets |= identifying(json.loads(other.read_text()))
    with caplog.at_level(logging.DEBUG):
        runs = [
            invoke("ehr", path, "What was the last weight?", "--steps"),
            invoke("ehr", path, "Which conditions are there?", "--json"),
            invoke("ehr", path, "Which conditions are there?", "--record", other),
            invoke("inspect", path, "--no-picture"),
            invoke("inspect", path, "--record", other, "--allow-mixed-patients", "--no-picture"),
        ]
    assert [run.exit_code for run in runs] == [0, 0, 2, 0, 0]
    done = spawn("ehr", path, "What was the last weight?", folder=tmp_path)
    text = "".join(run.output for run in runs) + caplog.text + done.stdout + done.stderr
    assert "kg" in text
    assert not {secret for secret in secrets if secret in text}
