"""FHIR records as a whole: events, whose they are, what is left out, and what must not change them."""

from __future__ import annotations

import copy
import datetime as dt
import json
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import DataError, OslerError, PatientMixError, UnsupportedError
from osler.readers import open_study
from osler.readers.blob import DiskBlob
from osler.readers.fhir import Record, build_record, read_fhir
from osler.study import ClinicalEvent
from tests.readers.make_dicom import ramp, write_series
from tests.readers.make_fhir import coded, observation, patient, resource, write
from tests.shared_data import SHARED_DATA, needs_shared_data

TODAY = dt.date(2024, 6, 1)


def record_of(path: Path) -> Record:
    return build_record([read_fhir(DiskBlob(path, path.stat().st_size))], today=TODAY)


def left_out(record: Record) -> dict[tuple[str, str], int]:
    return {(item.what, item.why): item.count for item in record.left_out}


def test_everything_that_cannot_be_used_is_counted_by_type_and_reason(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.json",
        patient(),
        observation(identity="o1"),
        observation(status="entered-in-error"),
        observation(valueQuantity={"value": "high", "unit": "mg/dL"}),
        observation(valueQuantity=None),
        observation(code=None) | {"code": {}},
        resource("Procedure", status="not-done", code=coded("Biopsy")),
        resource("Claim"), resource("Claim"), resource("ExplanationOfBenefit"),
        resource("MadeUp"),
        resource("MedicationRequest", medicationReference={"reference": "Medication/absent"}),
    )  # fmt: skip
    record = record_of(path)
    assert [event.name for event in record.events] == ["Creatinine"]
    assert left_out(record) == {
        ("Observation", "entered in error, as the record says"): 1,
        ("Observation", "its value is no number"): 1,
        ("Observation", "it has no value"): 1,
        ("Observation", "it does not say what was observed"): 1,
        ("Procedure", "not done, as the record says"): 1,
        ("Claim", "billing, which repeats what other entries say"): 2,
        ("ExplanationOfBenefit", "billing, which repeats what other entries say"): 1,
        ("MadeUp", "of a type that is not read"): 1,
        ("MedicationRequest", "its medication is a reference that leads nowhere"): 1,
    }


def test_a_slow_entry_is_counted_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock runs for an hour while the second entry is read."""
    clock = iter([0.0, 0.1, 0.2, 3600.2, 3600.3, 3600.4])
    monkeypatch.setattr("osler.readers.fhir.time.thread_time", lambda: next(clock))
    record = record_of(write(tmp_path / "r.json", patient(), *(observation(identity=name) for name in "abc")))
    assert record.problems == ("1 Observation entry: slow to read.",)
    assert [event.source.rpartition("/")[2] for event in record.events] == ["a", "b", "c"]


def test_dates_in_part_in_the_future_and_before_birth_are_noticed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.json",
        patient(birth="1960-05-02"),
        observation(date="2020"), observation(date="2020-05"), observation(date="2020-05-03T23:30:00-08:00"),
        observation(date="2030-01-01"), observation(date="1950-01-01"), observation(date="2020-13-45"),
        observation(date="last week"),
    )  # fmt: skip
    record = record_of(path)
    assert [event.when for event in record.events] == [
        "1950-01-01",
        "2020",
        "2020-05",
        "2020-05-03",
        "2030-01-01",
        "",
        "",
    ]
    assert record.events[1].date == dt.date(2020, 1, 1)
    assert set(record.problems) == {
        "1 Observation entry: dated by year alone: placed on the first day of it.",
        "1 Observation entry: dated by month alone: placed on the first day of it.",
        "1 Observation entry: dated in the future.",
        "1 Observation entry: dated before the patient was born.",
        "1 Observation entry: its date is not in the calendar: kept without a date.",
        "1 Observation entry: its date is no FHIR date: kept without a date.",
        "2 Observation entries: without a date.",
    }


def test_two_patients_in_a_bundle_are_refused_or_said(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.json", patient("P-1"), patient("P-2", identity="pat-2"),
        observation(identity="o1"), observation(identity="o2", subject="Patient/pat-2"),
    )  # fmt: skip
    with pytest.raises(PatientMixError, match=r"holds entries of 2 patients.*One patient at a time") as caught:
        open_study(path)
    assert not any(word in str(caught.value) for word in ("P-1", "Roe", "pat-2"))
    study = open_study(path, mixing="allow")
    assert len(study.events) == 2
    assert "put together on request" in study.problems[0]


def test_an_entry_about_a_patient_without_a_resource_is_another_patient(tmp_path: Path) -> None:
    path = write(tmp_path / "r.json", patient(), observation(), observation(subject="Patient/somebody"))
    with pytest.raises(PatientMixError, match="2 patients"):
        open_study(path)


def test_a_bulk_export_is_one_record(tmp_path: Path) -> None:
    """One file a type, the medication in a file of its own, a copy of an entry in another."""
    files = {
        "Patient.ndjson": [patient()],
        "Observation.ndjson": [observation(identity="o1"), observation(identity="o2", date="2020-01-01")],
        "again.ndjson": [observation(identity="o1")],
        "Medication.ndjson": [{"resourceType": "Medication", "id": "m1", "code": coded("Metformin", "6809")}],
        "MedicationRequest.ndjson": [
            resource("MedicationRequest", id="r1", status="active", medicationReference={"reference": "Medication/m1"})
        ],
    }
    for name, resources in files.items():
        (tmp_path / name).write_text("\n".join(map(json.dumps, resources)))
    study = open_study(tmp_path)
    assert [event.name for event in study.events] == ["Creatinine", "Creatinine", "Metformin"]
    assert [(item.what, item.why) for item in study.left_out] == [
        ("Observation", "a copy of an entry that was read already")
    ]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in files:
            archive.write(tmp_path / name, name)
    zipped = open_study(tmp_path / "all.zip")
    assert [plain(event) for event in zipped.events] == [plain(event) for event in study.events]


def plain(event: ClinicalEvent) -> ClinicalEvent:
    """An event without where it was found."""
    return replace(event, source="")


def test_a_folder_of_images_and_a_record(tmp_path: Path) -> None:
    write_series(tmp_path / "images", volume=ramp(3), PatientID="P-1", PatientBirthDate="19600502")
    write(tmp_path / "record.json", patient("P-1"), observation())
    (tmp_path / "facts.json").write_text('{"a": 1}')
    study = open_study(tmp_path)
    assert len(study.volumes()) == len(study.events) == 1
    assert not study.problems
    assert "no FHIR record" in study.left_out[0].why


@pytest.mark.parametrize(
    ("number", "birth", "verdict"),
    [("OTHER", "1960-05-02", "untied"), ("OTHER", "1971-01-01", "different"), ("OTHER", "1960", "untied")],
)
def test_a_record_of_somebody_else_beside_images(number: str, birth: str, verdict: str, tmp_path: Path) -> None:
    write_series(tmp_path / "images", volume=ramp(3), PatientID="P-1", PatientBirthDate="19600502")
    write(tmp_path / "record.json", patient(number, birth=birth), observation())
    if verdict == "different":
        with pytest.raises(PatientMixError, match="images and the record belong to different patients"):
            open_study(tmp_path)
    else:
        assert "no number of the patient is in both" in open_study(tmp_path).problems[0]


def test_a_file_without_anything_to_use(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing that can be used \(1 left out\): Claim: billing"):
        open_study(write(tmp_path / "r.json", patient(), resource("Claim")))
    (tmp_path / "x.json").write_text('{"a": 1}')
    with pytest.raises(UnsupportedError, match="no FHIR record"):
        open_study(tmp_path / "x.json")


@needs_shared_data
def test_nothing_of_a_real_bundle_is_lost_silently(tmp_path: Path) -> None:
    """Every entry is an event, a document, the patient, or counted as left out."""
    assert SHARED_DATA is not None
    for path in sorted((SHARED_DATA / "fhir").glob("*.json")):
        record = record_of(path)
        entries = [entry["resource"] for entry in json.loads(path.read_text())["entry"]]
        used = {event.source.split("#")[1] for event in record.events}
        counted = sum(item.count for item in record.left_out)
        assert len(used) + len(record.documents) + counted + 1 == len(entries)
        assert len(record.identities) == 1


def shifted(value: object, days: int) -> object:
    """A resource with every date moved by so many days."""
    if isinstance(value, dict):
        return {key: shifted(entry, days) for key, entry in value.items()}
    if isinstance(value, list):
        return [shifted(entry, days) for entry in value]
    if isinstance(value, str) and len(value) >= 10 and value[4:5] == "-" and value[7:8] == "-" and value[:4].isdigit():
        return (dt.date.fromisoformat(value[:10]) + dt.timedelta(days=days)).isoformat() + value[10:]
    return value


@needs_shared_data
@pytest.mark.parametrize("days", [-4000, -1, 29])
def test_shifting_all_dates_changes_the_dates_alone(days: int, tmp_path: Path) -> None:
    assert SHARED_DATA is not None
    path = tmp_path / "r.json"
    source = json.loads(sorted((SHARED_DATA / "fhir").glob("*.json"))[0].read_text())
    path.write_text(json.dumps(source))
    before = record_of(path)
    path.write_text(json.dumps(shifted(source, days)))
    after = record_of(path)
    move = dt.timedelta(days=days)
    moved = tuple(
        replace(one, date=one.date and one.date + move, end=one.end and one.end + move) for one in before.events
    )
    assert after.events == moved
    assert after.left_out == before.left_out
    assert after.problems == before.problems


@needs_shared_data
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_order_of_the_entries_changes_nothing(seed: int, tmp_path: Path) -> None:
    assert SHARED_DATA is not None
    path = tmp_path / "r.json"
    source = json.loads(sorted((SHARED_DATA / "fhir").glob("*.json"))[3].read_text())
    path.write_text(json.dumps(source))
    before = record_of(path)
    random.Random(seed).shuffle(source["entry"])
    path.write_text(json.dumps(source))
    after = record_of(path)
    assert (after.events, after.left_out, after.problems) == (before.events, before.left_out, before.problems)
    assert [one.key for one in after.identities] == [one.key for one in before.identities]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
WHOLE = [
    observation(identity="o1", referenceRange=[{"low": {"value": 1.0}}], interpretation=[coded("H", "H")],
                component=[{"code": coded("Systolic", "8480-6"), "valueQuantity": {"value": 120, "unit": "mmHg"}}]),
    resource("Condition", code=coded("Asthma"), clinicalStatus=coded("", "active"), onsetDateTime="2001-01-01"),
    resource("MedicationRequest", medicationCodeableConcept=coded("Aspirin"), dosageInstruction=[{"text": "daily"}]),
    resource("Encounter", type=[coded("Visit")], period={"start": "2020-01-01"}, reasonCode=[coded("Cough")]),
    resource("ImagingStudy", description="CT", started="2020-01-01", series=[{"modality": {"code": "CT"}}]),
    resource("DiagnosticReport", code=coded("CT"), conclusion="Normal.",
             presentedForm=[{"contentType": "text/plain", "data": "QQ=="}]),
    resource("Immunization", vaccineCode=coded("Flu"), occurrenceDateTime="2020-01-01"),
    resource("AllergyIntolerance", code=coded("Nuts"), reaction=[{"manifestation": [coded("Rash")]}]),
    resource("Procedure", code=coded("Suture"), performedPeriod={"start": "2020-01-01", "end": "2020-01-02"}),
    patient(),
]  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_field_may_hold_anything(data: st.DataObject, tmp_path: Path) -> None:
    """A field of the wrong kind costs its entry at most, and is never an exception of Python's."""
    one = copy.deepcopy(data.draw(st.sampled_from(WHOLE)))
    keys = [key for key in one if key != "resourceType"]
    one[data.draw(st.sampled_from(keys))] = data.draw(JUNK)
    path = write(tmp_path / "r.json", patient(), observation(identity="good"), one)
    try:
        record = record_of(path)
    except OslerError:
        return
    assert any(event.source.endswith("#Observation/good") for event in record.events)
    for event in record.events:
        assert event.name
        event.name.encode()
        assert "\n" not in event.name


@pytest.mark.parametrize("number", [0, 3])
def test_a_synthetic_patient_reads_back_to_the_facts_it_was_made_from(number: int, tmp_path: Path) -> None:
    """Every laboratory value, range and flag, every condition and drug, from the folder as `osler synth` writes it."""
    from osler.synth import draw_patient
    from osler.synth.ontology import load_ontology
    from osler.synth.patient_folder import FolderPlan, write_patient_folder
    from osler.synth.timeline import calendar_date

    facts = draw_patient(seed=7, number=number)
    plan = FolderPlan(images="none", documents="none")
    study = open_study(write_patient_folder(facts, out=tmp_path, plan=plan).path)
    assert not study.timepoints
    codes = {entry.key: entry.loinc for entry in load_ontology().labs}
    flags = {"low": "L", "normal": "N", "high": "H"}
    wanted = {
        (
            codes[lab.key],
            calendar_date(lab.day),
            lab.value,
            lab.unit,
            lab.reference.low,
            lab.reference.high,
            flags[lab.flag],
        )
        for lab in facts.labs
    }
    found = {
        (event.code, event.date, event.value, event.unit, event.reference.low, event.reference.high, event.flag)
        for event in study.events
        if event.kind == "observation" and event.reference is not None
    }
    assert found == wanted
    assert sum(event.kind == "condition" for event in study.events) == len(facts.conditions)
    drugs = [event for event in study.events if event.kind == "medication"]
    assert {(event.date, event.end) for event in drugs} == {
        (calendar_date(drug.start), None if drug.stop is None else calendar_date(drug.stop))
        for drug in facts.medications
    }
    assert sum(event.kind == "imaging" for event in study.events) == len(facts.exams)
    assert len(study.documents) == len(facts.exams)
    left = {(item.what, item.why) for item in study.left_out if "FHIR" not in item.why and "text file" not in item.why}
    assert {what for what, _why in left} <= {"DiagnosticReport", "DocumentReference"}
