"""Questions about a patient's record.

A question that asks for a value, a date, a count, a course, a state or a list is
answered from the entries themselves, exactly, and no model is involved. Any
other question goes to the model, with the entries that bear on it as data.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from osler.engine.backend import check_backend
from osler.errors import RequestError
from osler.prepare.inputs import check_question
from osler.prepare.record_text import RecordText, event_evidence, record_text
from osler.progress import Progress
from osler.readers import open_patient
from osler.readers.identity import Mixing
from osler.study import NO_MODEL, Answer, ClinicalEvent, LeftOut, Step, Study
from osler.tasks.ehr_answer import NOT_SAID, answer_query
from osler.tasks.ehr_question import plan_question
from osler.tasks.model_choice import ModelChoice

FROM_ENTRIES = (
    "Answered from the entries of the record alone; no model was used. An absent entry is no proof of absence."
)
_MOST_EVIDENCE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class EhrRequest(ModelChoice):
    """What to ask of which record.

    Args:
        question: In words.
        records: FHIR files, folders, NDJSON; whatever else `open_study` reads of a record.
        mixing: ``"allow"`` takes records of different patients together.
        max_tokens: Longest answer of the model.
        seed: Makes sampling repeatable.
    """

    question: str
    records: tuple[str | Path, ...]
    mixing: Mixing = "refuse"
    max_tokens: int = 256
    seed: int | None = None


def ask_record(
    request: EhrRequest,
    *,
    on_text: Callable[[str], None] | None = None,
    on_progress: Progress | None = None,
) -> Answer:
    """Answers a question from the record.

    Args:
        request: What to ask.
        on_text: Called with the answer, piece by piece.
        on_progress: Called with the stage, steps done and steps in all.

    Raises:
        OslerError: If the question, the files or the model are at fault.
    """
    check_question(request.question)
    check_backend(request.backend)
    started = time.perf_counter()
    if on_progress is not None:
        on_progress("read", 0, 0)
    study = open_patient(None, records=request.records, mixing=request.mixing)
    opened = time.perf_counter()
    if not study.events and not study.documents:
        raise RequestError(
            "There is no record at these paths: no entry and no document.",
            allowed="FHIR R4 (JSON, NDJSON), laboratory reports and letters.",
            next_step="Ask about images with `osler ask`.",
        )
    answer = answer_from_events(study, request.question)
    if answer is None:
        answer = _from_model(study, request, on_text=on_text, on_progress=on_progress)
    elif on_text is not None:
        on_text(answer.text)
    timings = {"read": opened - started, **(answer.timings or {})}
    left_out = (*study.left_out, *answer.left_out)
    return dataclasses.replace(
        answer, timings=timings, left_out=left_out, warnings=(*study.problems, *answer.warnings), task="ehr"
    )


def answer_from_events(study: Study, question: str) -> Answer | None:
    """Answers a direct question from the entries alone.

    Args:
        study: Its events are the record.
        question: In words.

    Returns:
        The answer, or ``None`` for a question that only a reader of the record could answer.
    """
    started = time.perf_counter()
    query = plan_question(question)
    if query.intent == "open" or not (query.topic or query.kinds):
        return None
    fact = answer_query(study.events, query)
    if fact.text.startswith(NOT_SAID) and study.documents:
        words = query.words
        named = [document.name for document in study.documents if _mentions(document.pages, words)]
        if named:
            return None  # a letter may say it: that is for the model to read
    shown = fact.events[-_MOST_EVIDENCE:]
    warnings = [*fact.warnings, FROM_ENTRIES]
    if len(fact.events) > len(shown):
        warnings.insert(0, f"The evidence lists the newest {len(shown)} of {len(fact.events)} entries.")
    return Answer(
        text=fact.text,
        model=NO_MODEL,
        preprocess="",
        evidence=tuple(event_evidence(event) for event in shown),
        observations=tuple(event for event in shown if event.kind == "observation"),
        steps=fact.steps,
        warnings=tuple(warnings),
        timings={"search": time.perf_counter() - started},
        task="ehr",
    )


def _mentions(pages: Sequence[str], words: frozenset[str]) -> bool:
    from osler.prepare.clinical_terms import content_words

    return bool(words) and words <= content_words(" ".join(pages))


def _from_model(
    study: Study,
    request: EhrRequest,
    *,
    on_text: Callable[[str], None] | None,
    on_progress: Progress | None,
) -> Answer:
    record = record_text(study, question=request.question)
    if on_progress is not None:
        on_progress("load", 0, 0)
    session = request.load()
    answer = session.ask(
        None,
        request.question,
        record=record.text,
        max_tokens=request.max_tokens,
        seed=request.seed,
        on_text=on_text,
        on_progress=on_progress,
    )
    return with_record(answer, record)


def with_record(answer: Answer, record: RecordText) -> Answer:
    """Adds what was shown of the record to the evidence of a model's answer, and what was not to what was left out."""
    if not record.text:
        return answer
    step = Step(
        tool="select_record",
        arguments={"characters": str(len(record.text))},
        result=f"{len(record.events)} events and {len(record.documents)} documents shown, {record.left_out} not",
    )
    left = (
        [LeftOut(what="record", why="entries that bear less on the question were not shown", count=record.left_out)]
        if record.left_out
        else []
    )
    return dataclasses.replace(
        answer,
        evidence=(*answer.evidence, *record.evidence),
        observations=tuple(event for event in record.events if _measured(event)),
        steps=(*answer.steps, step),
        left_out=(*answer.left_out, *left),
    )


def _measured(event: ClinicalEvent) -> bool:
    return event.kind == "observation"
