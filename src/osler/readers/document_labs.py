"""Laboratory values out of lines: one record a test and date, with the line that it stands in.

Nothing is guessed: a line of which it is not sure what its numbers are goes to ``unread``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from osler.readers.document_header import Column, Header, header_of
from osler.readers.document_items import Item, Style
from osler.readers.document_names import codes_of_tests
from osler.readers.document_numbers import PrintedRange
from osler.readers.document_records import LabRecord, goes_on, is_running, running, table_line
from osler.readers.document_units import ucum_of
from osler.readers.document_words import Line
from osler.study.record import ClinicalEvent, ReferenceRange

Way = Literal["layout", "model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentRow:
    """An event of a document, with its evidence.

    Args:
        event: What was read.
        page: Number of the page, from 1. line: The text line that holds the value.
        printed: The value as printed.
        way: ``"layout"`` (rules), or ``"model"`` (the language model, checked against the text).
        score: How sure the text recognition was of the line, 0 to 1; 1 for a text layer.
        problems: What is doubtful, one sentence each.
    """

    event: ClinicalEvent
    page: int
    line: str
    printed: str
    way: Way = "layout"
    score: float = 1.0
    problems: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class LabReading:
    """What was found: rows, and lines that look like results and could not be read."""

    rows: list[DocumentRow] = field(default_factory=list)
    unread: list[Line] = field(default_factory=list)


def read_labs(lines: Sequence[Line], *, style: Style, date_of: dict[int, dt.date | None], source: str) -> LabReading:
    """Reads the laboratory values of a document.

    Args:
        lines: In reading order.
        style: How the document writes.
        date_of: The day of each page's values, where no column says it.
        source: The file.
    """
    reading = LabReading()
    header: Header | None = None
    paragraph: list[Line] = []
    place = 0
    while place < len(lines):
        line = lines[place]
        found = header_of(line, style=style)
        if found is not None:
            header = found
            place += 1
            continue
        if is_running(line) or (paragraph and goes_on(paragraph[-1], line)):
            paragraph.append(line)
            if line.plain.endswith(".") or place + 1 == len(lines):
                _take(
                    running(paragraph, style=style), reading, header=None, style=style, date_of=date_of, source=source
                )
                paragraph = []
            place += 1
            continue
        if paragraph:
            _take(running(paragraph, style=style), reading, header=None, style=style, date_of=date_of, source=source)
            paragraph = []
        used, records = table_line(lines, place=place, header=header, style=style)
        _take(records, reading, header=header, style=style, date_of=date_of, source=source)
        place += used
    if paragraph:
        _take(running(paragraph, style=style), reading, header=None, style=style, date_of=date_of, source=source)
    return reading


def _take(
    records: Sequence[LabRecord],
    reading: LabReading,
    *,
    header: Header | None,
    style: Style,
    date_of: dict[int, dt.date | None],
    source: str,
) -> None:
    for record in records:
        rows = list(_rows(record, header=header, date=date_of.get(record.line.page), source=source, comma=style))
        reading.rows.extend(rows)
        kinds = {item.kind for item in record.items}
        looks = "number" in kinds and (record.test is not None or {"unit", "range"} & kinds)
        if not rows and looks and record.line not in reading.unread:
            reading.unread.append(record.line)


def _rows(
    record: LabRecord, *, header: Header | None, date: dt.date | None, source: str, comma: Style
) -> Iterator[DocumentRow]:
    """The values of a record: one, or one a dated column."""
    del comma
    numbers = [item for item in record.items if item.kind in ("number", "quality")]
    unit_item = next((item for item in record.items if item.kind == "unit"), None)
    values: list[tuple[Item, dt.date | None]]
    limits: PrintedRange | None = next((item.limits for item in record.items if item.kind == "range"), None)
    unit = "" if unit_item is None else unit_item.unit
    if header is not None and (len(header.dated) >= 2 or (header.dated and not _plain_value(header))):
        values, open_limit = _by_column(numbers, header=header)
        limits = limits or open_limit
    else:
        chosen = _single_value(record, numbers, header=header, has_range=limits is not None)
        if chosen is None:
            return
        value, open_limit, column = chosen
        limits = limits or open_limit
        unit = unit or (column.unit if column is not None else "")
        values = [(value, date)]
    told = header is not None and all(item.kind == "quality" for item, _ in values)
    if record.test is None and not unit and limits is None and not told:
        return
    if record.test is not None and record.test.cells and unit_item is not None:
        unit = ucum_of(unit_item.text, cells=True) or unit
    unit = unit or _unit_in_name(record.name)
    for item, day in values:
        yield _row(record, item, date=day, limits=limits, unit=unit, source=source)


def _plain_value(header: Header) -> bool:
    return any(column.role == "value" and column.date is None for column in header.columns)


def _by_column(
    numbers: Sequence[Item], *, header: Header
) -> tuple[list[tuple[Item, dt.date | None]], PrintedRange | None]:
    """Sorts numbers into dated columns, and one with a comparator into the column of ranges."""
    values: dict[Column, Item] = {}
    limit: PrintedRange | None = None
    for item in numbers:
        column = header.nearest(item, roles=("value", "range"))
        if column is None:
            continue
        if column.role == "range":
            limit = limit or item.limits
        elif column.date is not None:
            if column in values:
                return [], None
            values[column] = item
    return [(item, column.date) for column, item in values.items()], limit


def _single_value(
    record: LabRecord, numbers: Sequence[Item], *, header: Header | None, has_range: bool
) -> tuple[Item, PrintedRange | None, Column | None] | None:
    """The one value of a record, the open range beside it, and its column; ``None`` where that is not sure."""
    if not numbers:
        return None
    plain = [item for item in numbers if item.limits is None]
    open_ones = [item for item in numbers if item.limits is not None]
    column = header.nearest(numbers[0], roles=("value",)) if header is not None else None
    if len(numbers) == 1:
        if open_ones and header is not None and header.has("range"):
            near = header.nearest(numbers[0], roles=("value", "range"))
            if near is not None and near.role == "range":
                return None
        return numbers[0], None, column
    if len(plain) == 1 and len(open_ones) == 1 and not has_range:
        return plain[0], open_ones[0].limits, column
    if not plain and len(open_ones) == 2 and not has_range:
        return open_ones[0], open_ones[1].limits, column
    return _by_heading(numbers, header=header)


def _by_heading(
    numbers: Sequence[Item], *, header: Header | None
) -> tuple[Item, PrintedRange | None, Column | None] | None:
    """Sorts several numbers by the headings: result, lower and upper limit, earlier result."""
    if header is None or not header.has("value"):
        return None
    placed: dict[str, list[Item]] = {}
    for item in numbers:
        column = header.nearest(item, roles=("value", "low", "high", "other", "range", "code"))
        placed.setdefault(column.role if column is not None else "other", []).append(item)
    if len(placed.get("value", [])) != 1:
        return None
    ends = {role: placed[role][0].number for role in ("low", "high") if len(placed.get(role, [])) == 1}
    limits = None
    if ends:
        low, high = ends.get("low"), ends.get("high")
        limits = PrintedRange(low=low and low.value, high=high and high.value)
    else:
        limits = _placed_range(placed.get("range", []))
    value = placed["value"][0]
    return value, limits, header.nearest(value, roles=("value",))


def _placed_range(items: Sequence[Item]) -> PrintedRange | None:
    """The range of its column: one with a comparator, or two numbers whose dash was not recognized."""
    if len(items) == 1:
        return items[0].limits
    ends = [item.number for item in items if item.limits is None and item.number is not None]
    if len(items) != 2 or len(ends) != 2 or ends[0].value >= ends[1].value:
        return None
    return PrintedRange(low=ends[0].value, high=ends[1].value, decimals=max(end.decimals for end in ends))


def _unit_in_name(name: str) -> str:
    match = re.search(r"[\[(]([^\])]*)[\])]\s*$", name)
    return (ucum_of(match[1]) or "") if match else ""


def _row(
    record: LabRecord, item: Item, *, date: dt.date | None, limits: PrintedRange | None, unit: str, source: str
) -> DocumentRow:
    printed_code = next((one.text for one in record.items if one.kind == "code"), "")
    code = printed_code or (record.test.loinc(unit) if record.test is not None else "")
    test = codes_of_tests().get(printed_code) if record.test is None else record.test
    number = item.number
    value: float | str = item.text if number is None or number.comparator else number.value
    if number is not None and number.comparator:
        value = f"{number.comparator}{number.value:.{number.decimals}f}"
    reference = None if limits is None else ReferenceRange(low=limits.low, high=limits.high)
    flag, problems = _flag(record, item, reference=reference)
    if number is not None and limits is not None and _lost_point(number.value, decimals=number.decimals, limits=limits):
        problems.append("The value may lack its decimal point: its range has decimals and is far below it.")
    line = record.line
    if line.reading == "OCR" and test is None:
        problems.append("No table of tests knows the name: it may be misread.")
    event = ClinicalEvent(
        kind="observation",
        name=test.name if test is not None else record.name,
        date=date,
        code=code,
        system="LOINC" if code else "",
        value=value,
        unit=unit,
        reference=reference,
        source=f"{source} p. {line.page}: {line.plain}",
        flag=flag,
    )
    return DocumentRow(
        event=event,
        page=line.page,
        line=line.plain,
        printed=item.text.rstrip(";,"),
        score=min((word.score for word in item.words), default=1.0),
        problems=tuple(problems),
    )


def _flag(record: LabRecord, item: Item, *, reference: ReferenceRange | None) -> tuple[str, list[str]]:
    """The flag of a value by its range, else as printed; and a sentence where the two do not agree."""
    printed = next((one.flag for one in _after(record.items, item) if one.kind == "flag"), "")
    number = item.number
    if reference is None or number is None or number.comparator:
        return printed, []
    by_range = ""
    if reference.low is not None and number.value < reference.low:
        by_range = "L"
    elif reference.high is not None and number.value > reference.high:
        by_range = "H"
    agrees = printed in ("", by_range, 2 * by_range) or (printed == "A" and by_range)
    if agrees:
        return (printed if printed and printed != "A" else by_range), []
    where = {"": "within", "L": "below", "H": "above"}[by_range]
    return by_range, [f"The printed flag {printed} does not agree: the value lies {where} its range."]


def _after(items: Sequence[Item], item: Item) -> Iterator[Item]:
    """The items that belong to a value: up to the next value, then what stands before it."""
    place = items.index(item)
    for one in items[place + 1 :]:
        if one.kind in ("number", "missing"):
            break
        yield one
    if place and items[place - 1].kind == "flag" and not any(one.kind == "number" for one in items[: place - 1]):
        yield items[place - 1]


def _lost_point(value: float, *, decimals: int, limits: PrintedRange) -> bool:
    high = limits.high if limits.high is not None else limits.low
    return decimals == 0 and limits.decimals > 0 and high is not None and high > 0 and value > 5 * high
