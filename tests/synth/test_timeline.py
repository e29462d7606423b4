"""One patient along time."""

from __future__ import annotations

import dataclasses
import datetime as dt

from osler.synth.timeline import age_on, build_timeline, calendar_date, patient_id
from tests.synth.documents.people import DAYS, make_patient


def test_days_become_shifted_dates() -> None:
    assert calendar_date(0) == dt.date(2000, 1, 1)
    assert calendar_date(-1) == dt.date(1999, 12, 31)
    assert calendar_date(366) == dt.date(2001, 1, 1)


def test_age_grows_with_the_years() -> None:
    patient = make_patient()
    assert [age_on(patient, day=day) for day in (-1, 0, 365, 366, 731)] == [62, 63, 63, 64, 65]


def test_the_age_on_an_exam_is_the_exam_s_own() -> None:
    patient = make_patient()
    exams = tuple(dataclasses.replace(exam, age=age) for exam, age in zip(patient.exams, (63, 64, 64, 65), strict=True))
    birthday_soon = dataclasses.replace(patient, exams=exams)
    assert [age_on(birthday_soon, day=exam.day) for exam in exams] == [63, 64, 64, 65]
    assert age_on(birthday_soon, day=60) == 64
    assert age_on(birthday_soon, day=-1) == 62


def test_an_identifier_holds_seed_and_number() -> None:
    assert patient_id(make_patient(seed=3, number=5)) == "OSLER-3-5"


def test_the_record_lies_in_order_of_time() -> None:
    timeline = build_timeline(make_patient())
    assert (timeline.first, timeline.last) == (DAYS[0], DAYS[-1])
    starts = [span.start for span in timeline.conditions]
    assert starts == sorted(starts)
    for series in timeline.labs:
        assert [lab.day for lab in series.values] == list(DAYS)
    alarms = [series.alarm for series in timeline.labs]
    assert alarms == sorted(alarms, reverse=True)
    assert alarms[0] > 0


def test_a_patient_without_a_record_has_an_empty_timeline() -> None:
    bare = dataclasses.replace(make_patient(), labs=(), medications=(), conditions=())
    timeline = build_timeline(bare)
    assert (timeline.labs, timeline.medications, timeline.conditions) == ((), (), ())
    assert timeline.last == DAYS[-1]
