"""Findings: a probability for each finding of a list, with an explicit "cannot tell".

A trained findings head gives them in one pass. Without one every finding is
"cannot tell", unless the caller asks for what the language model makes of a
yes-or-no question: a number that is not calibrated, and is marked so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from osler.errors import unknown_name
from osler.prepare.scope import shown_regions
from osler.progress import Progress
from osler.study import Answer, Finding, Study
from osler.tasks.finding_names import FindingName, findings_for, named_findings
from osler.tasks.heads import FindingsHead, head_for
from osler.tasks.model_choice import SightChoice
from osler.tasks.opening import Done, OnStudy, as_study, flat, merged, noticed, open_and_load, untrained

if TYPE_CHECKING:
    from osler.engine.session import Session

Source = Literal["head", "answers"]
"""``head``: the trained findings head. ``answers``: yes against no of the language model, uncalibrated."""

_SOURCES = ("head", "answers")
_QUESTION = "Is there {finding} in this study? Answer with yes or no."
_ANSWERS = ("Yes", "No")
_UNCALIBRATED = (
    "The probabilities are not calibrated: they are how much likelier the language model finds 'Yes' than 'No'. "
    "Do not act on them."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingsRequest(SightChoice):
    """Which findings of which scan, and from where the probabilities come.

    Args:
        path: The scan.
        findings: Names of `osler.tasks.finding_names`; empty for all that fit the modality and region.
        source: See `Source`.
    """

    path: str | Path
    findings: tuple[str, ...] = ()
    source: Source = "head"


def run_findings(
    request: FindingsRequest, *, on_progress: Progress | None = None, on_study: OnStudy | None = None
) -> Done:
    """Opens the study, loads the model and gives probabilities; cheap checks come first.

    Args:
        request: What to do.
        on_progress: Called as reading, loading and answering go on.
        on_study: Called with the study before the model is loaded; may refuse it.

    Raises:
        OslerError: If a name, the files or the model are at fault.
    """
    named_findings(request.findings)
    _check_source(request.source)
    opened = open_and_load(
        request.path,
        choice=request,
        on_progress=on_progress,
        on_study=on_study,
    )
    answer = findings(
        opened.session, opened.study, names=request.findings, source=request.source, on_progress=on_progress
    )
    return opened.done(answer)


def findings(
    session: Session,
    study: Study | str | Path,
    *,
    names: Sequence[str] = (),
    source: Source = "head",
    on_progress: Progress | None = None,
) -> Answer:
    """Gives a probability for each finding.

    Example:
        >>> answer = osler.findings(session, "chest.png", names=["pleural effusion"])  # doctest: +SKIP
        >>> answer.findings[0].probability  # None: cannot tell  # doctest: +SKIP

    Args:
        session: From `osler.load`.
        study: A study, or a path to one.
        names: Of `osler.tasks.finding_names`; empty for all that fit the modality and, if known, the region.
        source: ``"answers"`` asks the language model where there is no trained head.
        on_progress: Called with ``"findings"``, findings done and findings in all.

    Returns:
        An answer whose ``findings`` hold one entry a name, in order; ``probability`` is ``None`` for "cannot tell".

    Raises:
        RequestError: If a name or the source is unknown.
        DataError: If the study cannot be read.
    """
    _check_source(source)
    opened = as_study(study)
    wanted = named_findings(names) or _fitting(opened)
    unseen = _unseen(session, opened, wanted) if names else {}
    said = flat(unseen)
    wanted_here = [finding for finding in wanted if finding.name not in unseen]
    head: FindingsHead | None = head_for(session, "findings")
    if head is not None:
        answer = _by_head(session, opened, head, wanted=wanted_here, said=said)
        return _completed(answer, wanted=wanted)
    if source == "answers" and session.trained & {"answers", "reports"} and wanted_here and any(opened.series()):
        answer = _by_answers(session, opened, wanted=wanted_here, said=said, on_progress=on_progress)
        return _completed(answer, wanted=wanted)
    text = f"{session.checkpoint.name} was not trained to give probabilities of findings: cannot tell."
    answer = untrained(session, opened, task="findings", skill="findings", text=text, warnings=said)
    return dataclasses.replace(answer, findings=tuple(_entry(finding, None) for finding in wanted))


def _unseen(session: Session, study: Study, wanted: Sequence[FindingName]) -> dict[str, tuple[str, ...]]:
    """What cannot be told from this study, by name of the finding, and why."""
    said = noticed(session, study, [finding.name for finding in wanted])
    modalities = [series.modality for series in study.series()]
    if all(modalities):
        seen = findings_for(modalities=modalities, regions=())
        for finding in wanted:
            if finding not in seen:
                kinds = " and ".join(sorted(set(modalities)))
                said[finding.name] = (
                    *said.get(finding.name, ()),
                    f"{finding.name} is not read from {kinds}: cannot tell.",
                )
    return said


def _completed(answer: Answer, *, wanted: Sequence[FindingName]) -> Answer:
    """Puts "cannot tell" for what was not asked about."""
    told = {entry.name: entry for entry in answer.findings}
    entries = tuple(told.get(finding.name, _entry(finding, None)) for finding in wanted)
    return dataclasses.replace(answer, findings=entries)


def _fitting(study: Study) -> tuple[FindingName, ...]:
    """The findings that may be seen; a region counts only where every series names one."""
    series = tuple(study.series())
    regions = shown_regions(study)
    known = frozenset().union(*regions) if all(regions) else frozenset()
    fitting = findings_for(modalities=[entry.modality for entry in series], regions=known)
    return fitting or findings_for(modalities=(), regions=())


def _by_head(
    session: Session, study: Study, head: FindingsHead, *, wanted: Sequence[FindingName], said: Sequence[str]
) -> Answer:
    known = [finding.name for finding in wanted if finding.name in head.findings]
    found = head.probabilities(session, study, findings=known)
    entries = tuple(_entry(finding, found.get(finding.name)) for finding in wanted)
    blank = session.blank(study)
    notes = [] if head.calibrated else ["The probabilities of the findings head are not calibrated."]
    if strange := [finding.name for finding in wanted if finding.name not in head.findings]:
        notes.append(f"The findings head was not trained on {len(strange)} of {len(wanted)}: cannot tell.")
    return dataclasses.replace(
        blank,
        task="findings",
        text=_summary(entries),
        findings=entries,
        warnings=merged((*said, *blank.warnings, *notes)),
    )


def _by_answers(
    session: Session,
    study: Study,
    *,
    wanted: Sequence[FindingName],
    said: Sequence[str],
    on_progress: Progress | None,
) -> Answer:
    """Asks about each; all share the images, which are read once."""
    entries: list[Finding] = []
    scoring = None
    for number, finding in enumerate(wanted, start=1):
        scoring = session.score(study, _QUESTION.format(finding=finding.name), _ANSWERS)
        entries.append(_entry(finding, scoring.shares()[0]))
        if on_progress is not None:
            on_progress("findings", number, len(wanted))
    assert scoring is not None
    return dataclasses.replace(
        scoring.answer,
        task="findings",
        text=_summary(entries),
        findings=tuple(entries),
        untrained=("findings",),
        warnings=merged((*said, *scoring.answer.warnings, _UNCALIBRATED)),
    )


def _entry(finding: FindingName, probability: float | None) -> Finding:
    return Finding(name=finding.name, probability=probability, code=finding.code)


def _summary(entries: Sequence[Finding]) -> str:
    told = [entry for entry in entries if entry.probability is not None]
    if not told:
        return "Cannot tell."
    highest = sorted(told, key=lambda entry: -(entry.probability or 0.0))[:5]
    listed = ", ".join(f"{entry.name} {entry.probability:.0%}" for entry in highest)
    return f"Likeliest of {len(entries)}: {listed}."


def _check_source(source: str) -> None:
    if source not in _SOURCES:
        raise unknown_name("source", name=str(source), known=_SOURCES)
