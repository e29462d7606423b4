"""Laboratory values out of lines: one record a test and date, with the line that it stands in.

Nothing is guessed: a line of which it is not sure what its numbers are goes to ``unread``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from osler.readers.document_header import Column, Header, header_of
from osler.readers.document_items import Item, Style, items_of, known_test, name_at
from osler.readers.document_names import LabTest, codes_of_tests
from osler.readers.document_numbers import PrintedRange
from osler.readers.document_units import ucum_of
from osler.readers.document_words import Line, Word
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


@dataclass(frozen=True, slots=True)
class _Record:
    """A name and the items that follow it."""

    name: str
    test: LabTest | None
    items: list[Item]
    line: Line


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
        if _is_running(line) or (paragraph and _goes_on(paragraph[-1], line)):
            paragraph.append(line)
            if line.plain.endswith(".") or place + 1 == len(lines):
                _take(
                    _running(paragraph, style=style), reading, header=None, style=style, date_of=date_of, source=source
                )
                paragraph = []
            place += 1
            continue
        if paragraph:
            _take(_running(paragraph, style=style), reading, header=None, style=style, date_of=date_of, source=source)
            paragraph = []
        used, records = _table_line(lines, place=place, header=header, style=style)
        _take(records, reading, header=header, style=style, date_of=date_of, source=source)
        place += used
    if paragraph:
        _take(_running(paragraph, style=style), reading, header=None, style=style, date_of=date_of, source=source)
    return reading


def _take(
    records: Sequence[_Record],
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


def _table_line(lines: Sequence[Line], *, place: int, header: Header | None, style: Style) -> tuple[int, list[_Record]]:
    """The records of a line of a table, together with the line after it where its cells go on there."""
    line = lines[place]
    records = _records(line, style=style)
    following = lines[place + 1] if place + 1 < len(lines) else None
    if header is None or following is None or len(records) > 1 or following.page != line.page:
        return 1, records
    if not _continues(line, following, header=header, style=style):
        return 1, records
    merged = replace(line, words=_merged(line, following, header=header))
    together = _records(merged, style=style)
    before, after = (one[0] if one else None for one in (records, together))
    if after is None or after.test is None:
        return 1, records
    if before is not None and before.test is not None and len(after.items) <= len(before.items):
        return 1, records
    return 2, [replace(record, line=line) for record in together]


def _continues(line: Line, following: Line, *, header: Header, style: Style) -> bool:
    """Whether a line only holds the rest of cells above: it is near, and its first word is not in a value column."""
    gap = following.words[0].y0 - max(word.y1 for word in line.words)
    if gap > 0.7 * following.words[0].height or header_of(following, style=style) is not None:
        return False
    items = items_of(following.words, style=style)
    if not any(item.kind == "number" for item in items_of(line.words, style=style)):
        return False
    values = [item for item in items if item.kind in ("number", "missing", "flag")]
    return not any(_in_value_column(item, header=header) for item in values)


def _in_value_column(item: Item, *, header: Header) -> bool:
    column = header.nearest(item, roles=("value", "unit", "range", "name", "flag", "code", "other"))
    return column is not None and column.role == "value"


def _merged(line: Line, following: Line, *, header: Header) -> tuple[Word, ...]:
    """The words of two lines, column by column."""
    marked = [
        (header.place(word), number, word.x0, word)
        for number, one in enumerate((line, following))
        for word in one.words
    ]
    return tuple(word for *_, word in sorted(marked, key=lambda entry: entry[:3]))


def _records(line: Line, *, style: Style) -> list[_Record]:
    """Cuts a line at the names of tests."""
    words, starts = line.words, []
    place = 0
    while place < len(words):
        match = name_at(words, start=place, reading=line.reading)
        if match is not None and (not starts or _may_start(words, place, since=starts[-1], style=style)):
            starts.append((place, match[0], match[1]))
            place += match[0]
        else:
            place += 1
    if not starts:
        return _unknown(line, style=style)
    records = []
    if starts[0][0] > 0 and not words[starts[0][0] - 1].text.endswith(":"):
        # Words before a name change what it means ("Urine creatinine"), unless they are bullets or numbers.
        before = " ".join(word.text for word in words[: starts[0][0]])
        if any(char.isalpha() for char in before):
            return _unknown(line, style=style)
    for number, (start, count, test) in enumerate(starts):
        end = starts[number + 1][0] if number + 1 < len(starts) else len(words)
        items = items_of(words[start + count : end], style=style)
        extra = _rest_of_name(items)
        name = " ".join(word.text for word in words[start : start + count])
        if extra:
            fuller = known_test(f"{name} {extra}", reading=line.reading)
            test = fuller or (None if _is_other_measure(extra) else test)
            name = f"{name} {extra}"
        records.append(_Record(name.rstrip(":;,"), test, items, line))
    return records


def _may_start(words: Sequence[Word], place: int, *, since: tuple[int, int, LabTest], style: Style) -> bool:
    """Whether another record may begin at a word: the one before has a number, and this is no unit."""
    between = items_of(words[since[0] + since[1] : place], style=style)
    return any(item.kind in ("number", "quality") for item in between) and words[place].text[0].isalpha()


def _rest_of_name(items: Sequence[Item]) -> str:
    """Words between a known name and its first value, which may narrow what it means."""
    words = []
    for item in items:
        if item.kind != "word":
            break
        words.append(item.text)
    return " ".join(words)


def _is_other_measure(extra: str) -> bool:
    """Whether words after a name make it another test; notes such as ``(fasting)`` or ``:`` do not."""
    bare = re.sub(r"\([^)]*\)", " ", extra)
    bare = re.sub(
        r"(?i)\b(serum|plasma|blood|venous|fasting|nüchtern|i\.?s\.?|i\.?p\.?|was|is|of|ist|von|at|bei)\b", " ", bare
    )
    return any(char.isalpha() for char in bare)


def _unknown(line: Line, *, style: Style) -> list[_Record]:
    """A line whose name no table knows, where it has the form of a result."""
    items = items_of(line.words, style=style)
    name = _rest_of_name(items)
    rest = items[len(name.split()) :]
    if not name or len(name.split()) > 8:
        return []
    return [_Record(name.rstrip(":;,"), known_test(name, reading=line.reading), rest, line)]


def _is_running(line: Line) -> bool:
    """Whether a line is running text that lists results: separated by semicolons."""
    return line.plain.count(";") >= 1 and "\t" not in line.text


def _goes_on(last: Line, line: Line) -> bool:
    return not last.plain.endswith(".") and last.page == line.page and "\t" not in line.text


def _running(lines: Sequence[Line], *, style: Style) -> list[_Record]:
    """Records of running text: between semicolons, over the ends of lines."""
    records: list[_Record] = []
    part: list[tuple[Word, Line]] = []
    for line in lines:
        for word in line.words:
            if word.text.endswith(":") and not records and not part[1:]:
                part = []
                continue
            part.append((word, line))
            if word.text.endswith(";"):
                records += _piece(part, style=style)
                part = []
            elif word.text.endswith(":") and not any(char.isdigit() for one, _ in part for char in one.text):
                part = []
    if part:
        last, line = part[-1]
        part[-1] = (replace(last, text=last.text.rstrip(".")), line)
        records += _piece(part, style=style)
    return records


def _piece(part: Sequence[tuple[Word, Line]], *, style: Style) -> list[_Record]:
    words = tuple(word for word, _ in part)
    home = part[0][1]
    whole = replace(home, words=words)
    records = _records(whole, style=style)
    if len(records) != 1 or not words:
        return []
    value = next((item for item in records[0].items if item.kind in ("number", "quality")), None)
    evidence = home if value is None else next((line for word, line in part if word is value.words[0]), home)
    return [replace(records[0], line=evidence)]


def _rows(
    record: _Record, *, header: Header | None, date: dt.date | None, source: str, comma: Style
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
    record: _Record, numbers: Sequence[Item], *, header: Header | None, has_range: bool
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
    record: _Record, item: Item, *, date: dt.date | None, limits: PrintedRange | None, unit: str, source: str
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


def _flag(record: _Record, item: Item, *, reference: ReferenceRange | None) -> tuple[str, list[str]]:
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
