"""Dates as reports print them, in English and German."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Literal

DateOrder = Literal["day first", "month first", "unknown"]

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january januar jänner", "feb february februar", "mar march märz mär mrz maerz", "apr april", "may mai",
            "jun june juni", "jul july juli", "aug august", "sep sept september", "oct october okt oktober",
            "nov november", "dec december dez dezember",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
_WORDS = "|".join(sorted(_MONTHS, key=len, reverse=True))
_ISO = re.compile(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)")
_POINTS = re.compile(r"(?<![\d.])(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4}|\d{2})(?![\d.]*\d)")
_SLASHES = re.compile(r"(?<![\d/])(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})(?![\d/])")
_NAMED = re.compile(rf"(?<!\d)(\d{{1,2}})\.?[ -]?({_WORDS})\.?,?[ -]?(\d{{4}})(?!\d)", re.IGNORECASE)
_AMERICAN = re.compile(rf"\b({_WORDS})\.? (\d{{1,2}}),? (\d{{4}})(?!\d)", re.IGNORECASE)


def find_dates(text: str, *, order: DateOrder = "unknown") -> list[tuple[int, int, dt.date]]:
    """Finds the dates in a text.

    ``03/04/2020`` is ambiguous: it is taken only where ``order`` says what comes first, or
    one of the numbers is above 12.

    Returns:
        Start, end and date, in the order of the text.

    Example:
        >>> [str(date) for _, _, date in find_dates("am 5.1.24, 9 Jan 2000 und 2020-02-30")]
        ['2024-01-05', '2000-01-09']
    """
    found = sorted(_all(text, order=order), key=lambda one: (one[0], -one[1]))
    kept: list[tuple[int, int, dt.date]] = []
    for one in found:
        if not kept or one[0] >= kept[-1][1]:
            kept.append(one)
    return kept


def date_order(text: str) -> DateOrder:
    """Judges by the dates of a whole document with slashes whether the day or the month comes first."""
    pairs = [(int(match[1]), int(match[2])) for match in _SLASHES.finditer(text)]
    days, months = any(first > 12 for first, _ in pairs), any(second > 12 for _, second in pairs)
    if days == months:
        return "unknown"
    return "day first" if days else "month first"


def _all(text: str, *, order: DateOrder) -> Iterator[tuple[int, int, dt.date]]:
    for match in _ISO.finditer(text):
        yield from _made(match, match[1], match[2], match[3])
    for match in _POINTS.finditer(text):
        yield from _made(match, match[3], match[2], match[1])
    for match in _NAMED.finditer(text):
        yield from _made(match, match[3], str(_MONTHS[match[2].lower()]), match[1])
    for match in _AMERICAN.finditer(text):
        yield from _made(match, match[3], str(_MONTHS[match[1].lower()]), match[2])
    for match in _SLASHES.finditer(text):
        first, second = int(match[1]), int(match[2])
        if order == "day first" or (order == "unknown" and first > 12):
            yield from _made(match, match[3], match[2], match[1])
        elif order == "month first" or (order == "unknown" and second > 12):
            yield from _made(match, match[3], match[1], match[2])


def _made(match: re.Match[str], year: str, month: str, day: str) -> Iterator[tuple[int, int, dt.date]]:
    number = int(year)
    if len(year) == 2:
        number += 2000 if number < 70 else 1900
    try:
        date = dt.date(number, int(month), int(day))
    except ValueError:
        return
    yield match.start(), match.end(), date
