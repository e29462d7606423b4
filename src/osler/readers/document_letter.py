"""Diagnoses and drugs of a letter, from its lists and tables, only where the form is beyond doubt."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from osler.readers.document_dates import find_dates
from osler.readers.document_items import Style
from osler.readers.document_labs import DocumentRow
from osler.readers.document_words import Line
from osler.study.record import ClinicalEvent

Section = Literal["diagnoses", "drugs", "other"]

_HEADINGS: dict[str, Section] = {
    **dict.fromkeys(("diagnoses", "diagnosis", "diagnosen", "diagnose", "problem list"), "diagnoses"),
    **dict.fromkeys(
        ("medication", "medications", "medikation", "discharge medication", "discharge medications",
         "entlassmedikation", "aktuelle medikation", "current medication", "current medications"),
        "drugs",
    ),
}  # fmt: skip
_ICD = re.compile(r"\(?\b([A-TV-Z]\d{2}(?:\.[0-9A-Z]{1,4})?)\b\)?")
_BULLET = re.compile(r"^[-–•·*]\s+|^\d{1,2}[.)]\s+")
_SINCE = re.compile(r"(?i),?\s*(?:since|seit)\s+(.+)$")
_MONTHS = {
    name: number
    for number, names in enumerate(
        ("jan", "feb", "mar mär", "apr", "may mai", "jun", "jul", "aug", "sep", "oct okt", "nov", "dec dez"), start=1
    )
    for name in names.split()
}
_MONTH = re.compile(r"(?i)\b([a-zä]{3})[a-zä]*\.?\s+(\d{4})$|^(\d{1,2})/(\d{4})$")
_DRUG = re.compile(r"(?i)^(.*?)\s*\((since|seit)?\s*([^()]*?)(?:\s+(?:to|bis)\s+([^()]*))?\)$")
_TABLE_HEADS = {"diagnosis icd-10 since", "drug from to", "diagnose icd-10 seit", "medikament von bis"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """Text of one entry of a list, and the line in which it begins."""

    text: str
    line: Line


def read_letter(lines: Sequence[Line], *, style: Style, date: dt.date | None, source: str) -> tuple[DocumentRow, ...]:
    """Reads diagnoses (as conditions) and drugs (as medications) of a letter.

    Args:
        lines: In reading order.
        style: How the document writes.
        date: Of the letter.
        source: The file.
    """
    rows: list[DocumentRow] = []
    for section, body in _sections(lines):
        read = _diagnoses if section == "diagnoses" else _drugs
        rows.extend(read(body, style=style, source=source))
    return tuple(rows)


def _sections(lines: Sequence[Line]) -> Iterator[tuple[Section, list[Line]]]:
    """The lines under the headings of diagnoses and drugs, up to the next heading."""
    section: Section = "other"
    body: list[Line] = []
    for line in lines:
        heading = line.plain.strip().rstrip(":").lower()
        found = _HEADINGS.get(heading)
        if found is None and not _is_heading(line, body=body):
            if section != "other" and not _is_frame(line, body=body):
                body.append(line)
            continue
        if section != "other":
            yield section, body
        section, body = found or "other", []
    if section != "other":
        yield section, body


def _is_heading(line: Line, *, body: Sequence[Line]) -> bool:
    """Whether a line without figures, short and larger or set apart, opens another section."""
    text = line.plain
    short = (
        len(line.words) <= 6
        and not any(char.isdigit() for char in text)
        and text[:1].isupper()
        and text[-1] not in ".,;"
    )
    if not short or text.lower() in _TABLE_HEADS or not body:
        return False
    above, own = body[-1], line.words[0]
    gap = own.y0 - max(word.y1 for word in above.words)
    return line.page != above.page or gap > 0.45 * own.height


def _is_frame(line: Line, *, body: Sequence[Line]) -> bool:
    """Whether a line belongs to the foot or head of a page and not to the list."""
    if not body:
        return False
    text = line.plain.lower()
    return re.search(r"\b(page|seite) \d+", text) is not None or "synthetic document" in text


def _diagnoses(body: Sequence[Line], *, style: Style, source: str) -> Iterator[DocumentRow]:
    table = bool(body) and body[0].plain.lower() in _TABLE_HEADS
    for entry in _table_entries(body[1:]) if table else _bulleted(body):
        text = _BULLET.sub("", entry.text).strip()
        onset, precision = None, "day"
        if match := _SINCE.search(text):
            onset, precision = _day_or_month(match[1], style=style)
            text = text[: match.start()]
        elif table:
            *words, month, year = text.split()
            onset, precision = _day_or_month(f"{month} {year}", style=style)
            text = " ".join(words).rstrip("- ")
        code = _ICD.search(text)
        name = (_ICD.sub("", text) if code else text).strip(" ,;-")
        if not name or onset is None:
            continue
        event = ClinicalEvent(
            kind="condition",
            name=name,
            date=onset,
            precision=precision,
            code=code[1] if code else "",
            system="ICD-10" if code else "",
            source=f"{source} p. {entry.line.page}: {entry.line.plain}",
        )
        yield DocumentRow(
            event=event, page=entry.line.page, line=entry.line.plain, printed=entry.text, score=entry.line.score
        )


def _bulleted(body: Sequence[Line]) -> Iterator[_Entry]:
    """Entries that begin with a bullet, over the ends of lines."""
    text, home = "", None
    for line in body:
        if _BULLET.match(line.plain):
            if home is not None:
                yield _Entry(text, home)
            text, home = line.plain, line
        elif home is not None:
            text += " " + line.plain
    if home is not None:
        yield _Entry(text, home)


def _table_entries(body: Sequence[Line]) -> Iterator[_Entry]:
    """Rows of a table that end with a date or a month; a row without one goes on in the next."""
    pending: list[Line] = []
    for line in body:
        if line.plain.lower() in _TABLE_HEADS:
            continue
        pending.append(line)
        if _MONTH.search(line.plain) or line.plain.lower().endswith(("continued", "weiter")):
            first = pending[0]
            yield _Entry(" ".join(one.plain for one in pending), first)
            pending = []


def _drugs(body: Sequence[Line], *, style: Style, source: str) -> Iterator[DocumentRow]:
    if body and body[0].plain.lower() in _TABLE_HEADS:
        entries = [_row_of_drugs(entry, style=style) for entry in _table_entries(body[1:])]
    else:
        entries = [_listed(entry, style=style) for entry in _separated(body)]
    for entry in entries:
        if entry is None:
            continue
        name, start, stop, home = entry
        event = ClinicalEvent(
            kind="medication",
            name=name,
            date=start,
            end=stop,
            status="stopped" if stop is not None else "active",
            source=f"{source} p. {home.page}: {home.plain}",
        )
        yield DocumentRow(event=event, page=home.page, line=home.plain, printed=name, score=home.score)


_Drug = tuple[str, dt.date, dt.date | None, Line]


def _row_of_drugs(entry: _Entry, *, style: Style) -> _Drug | None:
    dates = find_dates(entry.text, order=style.dates)
    if not dates:
        return None
    name = entry.text[: dates[0][0]].strip(" ,;-")
    rest = entry.text[dates[-1][1] :].strip().lower()
    stop = dates[1][2] if len(dates) > 1 else None
    sure = name and len(dates) <= 2 and (stop is not None or rest in ("continued", "weiter"))
    return (name, dates[0][2], stop, entry.line) if sure else None


def _separated(body: Sequence[Line]) -> Iterator[_Entry]:
    """Entries of ``Continued: a (since x); b (since y).``, over the ends of lines."""
    text, home = "", None
    for line in body:
        for word in line.words:
            if word.text.endswith(":"):
                text, home = "", None
                continue
            home = home or line
            text = f"{text} {word.text}".strip()
            if word.text.endswith((");", ").")):
                yield _Entry(text.rstrip(";."), home)
                text, home = "", None


def _listed(entry: _Entry, *, style: Style) -> _Drug | None:
    match = _DRUG.match(entry.text)
    if match is None:
        return None
    name, _, first, last = match.groups()
    start = find_dates(first, order=style.dates)
    stop = find_dates(last, order=style.dates) if last else []
    if not name or len(start) != 1 or (last and len(stop) != 1):
        return None
    return name, start[0][2], stop[0][2] if stop else None, entry.line


def _day_or_month(text: str, *, style: Style) -> tuple[dt.date | None, Literal["day", "month"]]:
    dates = find_dates(text, order=style.dates)
    if dates:
        return dates[0][2], "day"
    match = _MONTH.search(text.strip(" .;)"))
    if match is None:
        return None, "day"
    month = _MONTHS.get(match[1].lower(), 0) if match[1] else int(match[3])
    return (dt.date(int(match[2] or match[4]), month, 1), "month") if 1 <= month <= 12 else (None, "day")
