"""Why a study is urgent: each reason from what the files say, nothing from what they do not."""

from __future__ import annotations

import datetime as dt

import pytest

from osler.study import ClinicalEvent, Finding, Study, TimePoint
from osler.tasks.finding_names import finding_names
from osler.tasks.urgency import LEVELS, critical_findings, critical_limits, level_of, reasons_of

DAY = dt.date(2024, 3, 10)


def lab(value: float, *, code: str = "2823-3", unit: str = "mmol/L", date: dt.date | None = DAY) -> ClinicalEvent:
    return ClinicalEvent(
        kind="observation", name="Potassium", code=code, system="LOINC", value=value, unit=unit, date=date,
        source="record.json#4",
    )  # fmt: skip


def study(*events: ClinicalEvent, priority: str = "", date: dt.date | None = DAY) -> Study:
    return Study(timepoints=(TimePoint(series=(), date=date, priority=priority),), events=events)


@pytest.mark.parametrize(
    ("value", "text"),
    [(6.2, "critical from 6.2"), (7.0, "critical from 6.2"), (2.8, "critical up to 2.8"), (4.0, ""), (6.1, "")],
)
def test_a_critical_value_is_a_reason_with_its_event(value: float, text: str) -> None:
    reasons = reasons_of(study(lab(value)))
    if not text:
        assert reasons == ()
        return
    (reason,) = reasons
    assert reason.level == "urgent"
    assert text in reason.text
    assert (reason.evidence.code, reason.evidence.value, reason.evidence.unit) == ("2823-3", value, "mmol/L")
    assert (reason.evidence.date, reason.evidence.file) == (DAY, "record.json")


def test_only_the_latest_value_of_these_days_counts() -> None:
    assert reasons_of(study(lab(7.0, date=DAY - dt.timedelta(days=1)), lab(4.2))) == ()
    assert reasons_of(study(lab(4.2, date=DAY - dt.timedelta(days=1)), lab(7.0)))
    assert reasons_of(study(lab(7.0, date=DAY - dt.timedelta(days=3)))) == ()
    assert reasons_of(study(lab(7.0, date=None))) == ()


def test_a_value_in_another_unit_or_of_another_code_is_not_guessed_at() -> None:
    assert reasons_of(study(lab(7.0, unit="mg/dL"))) == ()
    assert reasons_of(study(lab(7.0, code="9999-9"))) == ()


@pytest.mark.parametrize(
    ("priority", "level"), [("STAT", "immediate"), ("HIGH", "urgent"), ("ROUTINE", "routine"), ("", "routine")]
)
def test_the_requested_priority(priority: str, level: str) -> None:
    assert level_of(reasons_of(study(priority=priority))) == level


def test_findings_count_when_they_are_likely_and_urgent() -> None:
    findings = [
        Finding(name="pneumothorax", probability=0.9, code="36118008"),
        Finding(name="pneumonia", probability=0.7),
        Finding(name="lung mass", probability=0.4),
        Finding(name="aortic dissection", probability=None),
        Finding(name="osteopenia", probability=0.99),
    ]
    reasons = reasons_of(study(), findings=findings)
    assert [(reason.level, reason.text) for reason in reasons] == [
        ("immediate", "pneumothorax 90%"), ("urgent", "pneumonia 70%")
    ]  # fmt: skip


def test_the_tables_name_their_source_and_fit_together() -> None:
    assert set(critical_findings()) <= {finding.name for finding in finding_names()}
    assert set(critical_findings().values()) == set(LEVELS) - {"routine"}
    for limit in critical_limits():
        assert limit.low is None or limit.high is None or limit.low < limit.high
        assert limit.loinc
    mass, molar = (
        next(limit for limit in critical_limits() if (limit.name, limit.unit) == ("glucose", unit))
        for unit in ("mg/dL", "mmol/L")
    )
    assert mass.low == pytest.approx(molar.low * 18.016, rel=0.03)  # type: ignore[operator]
    assert mass.high == pytest.approx(molar.high * 18.016, rel=0.03)  # type: ignore[operator]
