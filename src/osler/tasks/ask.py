"""Ask: a question about a study, or about none, answered in text."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from osler.engine.options import check_stop, decoding_of
from osler.prepare import PreparedImages
from osler.prepare.inputs import check_question
from osler.prepare.record_text import record_text
from osler.progress import Progress
from osler.readers import open_patient
from osler.readers.identity import Mixing
from osler.study import Answer, Study
from osler.tasks.disagreement import disagreements
from osler.tasks.ehr import with_record
from osler.tasks.model_choice import SightChoice
from osler.tasks.opening import flat, merged, noticed
from osler.tasks.record_question import answer_from_record

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRequest(SightChoice):
    """What to ask, of what, and how.

    Args:
        question: In words.
        path: The scan, or ``None`` for a question without images.
        priors: Earlier studies of the same patient.
        records: FHIR files and folders of the patient's record.
        mixing: ``"allow"`` takes files of different patients together.
        max_tokens: Longest answer.
        temperature: 0 takes the likeliest token each time.
        top_k: Sample among so many, ``None`` for all.
        top_p: Sample within this probability mass.
        min_p: Leave out tokens below this share of the likeliest.
        seed: Makes sampling repeatable.
        stop: The answer ends before any of these.
        speculation: ``"lookup"`` or ``"draft"`` guesses ahead, for one greedy answer on PyTorch; see `Decoding`.
    """

    question: str
    path: str | Path | None
    priors: tuple[str | Path, ...] = ()
    records: tuple[str | Path, ...] = ()
    mixing: Mixing = "refuse"
    max_tokens: int = 256
    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    speculation: str = "none"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """An answer, the study that it is about (empty without a scan) and what the model saw of it, if one was asked."""

    answer: Answer
    study: Study
    prepared: PreparedImages | None


def ask(
    request: AskRequest,
    *,
    on_text: Callable[[str], None] | None = None,
    on_progress: Progress | None = None,
    on_study: Callable[[Study], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> Asked:
    """Opens the study, loads the model and asks; cheap checks come first.

    A question that the record alone answers exactly is answered from its entries, and no model is loaded
    (`osler.tasks.record_question`).

    Args:
        request: What to ask.
        on_text: Called with each piece of the answer as it comes.
        on_progress: Called as reading, encoding and answering go on.
        on_study: Called with the opened study before the model is loaded; may refuse it by an error.
        on_notice: Called, before the answer, with each sentence on where question and data do not fit.

    Raises:
        OslerError: If the question, the files or the model are at fault.
    """
    check_question(request.question)
    _check_options(request)
    request.check()
    report = on_progress or (lambda stage, done, total: None)
    started = time.perf_counter()
    report("read", 0, 0)
    study = _opened(request)
    if on_study is not None and request.path is not None:
        on_study(study)
    opened = time.perf_counter()
    exact = answer_from_record(study, request.question)
    if exact is not None:
        if on_text is not None:
            on_text(exact.text)
        timings = {"read": opened - started, **(exact.timings or {})}
        return Asked(answer=dataclasses.replace(exact, timings=timings), study=study, prepared=None)
    record = record_text(study, question=request.question)
    report("load", 0, 0)
    session = request.load()
    loaded = time.perf_counter()
    said = flat(noticed(session, study, [request.question])) if any(study.series()) else ()
    for text in said if on_notice is not None else ():
        on_notice(text)
    answer = session.ask(
        None if request.path is None and not request.records else study,
        request.question,
        record=record.text,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        min_p=request.min_p,
        seed=request.seed,
        stop=request.stop,
        speculation=request.speculation,
        on_text=on_text,
        on_progress=on_progress,
    )
    against = disagreements(answer.text, study=study)
    answer = with_record(answer, record)
    timings = {**(answer.timings or {}), "read": opened - started, "load": loaded - opened}
    ordered = {stage: timings[stage] for stage in ("read", "load", *timings)}
    answer = dataclasses.replace(answer, timings=ordered, warnings=merged((*said, *answer.warnings, *against)))
    return Asked(answer=answer, study=study, prepared=session.prepare(study))


def _opened(request: AskRequest) -> Study:
    """The study with its priors and record; an empty one for a question without any."""
    if request.path is None and not request.records:
        return Study(timepoints=())
    return open_patient(request.path, priors=request.priors, records=request.records, mixing=request.mixing)


def _check_options(request: AskRequest) -> None:
    """Refuses what decoding would refuse later, after the files were read and the weights loaded."""
    decoding_of(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        min_p=request.min_p,
        seed=request.seed,
        speculation=request.speculation,
        backend=request.backend,
    )
    check_stop(request.stop)
