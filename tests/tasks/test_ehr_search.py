"""Which entries a query means."""

from __future__ import annotations

import datetime as dt

import pytest

from osler.study import ClinicalEvent
from osler.tasks.ehr_question import plan_question
from osler.tasks.ehr_search import about, codes_of, in_time


def drug(name: str) -> ClinicalEvent:
    return ClinicalEvent(kind="medication", name=name, date=dt.date(2020, 1, 1), status="active")


@pytest.mark.parametrize(
    ("name", "question", "found"),
    [
        ("Amoxicillin 250 MG / Clavulanate 125 MG Oral Tablet", "Is he on clavulanate?", True),
        ("Amoxicillin 250 MG / Clavulanate 125 MG Oral Tablet", "Is he on augmentin?", True),
        ("Fexofenadine hydrochloride 60 MG Oral Tablet", "Is he on hydrochloride?", False),
        ("Clonazepam [Klonopin]", "Is she taking Klonopin?", True),
        ("NDA020800 0.3 ML Epinephrine 1 MG/ML Auto-Injector", "Is she taking epinephrine?", True),
        ("Acetaminophen 325 MG Oral Tablet", "Is she taking paracetamol?", True),
        ("Acetaminophen 325 MG Oral Tablet", "Is she taking a tablet?", False),
        ("Naproxen sodium 220 MG Oral Tablet", "Is she taking sodium?", False),
    ],
)
def test_drugs_by_ingredient(name: str, question: str, found: bool) -> None:
    assert bool(about([drug(name)], plan_question(question))) is found


def test_time_bounds_include_their_ends() -> None:
    days = [dt.date(2019, 12, 31), dt.date(2020, 1, 1), dt.date(2020, 12, 31), dt.date(2021, 1, 1), None]
    events = [ClinicalEvent(kind="encounter", name="Visit", date=day) for day in days]
    assert [event.date for event in in_time(events, plan_question("How many visits in 2020?"))] == days[1:3]
    assert len(in_time(events, plan_question("How many visits in the last 1 days?"))) == 2
    assert len(in_time(events, plan_question("How many visits?"))) == 5


def test_observations_without_codes_are_found_by_their_names() -> None:
    """As from a laboratory report that was read from paper."""
    events = [
        ClinicalEvent(kind="observation", name="Platelets", value=250.0),
        ClinicalEvent(kind="observation", name="Sodium", value=140.0),
    ]
    assert about(events, plan_question("What was the last platelet count?")) == events[:1]


def test_a_word_too_many_names_no_observation() -> None:
    assert codes_of(plan_question("What was the last glucose?"))
    assert not codes_of(plan_question("What was the last urine glucose?"))
