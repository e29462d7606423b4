"""What the words of a line are: numbers, ranges, units, flags, dates, names of tests."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from osler.readers.document_dates import DateOrder, find_dates
from osler.readers.document_names import LabTest, lab_tests, nearest_test, squeezed
from osler.readers.document_numbers import Comma, Number, PrintedRange, read_number, read_range
from osler.readers.document_units import ucum_of
from osler.readers.document_words import Reading, Word

ItemKind = Literal["number", "range", "unit", "flag", "missing", "code", "date", "quality", "word"]

_FLAGS = {
    "h": "H", "hh": "HH", "l": "L", "ll": "LL", "high": "H", "low": "L", "hoch": "H", "erhöht": "H",
    "niedrig": "L", "tief": "L",
    "erniedrigt": "L", "↑": "H", "↓": "L", "↑↑": "HH", "↓↓": "LL", "▲": "H", "▼": "L", "+": "H", "-": "L", "++": "HH",
    "*": "A", "!": "A", "**": "A", "(h)": "H", "(l)": "L", "(+)": "H", "(-)": "L", "[h]": "H", "[l]": "L",
}  # fmt: skip
_MISSING = {"--", "---", "-", "–", "—", "n/a", "n.a.", "n.b.", "k.a.", "folgt", "pending", "entfällt", "s.u."}
_QUALITIES = {
    "positive", "negative", "positiv", "negativ", "detected", "reactive", "reaktiv", "nachweisbar", "trace",
    "nonreactive",
}  # fmt: skip
_LOINC = re.compile(r"^\d{3,5}-\d$")
_LEADER = re.compile(r"^[.…_·]{2,}$")
_GLUED = re.compile(r"^([<>=≤≥]{0,2}\d[\d.,]*)([a-zA-Zµμ%‰/(\[].*)$")
_JOINED = re.compile(r"^(\d[\d.,]*?)(10[\^*]?\d{1,2}/.+)$")
_FLAGGED = re.compile(r"^(?:([↑↓▲▼*!+]|[HL](?=\d))\s*)?([<>=≤≥]{0,2}\d[\d.,]*?)\s*([↑↓▲▼*!+]{1,2}|HH?|LL?|-)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One meaningful piece of a line.

    Args:
        kind: What it is. words: Its words.
        number: Of a number. limits: Of a range; a number with a comparator has both.
        unit: UCUM. flag: ``"H"``, ``"L"``, ``"A"``... date: Of a date.
    """

    kind: ItemKind
    words: tuple[Word, ...]
    number: Number | None = None
    limits: PrintedRange | None = None
    unit: str = ""
    flag: str = ""
    date: dt.date | None = None

    @property
    def text(self) -> str:
        """As printed."""
        return " ".join(word.text for word in self.words)

    @property
    def x0(self) -> float:
        """Left edge."""
        return self.words[0].x0

    @property
    def x1(self) -> float:
        """Right edge."""
        return self.words[-1].x1


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """How a document writes: what a comma is, and which part of a date comes first."""

    comma: Comma = "unknown"
    dates: DateOrder = "unknown"


def name_at(words: Sequence[Word], *, start: int, reading: Reading) -> tuple[int, LabTest] | None:
    """Finds the longest name of a known test that begins at a word.

    Returns:
        How many words it has, and the test.
    """
    for count in range(min(8, len(words) - start), 0, -1):
        part = [_trimmed(word.text) for word in words[start : start + count]]
        # A misread name is only looked for among words: "protein 3.0" is one letter from "protein" too.
        exact = count > 1 and any(read_number(text) for text in part)
        test = known_test(" ".join(part), reading="text layer" if exact else reading)
        if test is not None:
            # The name must be a phrase of its own: "mg" of a unit is no magnesium.
            return count, test
    return None


def known_test(phrase: str, *, reading: Reading) -> LabTest | None:
    """Looks a printed name up, with and without what stands in parentheses and the specimen."""
    bare = re.sub(r"\([^)]*\)|\[[^\]]*\]", " ", phrase)
    bare = re.sub(
        r"^(?:[SPBU]|EB|VB)\s?-\s?|\b(?:i\.\s?[SPB]\.?|im serum|im plasma|in serum|serum|plasma)\b",
        " ",
        bare,
        flags=re.I,
    )
    for text in dict.fromkeys((phrase, bare)):
        key = squeezed(text)
        if not key or not any(char.isalpha() for char in key):
            continue
        test = lab_tests().get(key) or (nearest_test(key) if reading == "OCR" else None)
        if test is not None:
            return test
    return None


def items_of(words: Sequence[Word], *, style: Style) -> list[Item]:
    """Sorts words into items; the longest reading of each wins."""
    words = _unglued(words, style=style)
    items: list[Item] = []
    start = 0
    while start < len(words):
        if _LEADER.match(words[start].text):
            start += 1
            continue
        item = _item(words, start=start, style=style)
        items.append(item)
        start += len(item.words)
    return items


def _item(words: Sequence[Word], *, start: int, style: Style) -> Item:
    for count in range(min(5, len(words) - start), 0, -1):
        part = tuple(words[start : start + count])
        text = _trimmed(" ".join(word.text for word in part))
        if count <= 3 and (date := _date(text, style=style)):
            return Item(kind="date", words=part, date=date)
        limits = read_range(text, comma=style.comma)
        if limits is not None:
            number = read_number(text.replace(" ", ""), comma=style.comma)
            return Item(kind="range" if number is None else "number", words=part, limits=limits, number=number)
        if count <= 4 and (unit := ucum_of(text)):
            return Item(kind="unit", words=part, unit=unit)
    return _single(words[start], style=style)


def _single(word: Word, *, style: Style) -> Item:
    text = _trimmed(word.text)
    if text.lower() in _MISSING and text != "-":
        return Item(kind="missing", words=(word,))
    if text.lower() in _QUALITIES:
        return Item(kind="quality", words=(word,))
    if _LOINC.match(text) and has_check_digit(text):
        return Item(kind="code", words=(word,))
    if number := read_number(text, comma=style.comma):
        return Item(kind="number", words=(word,), number=number)
    if flag := _FLAGS.get(text.lower()):
        return Item(kind="flag", words=(word,), flag=flag)
    if text.lower() in _MISSING:
        return Item(kind="missing", words=(word,))
    return Item(kind="word", words=(word,))


def has_check_digit(code: str) -> bool:
    """Whether the last digit of a LOINC code is the one that its others give (Luhn).

    Example:
        >>> has_check_digit("718-7"), has_check_digit("718-8")
        (True, False)
    """
    digits, _, check = code.partition("-")
    total = 0
    for place, char in enumerate(reversed(digits)):
        double = int(char) * 2 if place % 2 == 0 else int(char)
        total += double // 10 + double % 10
    return check.isdigit() and (10 - total % 10) % 10 == int(check)


def _unglued(words: Sequence[Word], *, style: Style) -> list[Word]:
    """Parts ``13.2g/dL``, ``13.2*`` and ``↑13.2`` into two words."""
    parted: list[Word] = []
    for word in words:
        text = _trimmed(word.text)
        cuts = _cuts(text, style=style)
        if not cuts:
            parted.append(word)
            continue
        step, place = (word.x1 - word.x0) / max(len(text), 1), word.x0
        for piece in cuts:
            parted.append(Word(piece, place, word.y0, place + step * len(piece), word.y1, word.score))
            place += step * len(piece)
    return parted


def _cuts(text: str, *, style: Style) -> list[str]:
    if read_number(text, comma=style.comma) or read_range(text, comma=style.comma) or _date(text, style=style):
        return []
    if ucum_of(text) or (_LOINC.match(text) and has_check_digit(text)):
        return []
    if match := _FLAGGED.match(text):
        pieces = [piece for piece in match.groups() if piece]
        return pieces if len(pieces) > 1 else []
    for pattern in (_GLUED, _JOINED):
        if (match := pattern.match(text)) and ucum_of(match[2]):
            return [match[1], match[2]]
    unit, opening, rest = text.partition("(")
    if opening and rest and ucum_of(unit):
        return [unit, opening + rest]
    return []


def _date(text: str, *, style: Style) -> dt.date | None:
    if not any(char.isdigit() for char in text) or len(text) < 6:
        return None
    found = find_dates(text, order=style.dates)
    return found[0][2] if found and found[0][:2] == (0, len(text)) else None


def _trimmed(text: str) -> str:
    """Without the punctuation that follows a word in running text."""
    text = text[:-1] if text.endswith(").") else text
    return text.rstrip(";,:") if len(text) > 1 else text
