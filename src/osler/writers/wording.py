"""How the parts of an answer are worded, the same in the terminal, in Markdown and in FHIR texts."""

from __future__ import annotations

from typing import Literal

from osler.study import ClinicalEvent, Evidence, Finding, FoundBox, Progression, Statement, Step

NO_EVIDENCE = "no evidence"
CANNOT_TELL = "cannot tell"


def flag_of(event: ClinicalEvent) -> Literal["", "high", "low"]:
    """Tells whether a number lies outside of its reference range."""
    if isinstance(event.value, str) or event.value is None or event.reference is None:
        return ""
    if event.reference.low is not None and event.value < event.reference.low:
        return "low"
    if event.reference.high is not None and event.value > event.reference.high:
        return "high"
    return ""


def range_text(event: ClinicalEvent) -> str:
    """Words a reference range, such as ``"3.5 to 5.1"``, ``"up to 5"`` or ``"from 60"``; empty if there is none."""
    low, high = (event.reference.low, event.reference.high) if event.reference else (None, None)
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    if high is not None:
        return f"up to {high:g}"
    return f"from {low:g}" if low is not None else ""


def value_text(value: float | str | None, *, unit: str = "") -> str:
    """Words a value with its unit."""
    if value is None:
        return ""
    number = value if isinstance(value, str) else f"{value:g}"
    return f"{number} {unit}".strip()


def finding_text(finding: Finding) -> str:
    """Words a probability, or that it cannot be told."""
    return CANNOT_TELL if finding.probability is None else f"{finding.probability:.0%}"


def days_text(days: int) -> str:
    """Words a number of days."""
    return f"{days} day" if abs(days) == 1 else f"{days} days"


def change_text(entry: Progression) -> str:
    """Words a change with what was measured: ``"worsened (50%), longest diameter 8 to 12.5 mm in 90 days"``."""
    text = entry.change if entry.probability is None else f"{entry.change} ({entry.probability:.0%})"
    if entry.before is not None and entry.now is not None:
        text += f", {entry.measure or 'measured'} {entry.before:g} to {value_text(entry.now, unit=entry.unit)}"
    elif entry.now is not None or entry.before is not None:
        when, value = ("now", entry.now) if entry.now is not None else ("before", entry.before)
        text += f", {entry.measure or 'measured'} {value_text(value, unit=entry.unit)} {when}"
    if entry.days is not None:
        text += f" in {days_text(entry.days)}"
    if entry.earlier is not None and entry.later is not None:
        text += f" ({entry.earlier.isoformat()} to {entry.later.isoformat()})"
    return text


def evidence_text(evidence: Evidence) -> str:
    """Words what a statement rests on, such as ``"slice 12 [1.2.3]"`` or ``"event CRP 12 mg/L, 2021-09-05"``."""
    parts = [evidence.kind]
    if evidence.slice is not None:
        parts.append(f"slice {evidence.slice + 1}" if evidence.kind != "slice" else f"{evidence.slice + 1}")
    parts += [part for part in (evidence.note, value_text(evidence.value, unit=evidence.unit)) if part]
    text = " ".join(parts)
    if evidence.code:
        text += f" ({evidence.code})"
    if evidence.date is not None:
        text += f", {evidence.date.isoformat()}"
    place = evidence.series or evidence.file
    return f"{text} [{place}]" if place else text


def statement_marks(statement: Statement) -> str:
    """Words the evidence of a sentence; one without any says so."""
    return "; ".join(evidence_text(entry) for entry in statement.evidence) or NO_EVIDENCE


def step_text(step: Step) -> str:
    """Words a look into the record: ``"search_events(code=1988-5): 1 event"``."""
    arguments = ", ".join(f"{name}={value}" for name, value in step.arguments.items())
    return f"{step.tool}({arguments}): {step.result}"


def pixel_text(box: FoundBox) -> str:
    """Words the pixel edges of a box: ``"1 2 to 3 4.5"``; empty if it has none."""
    return "" if box.pixel is None else f"{box.pixel.x0:g} {box.pixel.y0:g} to {box.pixel.x1:g} {box.pixel.y1:g}"


def patient_text(box: FoundBox) -> str:
    """Words the place of a box in LPS mm; empty if it has none."""
    if box.patient is None:
        return ""
    low, high = (" ".join(f"{value:.1f}" for value in corner) for corner in (box.patient.low, box.patient.high))
    return f"{low} to {high}"
