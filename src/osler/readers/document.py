"""Documents (PDFs, pictures of paper) read to text, and their laboratory values and lists to dated events."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

from osler.errors import FileFormatError
from osler.readers.blob import Blob
from osler.readers.document_dates import date_order, find_dates
from osler.readers.document_items import Style
from osler.readers.document_labs import DocumentRow, read_labs
from osler.readers.document_letter import read_letter
from osler.readers.document_numbers import comma_of
from osler.readers.document_process import DOCUMENT_LIMITS, DocumentKind, DocumentLimits, DocumentProcess
from osler.readers.document_words import Line, Page, lines_of
from osler.study.record import ClinicalEvent, Document

_SURE = 0.8
_BIRTH = re.compile(r"(?i)\b(born|birth|dob|geb|geburt\w*|geboren)\b")
_SAMPLED = re.compile(
    r"(?i)\b(collect\w*|sampl\w*|specimen|drawn|entnahme\w*|abnahme\w*|probe\w*|entnommen|materialentnahme)\b"
)
_REPORTED = re.compile(r"(?i)\b(report\w*|received|eingang\w*|befund\w*|validated|date|datum|vom)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadDocument:
    """A document and what was read from it.

    Args:
        document: Its text.
        rows: Laboratory values, and diagnoses and drugs of a letter, each with its evidence.
        unread: Lines that look like results and that the rules could not read.
    """

    document: Document
    rows: tuple[DocumentRow, ...] = ()
    unread: tuple[Line, ...] = ()

    @property
    def events(self) -> tuple[ClinicalEvent, ...]:
        """What was read, as entries of the record."""
        return tuple(row.event for row in self.rows)


def read_document(
    blob: Blob,
    *,
    kind: DocumentKind,
    process: DocumentProcess | None = None,
    limits: DocumentLimits = DOCUMENT_LIMITS,
) -> ReadDocument:
    """Reads a document.

    Args:
        blob: The file.
        kind: ``"pdf"`` or ``"picture"``.
        process: Reads several documents one after the other; a new one is started without it.
        limits: How much is read.

    Raises:
        FileFormatError: If the file is damaged, is protected, or holds no text that can be read.
        CapacityError: If it is too large, or takes too much time or memory.
        UnsupportedError: If a package is missing.
    """
    if process is not None:
        pages, problems = process.read(blob, kind=kind)
    else:
        with DocumentProcess(limits=limits) as own:
            pages, problems = own.read(blob, kind=kind)
    return understand(blob.name, pages=pages, problems=problems)


def understand(name: str, *, pages: Sequence[Page], problems: Sequence[str] = ()) -> ReadDocument:
    """Finds the text, the date and the results of pages of words.

    Raises:
        FileFormatError: If no page has text.
    """
    if not any(page.words for page in pages):
        raise FileFormatError(
            f"{name} is a document in which no text was found.",
            allowed=" ".join(problems),
            next_step="Scan it again, upright and at 200 dpi or more.",
        )
    lines = {page.number: lines_of(page) for page in pages}
    everything = [line for number in sorted(lines) for line in lines[number]]
    text = "\n".join(line.plain for line in everything)
    style = Style(comma=comma_of(text), dates=date_order(text))
    date = _date_of(everything, style=style)
    dates = {number: _sampled(own, style=style) or date for number, own in lines.items()}
    labs = read_labs(everything, style=style, date_of=dates, source=name)
    letter = read_letter(everything, style=style, date=date, source=name)
    rows = (*labs.rows, *letter)
    recognized = any(page.reading == "OCR" for page in pages)
    document = Document(
        name=name.replace("\\", "/").rsplit("/", 1)[-1],
        pages=tuple("\n".join(line.text for line in lines[page.number]) for page in pages),
        date=date,
        reading="OCR" if recognized else "text layer",
        source=name,
        problems=(*problems, *_doubts(everything, rows=rows, unread=labs.unread, recognized=recognized)),
    )
    return ReadDocument(document=document, rows=rows, unread=tuple(labs.unread))


def _doubts(
    lines: Sequence[Line], *, rows: Sequence[DocumentRow], unread: Sequence[Line], recognized: bool
) -> list[str]:
    doubts = []
    if recognized:
        doubts.append("The text was recognized from a picture: compare values with the picture before use.")
        unsure = sum(line.score < _SURE for line in lines)
        if unsure:
            doubts.append(f"{unsure} of {len(lines)} lines were recognized without certainty.")
    doubtful = [f"page {row.page}, {row.event.name}: {problem}" for row in rows for problem in row.problems]
    doubts += doubtful[:20] + ([f"{len(doubtful) - 20} more values are doubtful."] if len(doubtful) > 20 else [])
    if unread:
        doubts.append(f"{len(unread)} lines look like results and could not be read.")
    return doubts


def _sampled(lines: Sequence[Line], *, style: Style) -> dt.date | None:
    """The day on which the samples of a page were taken, where a label says it."""
    return _labeled(lines, label=_SAMPLED, style=style)


def _date_of(lines: Sequence[Line], *, style: Style) -> dt.date | None:
    """The day of a document: of its samples, else of the report, else its first date that is no birth date."""
    for label in (_SAMPLED, _REPORTED):
        if found := _labeled(lines, label=label, style=style):
            return found
    for line in lines:
        found_dates = find_dates(line.plain, order=style.dates)
        if found_dates and not _BIRTH.search(line.plain):
            return found_dates[0][2]
    return None


def _labeled(lines: Sequence[Line], *, label: re.Pattern[str], style: Style) -> dt.date | None:
    """The first date that follows a label on its line, no further than a few words behind it."""
    for line in lines:
        text = line.plain
        for match in label.finditer(text):
            for start, _, date in find_dates(text[match.end() :], order=style.dates):
                between = text[match.end() : match.end() + start]
                if len(between) <= 24 and not _BIRTH.search(between):
                    return date
    return None
