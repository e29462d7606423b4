"""Lessons on films say what the facts say, and neither image nor record alone answers those that need both."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from osler.errors import RequestError
from osler.evaluate.sets import ehr_imaging
from osler.prepare.finding_names import finding_names
from osler.synth.draw import draw_facts
from osler.synth.facts import PatientFacts
from osler.synth.read_back import CORE, factuality, read_report
from osler.tasks.report import REPORT_QUESTION
from osler.train.film_lessons import FINDINGS, FilmLesson, film_lessons
from osler.train.synthetic_films import Film, _findings, frontal_exams

SEED, PATIENTS = 11, 300


@pytest.fixture(scope="module")
def facts() -> dict[int, PatientFacts]:
    table = draw_facts(seed=SEED, patients=np.arange(PATIENTS))
    return {number: table.patient(number) for number in range(PATIENTS)}


@pytest.fixture(scope="module")
def films(facts: dict[int, PatientFacts]) -> list[Film]:
    """Films of real facts; lessons do not look at pixels."""
    found = []
    for number, patient in facts.items():
        found += [
            Film(
                pixels=np.zeros((4, 4), np.uint8),
                patient=number,
                exam=exam.number,
                day=exam.day,
                view=exam.acquisition.view,
                boxes={
                    "right lung": [[0, 0, 2, 4]],
                    "left lung": [[2, 0, 4, 4]],
                    "lung-mass": [[0, 0, 1, 1], [2, 2, 3, 3]],
                },
                findings=_findings(exam.findings),
            )
            for exam in frontal_exams(patient)
        ]
    return found


@pytest.fixture(scope="module")
def record(films: list[Film]) -> tuple[FilmLesson, ...]:
    return film_lessons(films, tasks=("record",), seed=SEED)


def test_answers_follow_the_facts(
    films: list[Film], facts: dict[int, PatientFacts], record: tuple[FilmLesson, ...]
) -> None:
    keys = {entry.name.lower(): entry.key for entry in finding_names() if entry.key in FINDINGS}
    assert len(record) > 30
    for lesson in record:
        film = films[lesson.film]
        seen = [key for name, key in keys.items() if name in lesson.question.lower()]
        asked = [event for event in lesson.events if event.name.lower() in lesson.question.lower()]
        truths = []
        if lesson.needs in ("both", "image"):
            mine = [fact for fact in facts[film.patient].exams[film.exam].findings if fact.key == seen[0]]
            truths.append(any(fact.visible for fact in mine))
        if lesson.needs in ("both", "record"):
            truths.append(asked[0].flag == "H")
        assert lesson.answer == ("Yes" if all(truths) else "No"), lesson


def test_neither_alone_answers_what_needs_both(record: tuple[FilmLesson, ...]) -> None:
    """Of the answers with a finding that is seen, and of those with a high value, half are yes."""
    both = [lesson for lesson in record if lesson.needs == "both"]
    image = [lesson for lesson in record if lesson.needs == "image"]
    values = [lesson for lesson in record if lesson.needs == "record"]
    assert len(both) == len(image) == len(values)
    shares = Counter(lesson.answer for lesson in both)
    assert 2 * shares["Yes"] <= shares["No"] < 3 * shares["Yes"]
    for alone in (image, values):
        yes = [b.answer for a, b in zip(alone, both, strict=True) if a.answer == "Yes"]
        assert Counter(yes)["Yes"] * 2 == len(yes)


def test_no_wording_is_that_of_the_evaluation(record: tuple[FilmLesson, ...]) -> None:
    start = ehr_imaging.QUESTION.split("{", maxsplit=1)[0]
    assert not any(lesson.question.startswith(start) and lesson.needs == "both" for lesson in record)


def test_the_same_films_give_the_same_lessons(films: list[Film], record: tuple[FilmLesson, ...]) -> None:
    assert film_lessons(films, tasks=("record",), seed=SEED) == record


def test_reports_are_those_of_the_exams(films: list[Film], facts: dict[int, PatientFacts]) -> None:
    lessons = film_lessons(films[:40], tasks=("report",), seed=SEED)
    assert 10 < len({lesson.film for lesson in lessons}) == len(lessons) < 40  # half of the reports are German
    assert {lesson.question for lesson in lessons} == {REPORT_QUESTION}
    for lesson in lessons:
        film = films[lesson.film]
        scores = factuality(read_report(lesson.answer), facts[film.patient].exams[film.exam].findings)
        assert all(scores.score(kind).right == scores.score(kind).truth for kind in CORE)


@pytest.mark.parametrize("task", ["boxes", "box-tokens"])
def test_boxes_stand_alone_under_their_name(films: list[Film], task: str) -> None:
    lessons = film_lessons(films[:6], tasks=(task,), seed=SEED)  # type: ignore[arg-type]
    assert {lesson.label for lesson in lessons if lesson.box} == {"right lung", "left lung"}
    absent = [lesson for lesson in lessons if lesson.box is None]
    names = {entry.name: entry.key for entry in finding_names()}
    assert absent
    assert all(names[lesson.label] not in films[lesson.film].findings for lesson in absent)


def test_an_unknown_task_is_named_with_the_nearest(films: list[Film]) -> None:
    with pytest.raises(RequestError, match=r"Unknown task on films 'reports'.*Did you mean 'report'"):
        film_lessons(films[:1], tasks=("reports",), seed=SEED)  # type: ignore[arg-type]
