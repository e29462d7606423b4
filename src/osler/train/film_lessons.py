"""Questions about films of synthetic patients, answered from the facts that the films were rendered from.

``record``: whether the film shows a finding and the record holds a raised value, with questions on either alone
beside them. Where the value is raised, half of the answers that need both are yes, and so they are where the finding
is seen: neither alone tells anything, and a reader that always believes one of both is wrong as often as right.
``report``: the report of the film. ``boxes``: where something is, as published box text. ``box-tokens``: the same, as
a box token whose state the box head reads. Wordings are others than those of `osler evaluate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from osler.errors import unknown_name
from osler.prepare.finding_names import finding_names
from osler.study import ClinicalEvent
from osler.synth.draw import draw_facts
from osler.synth.fact_table import FactTable
from osler.synth.facts import PatientFacts
from osler.synth.lab_events import lab_events
from osler.synth.timeline import calendar_date
from osler.tasks.box_text import box_prompt
from osler.tasks.box_tokens import box_token_question
from osler.tasks.report import REPORT_QUESTION
from osler.train.synthetic_films import Film
from osler.weights.skills import Skill

FilmTask = Literal["record", "report", "boxes", "box-tokens"]
FILM_TASKS: tuple[FilmTask, ...] = get_args(FilmTask)
FILM_SKILLS: dict[str, frozenset[Skill]] = {
    "record": frozenset({"answers"}),
    "report": frozenset({"reports"}),
    "boxes": frozenset({"box_text"}),
    "box-tokens": frozenset({"box_tokens"}),
}
"""What weights are listed for after they were taught a task."""

FINDINGS = ("pleural-effusion", "cardiomegaly", "pulmonary-edema", "emphysema", "pneumonia", "cardiac-pacemaker")
LABS = ("c-reactive-protein", "white-cells", "creatinine", "nt-probnp")
BOXED = ("right lung", "left lung", "heart")
"""Structures that are asked for on every film; lesions are, where they are."""

_BOTH = (
    "Is there {finding} on the film together with a raised {lab} in the record? Yes or no.",
    "{lab} above normal and {finding} visible: are both true? Answer yes or no.",
    "Does this patient have {finding} on the X-ray as well as a {lab} over the upper limit? Answer yes or no.",
    "Answer yes or no: the image shows {finding}, and the record holds a {lab} above the normal range.",
    "Check the image for {finding} and the record for a high {lab}. Are both there? Yes or no.",
)
_SEEN = (
    "Is {finding} visible on the film? Answer yes or no.",
    "Does this X-ray show {finding}? Yes or no.",
    "Answer yes or no: there is {finding} on the image.",
)
_HIGH = (
    "Is the {lab} in the record above normal? Answer yes or no.",
    "Does the record hold a {lab} over its upper limit? Yes or no.",
    "Answer yes or no: the {lab} is raised.",
)
_DAYS = 7
_OTHERS = 3
"""Values beside the one that is asked for: longer records cost time and teach nothing more."""
_BLOCK = 200
_WORDS = {True: "Yes", False: "No"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmLesson:
    """One question about one film.

    Args:
        task: What is taught.
        film: Number of the film.
        question: In words. answer: As it is to be written; empty for a box token.
        events: Of the record, shown between image and question.
        label: Of what is asked for. box: Around it, in pixels of the film; ``None`` where it is not there, and for
            other tasks.
        needs: Of ``record``: ``"both"``, ``"image"`` or ``"record"``.
    """

    task: FilmTask
    film: int
    question: str
    answer: str
    events: tuple[ClinicalEvent, ...] = ()
    label: str = ""
    box: tuple[float, float, float, float] | None = None
    needs: Literal["both", "image", "record", ""] = ""


def check_film_tasks(tasks: Sequence[str]) -> None:
    """Checks names.

    Raises:
        RequestError: If a task is unknown, with the nearest name.
    """
    for task in tasks:
        if task not in FILM_TASKS:
            raise unknown_name("task on films", name=str(task), known=FILM_TASKS)


def film_lessons(films: Sequence[Film], *, tasks: Sequence[FilmTask], seed: int) -> tuple[FilmLesson, ...]:
    """Draws the lessons of films; the same for the same films and seed.

    Args:
        films: Of one set of synthetic patients.
        tasks: What is taught, of `FILM_TASKS`.
        seed: Of the synthetic patients.

    Raises:
        RequestError: If a task is unknown, with the nearest name.
    """
    check_film_tasks(tasks)
    made: list[FilmLesson] = []
    if "record" in tasks:
        made += _record_lessons(films, seed=seed)
    if "report" in tasks:
        made += _report_lessons(films, seed=seed)
    if "boxes" in tasks:
        made += _box_lessons(films, task="boxes")
    if "box-tokens" in tasks:
        made += _box_lessons(films, task="box-tokens")
    return tuple(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Both:
    film: int
    finding: str
    event: ClinicalEvent
    shown: tuple[ClinicalEvent, ...]
    seen: bool
    high: bool


def _record_lessons(films: Sequence[Film], *, seed: int) -> Iterator[FilmLesson]:
    """As many of each kind as balance allows, drawn by a seeded shuffle."""
    rng = np.random.default_rng([seed, 17])
    kinds: dict[tuple[bool, bool], list[_Both]] = {}
    for one in _candidates(films, seed=seed):
        kinds.setdefault((one.seen, one.high), []).append(one)
    for found in kinds.values():
        rng.shuffle(found)  # type: ignore[arg-type]
    both, seen, high = (kinds.get(kind, []) for kind in ((True, True), (True, False), (False, True)))
    count = min(len(both), len(seen), len(high))
    names = {entry.key: entry.name for entry in finding_names()}
    for one in (*both[:count], *seen[:count], *high[:count], *kinds.get((False, False), [])[: count // 2]):
        words = {"finding": names[one.finding], "lab": one.event.name}
        yield _asked(one, _BOTH, words, truth=one.seen and one.high, needs="both", rng=rng)
        yield _asked(one, _SEEN, words, truth=one.seen, needs="image", rng=rng)
        yield _asked(one, _HIGH, words, truth=one.high, needs="record", rng=rng)


def _asked(
    one: _Both,
    wordings: Sequence[str],
    words: dict[str, str],
    *,
    truth: bool,
    needs: Literal["both", "image", "record"],
    rng: np.random.Generator,
) -> FilmLesson:
    wording = wordings[int(rng.integers(len(wordings)))]
    question = wording.format(**words)
    return FilmLesson(
        task="record",
        film=one.film,
        question=question[0].upper() + question[1:],
        answer=_WORDS[truth],
        events=one.shown,
        needs=needs,
    )


def _candidates(films: Sequence[Film], *, seed: int) -> Iterator[_Both]:
    """Every film with every finding whose presence is certain and every value of the same week."""
    known: dict[int, PatientFacts] = {}
    for table in _tables(films, seed=seed):
        drawn = (table.patient(row) for row in range(len(table.patients.number)))
        known |= {facts.number: facts for facts in drawn}
    for number, film in enumerate(films):
        facts = known[film.patient]
        events = _near(facts, day=film.day)
        asked = {lab.key for lab in facts.labs} & set(LABS)
        for finding in FINDINGS:
            entry = film.findings.get(finding, {"certainty": "absent", "change": "first"})
            if entry["certainty"] == "possible":
                continue
            seen = entry["certainty"] != "absent" and entry["change"] != "resolved"
            for key, event in events.items():
                if key in asked:
                    others = [other for other in events.values() if other is not event][:_OTHERS]
                    shown = tuple(sorted((event, *others), key=lambda shown: shown.name))
                    yield _Both(
                        film=number, finding=finding, event=event, shown=shown, seen=seen, high=event.flag == "H"
                    )


def _near(facts: PatientFacts, *, day: int) -> dict[str, ClinicalEvent]:
    """The value of each test that is nearest to a day, within a week of it."""
    date = calendar_date(day)
    found: dict[str, ClinicalEvent] = {}
    labs = sorted(facts.labs, key=lambda lab: (lab.day, lab.key))
    for lab, event in zip(labs, lab_events(facts), strict=True):
        assert event.date is not None
        gap = abs((event.date - date).days)
        known = found.get(lab.key)
        if gap <= _DAYS and (known is None or known.date is None or gap < abs((known.date - date).days)):
            found[lab.key] = event
    return found


def _report_lessons(films: Sequence[Film], *, seed: int) -> Iterator[FilmLesson]:
    """English ones only, as the question is English."""
    from osler.synth.reports.render import render_texts  # with pyarrow: needs the synth extra
    from osler.synth.reports.voices import LANGUAGES

    told: dict[tuple[int, int], str] = {}
    for table in _tables(films, seed=seed):
        texts, voices = render_texts(table)
        english = voices.of(language=LANGUAGES.index("en"))
        numbers, exams = table.patients.number[table.exams.patient[english]], table.exams.number[english]
        written = texts.take(english).to_pylist()
        told |= dict(zip(zip(numbers.tolist(), exams.tolist(), strict=True), written, strict=True))
    for number, film in enumerate(films):
        text = told.get((film.patient, film.exam))
        if text is not None:
            yield FilmLesson(task="report", film=number, question=REPORT_QUESTION, answer=text.strip())


def _tables(films: Sequence[Film], *, seed: int) -> Iterator[FactTable]:
    """The facts of the films' patients, some hundred at a time."""
    patients = np.unique(np.array([film.patient for film in films], dtype=np.int64))
    for start in range(0, len(patients), _BLOCK):
        yield draw_facts(seed=seed, patients=patients[start : start + _BLOCK])


def _box_lessons(films: Sequence[Film], *, task: Literal["boxes", "box-tokens"]) -> Iterator[FilmLesson]:
    """Two structures a film in turn, lesions that stand alone under their name, and something that is not there."""
    names = {entry.key: entry.name for entry in finding_names()}
    ask = box_prompt if task == "boxes" else box_token_question
    for number, film in enumerate(films):
        alone = {key: boxes[0] for key, boxes in film.boxes.items() if len(boxes) == 1}
        structures = [label for label in BOXED if label in alone]
        chosen = [structures[(number + step) % len(structures)] for step in range(min(2, len(structures)))]
        for key in (*chosen, *(key for key in alone if key in names)):
            label = names.get(key, key)
            x0, y0, x1, y1 = alone[key]
            yield FilmLesson(task=task, film=number, question=ask(label), answer="", label=label, box=(x0, y0, x1, y1))
        absent = [key for key in FINDINGS if key not in film.findings]
        if absent:
            label = names[absent[number % len(absent)]]
            yield FilmLesson(task=task, film=number, question=ask(label), answer="", label=label)
