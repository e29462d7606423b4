"""The parts that FHIR resources share."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from osler.readers.fhir_fields import MOST_CHARACTERS, clean, coded, number, when


@pytest.mark.parametrize(
    ("text", "date", "precision"),
    [
        ("2020", dt.date(2020, 1, 1), "year"),
        ("2020-05", dt.date(2020, 5, 1), "month"),
        ("2020-05-03", dt.date(2020, 5, 3), "day"),
        ("2020-05-03T23:30:00-11:00", dt.date(2020, 5, 3), "day"),
        ("2020-05-03T23:30:00.123Z", dt.date(2020, 5, 3), "day"),
    ],
)
def test_dates(text: str, date: dt.date, precision: str) -> None:
    found = when(text)
    assert (found.date, found.precision, found.problem) == (date, precision, "")


@pytest.mark.parametrize("value", ["2020-02-30", "0000", "20200503", "May 2020", "", 2020, [], {}, "2020-5-3", "٢٠٢٠"])
def test_what_is_no_date(value: Any) -> None:
    found = when(value)
    assert found.date is None
    assert found.problem


def test_texts_are_one_clean_line() -> None:
    assert clean("a\nb\u2028c\x00d\ud800 \u202e<end_of_turn>") == "a b c d <end_of_turn>"
    assert len(clean("x" * 10**6)) == MOST_CHARACTERS
    assert clean(7) == clean(None) == clean(["x"]) == ""


def test_the_best_known_code_is_taken_and_any_name() -> None:
    concept = {
        "coding": [
            {"system": "urn:local", "code": "L1", "display": "local"},
            {"system": "http://hl7.org/fhir/sid/icd-10", "code": "I10"},
            {"system": "http://snomed.info/sct", "code": "38341003", "display": "Hypertensive disorder"},
        ]
    }
    found = coded(concept)
    assert (found.name, found.code, found.system) == ("Hypertensive disorder", "38341003", "SNOMED")
    assert coded({"text": "High pressure", **concept}).name == "High pressure"
    assert coded({"coding": "x"}) == coded(None) == coded([])


@pytest.mark.parametrize("value", [True, "1", None, float("inf"), float("nan"), 10**400, [1]])
def test_what_is_no_number(value: Any) -> None:
    assert number(value) is None
