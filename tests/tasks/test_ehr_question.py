"""From a question to a query."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.tasks.ehr_question import plan_question


@pytest.mark.parametrize(
    ("question", "intent", "pick", "topic"),
    [
        ("What was the last HbA1c?", "value", "last", "hba1c"),
        ("What's the lowest platelet count?", "value", "lowest", "platelet count"),
        ("Could you please tell me the first creatinine?", "value", "first", "creatinine"),
        ("When was hypertension diagnosed?", "date", "first", "hypertension"),
        ("When was the last flu shot?", "date", "last", "influenza"),
        ("How many times was the weight measured?", "count", "last", "weight"),
        ("How has the creatinine changed over time?", "trend", "last", "creatinine"),
        ("Does the patient have asthma?", "exists", "last", "asthma"),
        ("Is the patient on aspirin?", "exists", "last", "aspirin"),
        ("Which medications is the patient taking?", "list", "last", ""),
        ("Sodium in 2014?", "value", "last", "sodium"),
        ("Why is the creatinine high?", "open", "last", None),
        ("Summarize the history.", "open", "last", None),
        ("What should be done about the potassium?", "open", "last", None),
        ("What was the mother's glucose?", "value", "last", "glucose mother's"),
    ],
)
def test_intents(question: str, intent: str, pick: str, topic: str | None) -> None:
    query = plan_question(question)
    assert (query.intent, query.pick) == (intent, pick)
    assert topic is None or query.topic == topic


@pytest.mark.parametrize(
    ("time", "since", "until"),
    [
        ("in 2015", "2015-01-01", "2015-12-31"),
        ("in May 2015", "2015-05-01", "2015-05-31"),
        ("on 2015-03-04", "2015-03-04", "2015-03-04"),
        ("on March 4th, 2015", "2015-03-04", "2015-03-04"),
        ("on 4 March 2015", "2015-03-04", "2015-03-04"),
        ("since 2014", "2014-01-01", None),
        ("after 2014", "2015-01-01", None),
        ("before 2014-06", None, "2014-05-31"),
        ("until 2014", None, "2014-12-31"),
        ("between 2012 and 2014-02", "2012-01-01", "2014-02-28"),
        ("since 2012 and before 2014", "2012-01-01", "2013-12-31"),
    ],
)
def test_times(time: str, since: str | None, until: str | None) -> None:
    query = plan_question(f"What was the last creatinine {time}?")
    assert query.since == (dt.date.fromisoformat(since) if since else None)
    assert query.until == (dt.date.fromisoformat(until) if until else None)
    assert query.topic == "creatinine"


def test_spans_units_and_bounds() -> None:
    assert plan_question("How many visits in the last 2 years?").span == 730
    assert plan_question("What was the last glucose in mmol/L?").unit == "mmol/l"
    assert plan_question("What is the weight in pounds?").unit == "lb"
    query = plan_question("Was the systolic blood pressure ever above 140 mmHg?")
    assert (query.above, query.unit, query.now, query.topic) == (140.0, "mmhg", False, "systolic blood pressure")
    assert plan_question("Any abnormal results?").abnormal


@given(st.text(max_size=200))
def test_any_question_is_survived(text: str) -> None:
    plan_question(text)


@pytest.mark.parametrize(
    "time", ["after 9999-12-31", "before 0001-01-01", "in the last 99999999999 years", "on 2015-02-30", "in 0000"]
)
def test_times_beyond_the_calendar_are_survived(time: str) -> None:
    plan_question(f"What was the last creatinine {time}?")
