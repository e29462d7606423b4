"""Which test stands on which line: a name, and the items that follow it.

A table row may go on in the next line, several tests may stand side by side, and a letter names
them in running text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from osler.readers.document_header import Header, header_of
from osler.readers.document_items import Item, Style, items_of, known_test, name_at
from osler.readers.document_names import LabTest
from osler.readers.document_words import Line, Word


@dataclass(frozen=True, slots=True)
class LabRecord:
    """A name and the items that follow it."""

    name: str
    test: LabTest | None
    items: list[Item]
    line: Line


def table_line(
    lines: Sequence[Line], *, place: int, header: Header | None, style: Style
) -> tuple[int, list[LabRecord]]:
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


def _records(line: Line, *, style: Style) -> list[LabRecord]:
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
        records.append(LabRecord(name.rstrip(":;,"), test, items, line))
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


def _unknown(line: Line, *, style: Style) -> list[LabRecord]:
    """A line whose name no table knows, where it has the form of a result."""
    items = items_of(line.words, style=style)
    name = _rest_of_name(items)
    rest = items[len(name.split()) :]
    if not name or len(name.split()) > 8:
        return []
    return [LabRecord(name.rstrip(":;,"), known_test(name, reading=line.reading), rest, line)]


def is_running(line: Line) -> bool:
    """Whether a line is running text that lists results: separated by semicolons."""
    return line.plain.count(";") >= 1 and "\t" not in line.text


def goes_on(last: Line, line: Line) -> bool:
    """Whether running text goes on in the next line."""
    return not last.plain.endswith(".") and last.page == line.page and "\t" not in line.text


def running(lines: Sequence[Line], *, style: Style) -> list[LabRecord]:
    """Records of running text: between semicolons, over the ends of lines."""
    records: list[LabRecord] = []
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


def _piece(part: Sequence[tuple[Word, Line]], *, style: Style) -> list[LabRecord]:
    words = tuple(word for word, _ in part)
    home = part[0][1]
    whole = replace(home, words=words)
    records = _records(whole, style=style)
    if len(records) != 1 or not words:
        return []
    value = next((item for item in records[0].items if item.kind in ("number", "quality")), None)
    evidence = home if value is None else next((line for word, line in part if word is value.words[0]), home)
    return [replace(records[0], line=evidence)]
