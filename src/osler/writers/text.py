"""An answer as plain text for a terminal: the answer, then what it rests on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from osler.study import NO_MODEL, Answer, Finding, FoundBox, LeftOut, UsedSeries
from osler.writers.text_record import record_rows
from osler.writers.wording import CANNOT_TELL, change_text, finding_text, patient_text

SAFETY_NOTE = "Research software, not a medical device: check every statement against the images."

_STOPPED = {
    "max_tokens": "cut at the limit of tokens (raise it with --max-tokens)",
    "stop_string": "at a stop string",
}
_LABEL_WIDTH = 10
_UNTOLD = 8


def printable(text: str) -> str:
    r"""Drops characters that could steer a terminal; newlines and tabs stay.

    Model output, file names and DICOM texts are data: an escape sequence in
    one of them must not reach the terminal.

    Example:
        >>> printable("liver\x1b[2J, spleen")
        'liver[2J, spleen'
    """
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"} or c == "\u200d")


def slice_ranges(slices: Sequence[int]) -> str:
    """Names slices the way people count, from 1, runs and even steps joined.

    Example:
        >>> slice_ranges([0, 1, 2, 6, 8, 10, 12])
        '1-3, 7-13 in steps of 2'
    """
    parts: list[str] = []
    numbers = [index + 1 for index in slices]
    start = 0
    while start < len(numbers):
        stop = start + 1
        step = numbers[stop] - numbers[start] if stop < len(numbers) else 0
        while stop < len(numbers) and numbers[stop] - numbers[stop - 1] == step:
            stop += 1
        if stop - start >= 3 and step > 0:
            parts.append(f"{numbers[start]}-{numbers[stop - 1]}" + (f" in steps of {step}" if step > 1 else ""))
            start = stop
        else:
            parts.append(str(numbers[start]))
            start += 1
    return ", ".join(parts)


def format_answer(answer: Answer) -> str:
    """Formats the whole answer: its text, then `format_evidence`."""
    return f"{printable(answer.text)}\n\n{format_evidence(answer)}"


def format_evidence(answer: Answer) -> str:
    """Formats everything but the answer's text and the steps: model, inputs, what was left out, times, the safety note.

    Steps are shown where they are asked for: `osler ehr --steps`, JSON, Markdown.
    """
    model = answer.model
    rows: list[tuple[str, str]] = []
    rows += [("Boxes", _box(box)) for box in answer.boxes]
    rows += [("Finding", line) for line in _finding_lines(answer.findings)]
    rows += [("Course", f"{p.finding}: {change_text(p)}") for p in answer.progression]
    rows += record_rows(answer)
    rows += [("Used", _used(series)) for series in answer.used]
    rows += [("Left out", _left_out(entry)) for entry in answer.left_out]
    rows += [("Warning", text) for text in answer.warnings]
    if model == NO_MODEL:
        rows.append(("Model", "none: the answer is taken from the files"))
    else:
        rows.append(("Model", f"{model.name} ({model.bits} bits, {model.backend} on {model.device})"))
    if answer.preprocess:
        rows.append(("Views", f"preprocessing {answer.preprocess[:16]}"))
    if answer.stopped in _STOPPED:
        rows.append(("Stopped", _STOPPED[answer.stopped]))
    if answer.timings:
        rows.append(("Time", ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in answer.timings.items())))
    return f"{_rows(rows)}\n{SAFETY_NOTE}"


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    """Label and text in two columns; a repeated label is printed once."""
    lines: list[str] = []
    previous = ""
    for label, text in rows:
        shown = "" if label == previous else label
        lines.append(f"{shown:<{_LABEL_WIDTH}}{printable(text)}")
        previous = label
    return "\n".join(lines)


def _finding_lines(findings: Sequence[Finding]) -> list[str]:
    """What can be told, likeliest first; then in one line what cannot."""
    told = sorted(findings, key=lambda one: -1.0 if one.probability is None else one.probability, reverse=True)
    lines = [f"{one.name} {finding_text(one)}" for one in told if one.probability is not None]
    untold = [one.name for one in findings if one.probability is None]
    if untold:
        names, rest = (untold, 0) if len(untold) <= _UNTOLD else (untold[: _UNTOLD - 2], len(untold) - _UNTOLD + 2)
        more = f" and {rest} more (--json lists them)" if rest else ""
        lines.append(f"{CANNOT_TELL}: {', '.join(names)}{more}")
    return lines


def _used(series: UsedSeries) -> str:
    name = " ".join(part for part in (series.modality, series.description) if part) or "image"
    slices = f", slices {slice_ranges(series.slices)} of {series.of}" if series.slices else ""
    view = f", {series.view}" if series.view else ""
    tokens = f", {series.tokens:,} tokens" if series.tokens else ""
    return f"{name}{slices}{view}{tokens} [{series.series}]"


def _left_out(entry: LeftOut) -> str:
    times = f" (x{entry.count})" if entry.count > 1 else ""
    return f"{entry.what}{times}: {entry.why}"


def _box(box: FoundBox) -> str:
    where = f", slice {box.slice + 1}" if box.slice is not None else ""
    edges = ""
    if box.patient is not None:
        edges = f", LPS mm {patient_text(box)}"
    elif box.pixel is not None:
        edges = f", px {box.pixel.x0:.0f} {box.pixel.y0:.0f} to {box.pixel.x1:.0f} {box.pixel.y1:.0f}"
    return f"{box.label} ({box.score:.0%}){where}{edges}"
