"""Bootstrap over patients."""

from __future__ import annotations

from osler.evaluate.intervals import bootstrap_interval


def test_interval_holds_the_share_and_narrows_with_patients() -> None:
    few = bootstrap_interval([True, False] * 10, patients=[str(i) for i in range(20)])
    many = bootstrap_interval([True, False] * 200, patients=[str(i) for i in range(400)])
    assert few[0] < 0.5 < few[1]
    assert many[1] - many[0] < few[1] - few[0]


def test_many_questions_on_one_patient_are_not_many_patients() -> None:
    right = [True] * 50 + [False] * 50
    by_question = bootstrap_interval(right, patients=[str(i) for i in range(100)])
    by_patient = bootstrap_interval(right, patients=["a"] * 50 + ["b"] * 50)
    assert by_patient[1] - by_patient[0] > by_question[1] - by_question[0]


def test_all_right_is_all_right() -> None:
    assert bootstrap_interval([True] * 5, patients=list("abcde")) == (1.0, 1.0)
