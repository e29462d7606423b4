"""An answer as a Markdown report that a person would send.

Whatever comes from files or models is text and stays text: every character
that Markdown or HTML could act on is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from osler import __version__
from osler.study import Answer, Evidence, Statement, UsedSeries
from osler.writers.text import SAFETY_NOTE, printable, slice_ranges
from osler.writers.wording import (
    NO_EVIDENCE,
    change_text,
    evidence_text,
    finding_text,
    flag_of,
    patient_text,
    pixel_text,
    range_text,
    step_text,
    value_text,
)

# What may act anywhere in a line, what only at its start, and what turns a bare address into a link.
_ACTIVE = re.compile(r"([\\`*_{}\[\]#!|~^$@])")
_LEADING = re.compile(r"^(\d*)([-+=:.)])")
_ADDRESS = re.compile(r"(?<=www)(\.)|(:)(?=//)", re.IGNORECASE)
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_TITLES = {
    "ask": "Answer",
    "report": "Report",
    "locate": "Boxes",
    "compare": "Comparison",
    "findings": "Findings",
    "ehr": "Answer from the record",
    "extract": "Values read from documents",
    "search": "Matches",
    "triage": "Triage",
    "chat": "Answer",
}


def escaped(text: str) -> str:
    r"""Escapes a text so that Markdown shows it as it is, on one line.

    Example:
        >>> escaped("<b>a_b</b> [x](y)")
        '&lt;b&gt;a\\_b&lt;/b&gt; \\[x\\](y)'
    """
    line = _ACTIVE.sub(r"\\\1", " ".join(printable(text).split()))
    line = _LEADING.sub(r"\1\\\2", line)
    return _ADDRESS.sub(r"\\\g<0>", line).translate(_HTML)


def format_markdown(answer: Answer, *, question: str = "", picture: str = "") -> str:
    """Formats an answer as a report in Markdown (CommonMark with tables).

    Args:
        answer: What to report.
        question: As asked, if there was one.
        picture: File name of a picture beside the report.
    """
    numbered = _Evidence()
    parts = [f"# {_TITLES.get(answer.task, escaped(answer.task.capitalize()))}", f"> **{escaped(SAFETY_NOTE)}**"]
    if question:
        parts.append(f"**Question:** {escaped(question)}")
    parts += _body(answer, numbered=numbered)
    if picture:
        parts.append(f"![What the model saw, and the answer](<{_path(picture)}>)")
    parts += _tables(answer)
    parts += numbered.section()
    parts += _list("Not trained", [f"{name}: nothing was made up in its place." for name in answer.untrained])
    parts += _list("Warnings", answer.warnings)
    parts += _list("Steps", [step_text(step) for step in answer.steps])
    parts += _list("Images used", [_used(entry) for entry in answer.used])
    parts += _list("Left out", [f"{entry.what} ({entry.count}): {entry.why}" for entry in answer.left_out])
    parts.append(_stamp(answer))
    return "\n\n".join(parts) + "\n"


class _Evidence:
    """Numbers what statements rest on: the same evidence has the same number."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def marks(self, evidence: Sequence[Evidence]) -> str:
        """The marks behind a sentence."""
        numbers = []
        for entry in evidence:
            line = evidence_text(entry)
            if line not in self.lines:
                self.lines.append(line)
            numbers.append(f"\\[{self.lines.index(line) + 1}\\]")
        return " ".join(dict.fromkeys(numbers)) or f"*({NO_EVIDENCE})*"

    def section(self) -> list[str]:
        """The numbered list at the end."""
        if not self.lines:
            return []
        listed = "\n".join(f"{number}. {escaped(line)}" for number, line in enumerate(self.lines, start=1))
        return [f"## Evidence\n\n{listed}"]


def _body(answer: Answer, *, numbered: _Evidence) -> list[str]:
    """The sentences by section, else the text, paragraph by paragraph."""
    if not answer.statements:
        paragraphs = [escaped(part) for part in re.split(r"\n\s*\n|\n", answer.text) if part.strip()]
        return paragraphs or ["*(no text)*"]
    sections: dict[str, list[Statement]] = {}
    for statement in answer.statements:
        sections.setdefault(statement.section, []).append(statement)
    return [
        f"## {escaped(name.capitalize()) or 'Answer'}\n\n"
        + "\n".join(f"- {escaped(one.text)} {numbered.marks(one.evidence)}" for one in group)
        for name, group in sections.items()
    ]


def _tables(answer: Answer) -> list[str]:
    boxes = [
        (
            box.label,
            f"{box.score:.0%}",
            "" if box.slice is None else str(box.slice + 1),
            pixel_text(box),
            patient_text(box),
            box.series,
        )
        for box in answer.boxes
    ]
    findings = [(finding.name, finding_text(finding), finding.code) for finding in answer.findings]
    changes = [(entry.finding, change_text(entry)) for entry in answer.progression]
    observations = [
        (
            event.date.isoformat() if event.date else "",
            event.name,
            value_text(event.value, unit=event.unit),
            range_text(event),
            flag_of(event).upper(),
            f"{event.system} {event.code}".strip(),
        )
        for event in answer.observations
    ]
    matches = [
        (f"{match.score:.2f}", match.study, "" if match.slice is None else str(match.slice + 1), match.text)
        for match in answer.matches
    ]
    return [
        *_table("Boxes", ("Label", "Score", "Slice", "Pixels (x y to x y)", "Patient (LPS mm)", "Series"), boxes),
        *_table("Findings and probabilities", ("Finding", "Probability", "Code"), findings),
        *_table("Course", ("Finding", "Change"), changes),
        *_table("Observations", ("Day", "Name", "Value", "Reference", "Flag", "Code"), observations),
        *_table("Matches", ("Score", "Study", "Slice", "Text"), matches),
    ]


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows]
    return [f"## {title}\n\n" + "\n".join(lines)]


def _list(title: str, entries: Sequence[str]) -> list[str]:
    return [f"## {title}\n\n" + "\n".join(f"- {escaped(entry)}" for entry in entries)] if entries else []


def _used(entry: UsedSeries) -> str:
    name = " ".join(part for part in (entry.modality, entry.description) if part) or "image"
    slices = f", slices {slice_ranges(entry.slices)} of {entry.of}" if entry.slices else ""
    return f"{name}{slices} [{entry.series}]"


def _stamp(answer: Answer) -> str:
    model = answer.model
    text = (
        f"Osler {__version__}, model {model.name} ({model.bits} bits, {model.backend} on {model.device}), "
        f"weights {model.weights}, preprocessing {answer.preprocess[:16]}."
    )
    return f"---\n\n{escaped(text)}\n\n**{escaped(SAFETY_NOTE)}**"


def _path(name: str) -> str:
    """A file name inside angle brackets: no character may end them."""
    return re.sub(r"[<>\n\r\\]", lambda match: f"%{ord(match[0]):02X}", printable(name))
