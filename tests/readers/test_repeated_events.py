"""The same measurement in several files counts once."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

from osler.readers import open_patient
from osler.readers.repeated_events import without_repeats
from osler.study import ClinicalEvent
from tests.readers.make_fhir import observation, patient, write

CRP = ClinicalEvent(kind="observation", name="CRP", code="1988-5", date=dt.date(2024, 3, 1), value=12.0, unit="mg/L")


def test_what_another_source_gave_counts_once() -> None:
    again = dataclasses.replace(CRP, name="C-reactive protein", source="report.pdf p. 1")
    kept, (left,) = without_repeats([[CRP], [again], [again]])
    assert kept == [CRP]
    assert left.count == 2


def test_what_differs_stays() -> None:
    others = [
        dataclasses.replace(CRP, value=12.1),
        dataclasses.replace(CRP, date=dt.date(2024, 3, 2)),
        dataclasses.replace(CRP, unit="mg/dL"),
        dataclasses.replace(CRP, code="30522-7"),
        dataclasses.replace(CRP, date=None),
        dataclasses.replace(CRP, kind="condition"),
    ]
    kept, left = without_repeats([[CRP, others[4], others[5]], others])
    assert kept == [CRP, others[4], others[5], *others]
    assert left == []


def test_what_one_source_gives_twice_was_measured_twice() -> None:
    kept, (left,) = without_repeats([[CRP, CRP], [CRP, CRP, CRP]])
    assert len(kept) == 3
    assert left.count == 2


def test_a_record_given_beside_a_copy_of_its_values(tmp_path: Path) -> None:
    one = write(tmp_path / "a.json", patient("P-1"), observation(date="2023-01-01"), observation(date="2019-01-01"))
    two = write(tmp_path / "b.json", patient("P-1"), observation(date="2023-01-01"))
    study = open_patient(None, records=[one, two])
    assert [event.date and event.date.year for event in study.events] == [2019, 2023]
    assert [(entry.what, entry.count) for entry in study.left_out] == [("measured values", 1)]
