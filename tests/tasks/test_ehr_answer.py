"""Exact answers from entries, and none where there is no entry."""

from __future__ import annotations

import datetime as dt

import pytest

from osler.study import ClinicalEvent, ReferenceRange
from osler.tasks.ehr_answer import answer_query
from osler.tasks.ehr_question import plan_question


def lab(code: str, name: str, value: float | str, day: str, unit: str = "mg/dL", **fields: object) -> ClinicalEvent:
    return ClinicalEvent(
        kind="observation", name=name, code=code, system="LOINC", value=value, unit=unit,
        date=dt.date.fromisoformat(day), **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def entry(kind: str, name: str, day: str, **fields: object) -> ClinicalEvent:
    return ClinicalEvent(kind=kind, name=name, date=dt.date.fromisoformat(day), **fields)  # type: ignore[arg-type]


RECORD = (
    entry("condition", "Hypertension", "1990-01-01", status="active"),
    entry("condition", "Sprain of wrist", "1995-01-01", status="resolved", end=dt.date(1995, 2, 1)),
    entry("medication", "Penicillin V Potassium 500 MG Oral Tablet", "1999-05-01", status="stopped"),
    lab("2160-0", "Creatinine", 0.9, "2010-03-01"),
    lab("2160-0", "Creatinine", 106.08, "2012-03-01", "umol/L"),
    lab("2160-0", "Creatinine", 1.5, "2014-03-01", reference=ReferenceRange(low=0.6, high=1.2)),
    lab("2345-7", "Glucose", 100.0, "2014-03-01"),
    lab("5792-7", "Glucose [Mass/volume] in Urine", 300.0, "2014-04-01"),
    entry("medication", "Aspirin 81 MG Oral Tablet", "2015-01-01", status="active"),
    entry("encounter", "Emergency room admission (procedure)", "2015-02-01"),
)


def ask(question: str) -> str:
    return answer_query(RECORD, plan_question(question)).text


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("What was the last creatinine?", "Creatinine: 1.5 mg/dL (normal 0.6-1.2, out of range), 2014-03-01."),
        ("What was the first creatinine?", "Creatinine: 0.9 mg/dL, 2010-03-01."),
        ("What was the lowest creatinine?", "Creatinine: 0.9 mg/dL, 2010-03-01."),
        ("What was the creatinine in 2012?", "Creatinine: 106.08 umol/L, 2012-03-01."),
        ("What was the last glucose in mmol/L?", "Glucose: 5.55074 mmol/L, 2014-03-01."),
        ("When was hypertension diagnosed?", "Hypertension: 1990-01-01."),
        ("How many creatinine values are there?", "3 entries of Creatinine (2010-03-01 to 2014-03-01)."),
        ("Does the patient have hypertension?", "Yes: Hypertension, 1990-01-01, active."),
        (
            "Does the patient have a wrist sprain?",
            "Not any more, as the record says: Sprain of wrist, 1995-01-01 to 1995-02-01, resolved.",
        ),
        ("Has the patient ever had a sprain?", "Yes: Sprain of wrist, 1995-01-01 to 1995-02-01, resolved."),
        ("Is the patient on aspirin?", "Yes: Aspirin 81 MG Oral Tablet, 2015-01-01, active."),
        ("Which medications is the patient taking?", "Aspirin 81 MG Oral Tablet, 2015-01-01, active"),
        ("Was the creatinine ever above 2?",
         "No: none of 3 values is above 2 mg/dL; the highest is Creatinine: 1.5 mg/dL (normal 0.6-1.2, out of range), "
         "2014-03-01."),
        ("Was the creatinine ever above 1.3 mg/dL?",
         "Yes: 1 of 3 values above 1.3 mg/dL, the latest Creatinine: 1.5 mg/dL (normal 0.6-1.2, out of range), "
         "2014-03-01."),
        ("When was the last visit?", "Emergency room admission (procedure): 2015-02-01."),
        (
            "How has the creatinine changed?",
            "Creatinine: up, from 0.9 mg/dL (2010-03-01) to 1.5 mg/dL (2014-03-01): +0.6 mg/dL, +67% in 1461 days; "
            "3 values between 0.9 and 1.5.",
        ),
    ],
)  # fmt: skip
def test_direct_answers(question: str, text: str) -> None:
    assert ask(question) == text


@pytest.mark.parametrize(
    "question",
    [
        "What was the last troponin?",
        "What was the creatinine in 2011?",
        "What was the creatinine on 2014-03-02?",
        "What was the glucose in the cerebrospinal fluid?",
        "What was the mother's creatinine?",
        "Is the patient on potassium?",  # a salt is no drug
        "Does the patient have diabetes?",
        "Does the patient have pulmonary hypertension?",
        "Is the patient allergic to aspirin?",
        "What is the highest INR?",
    ],
)
def test_the_record_does_not_say(question: str) -> None:
    fact = answer_query(RECORD, plan_question(question))
    assert fact.text.startswith("The record does not say: no ")
    assert fact.events == ()
    assert not any(value in fact.text for value in ("1.5", "0.9", "106", "100"))


def test_urine_is_asked_for_by_name() -> None:
    assert ask("What was the urine glucose?") == "Glucose [Mass/volume] in Urine: 300 mg/dL, 2014-04-01."


def test_bounds_in_one_unit_only() -> None:
    """A value of 106 umol/L must not pass as above 2 mg/dL."""
    assert answer_query(RECORD, plan_question("Was the creatinine ever above 2?")).text.startswith("No:")


def test_steps_say_what_was_looked_for() -> None:
    steps = answer_query(RECORD, plan_question("What was the last creatinine since 2011?")).steps
    assert [step.tool for step in steps] == ["search_events", "last"]
    assert steps[0].arguments == {"topic": "creatinine", "loinc": "14682-9, 2160-0, 38483-4", "since": "2011-01-01"}
    assert steps[0].result == "2 entries"


def test_several_values_of_one_day_are_said() -> None:
    twice = (*RECORD, lab("2160-0", "Creatinine", 1.6, "2014-03-01"))
    text = answer_query(twice, plan_question("What was the last creatinine?")).text
    assert text == "Creatinine: 1.6 mg/dL, 2014-03-01 (2 values that day; this is the last of them)."
