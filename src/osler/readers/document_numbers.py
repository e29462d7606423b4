"""Numbers as laboratories print them: decimal commas, thousands, comparators, reference ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Comparator = Literal["", "<", "<=", ">", ">="]
Comma = Literal["decimal", "thousands", "unknown"]

_DASH = "-\u2010\u2011\u2012\u2013\u2014\u2212"
_NUMBER = r"\d{1,3}(?:[’'.,]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?"
_VALUE = re.compile(rf"^(<=|>=|=<|=>|≤|≥|⩽|⩾|<|>)?\s*([{_DASH}+]?(?:{_NUMBER}))$")
_COMPARATORS: dict[str, Comparator] = {
    "≤": "<=", "⩽": "<=", "=<": "<=", "<=": "<=", "≥": ">=", "⩾": ">=", "=>": ">=", ">=": ">=", "<": "<", ">": ">",
}  # fmt: skip
_RANGE = re.compile(rf"^({_NUMBER})\s*(?:[{_DASH}]|bis|to|\.\.)\s*({_NUMBER})$")
_SPECKED_RANGE = re.compile(r"^(\d+[.,]\d+)\s*[:÷]\s*(\d+[.,]\d+)$")
"""A dash with a speck above or below it; between decimals only, as whole numbers may be a time or a titer."""
_LIMIT_WORDS = {
    "bis": "<=",
    "up": "<=",
    "max": "<=",
    "max.": "<=",
    "ab": ">=",
    "min": ">=",
    "min.": ">=",
    "über": ">",
    "unter": "<",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A printed number.

    Args:
        value: What it says. comparator: Before it, or empty.
        decimals: Digits behind the decimal sign.
    """

    value: float
    comparator: Comparator = ""
    decimals: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedRange:
    """A printed reference range; either end may be open. ``decimals``: of its ends, the more of the two."""

    low: float | None = None
    high: float | None = None
    decimals: int = 0


def read_number(text: str, *, comma: Comma = "unknown") -> Number | None:
    """Reads one printed number, with its comparator.

    ``"1.234"`` and ``"1,234"`` can mean a thousand or a one: ``comma`` says what a comma is in
    this document (and so what a point is); where that is unknown, a point is a decimal point,
    and a comma before exactly three digits is refused.

    Example:
        >>> read_number("<0,3").value, read_number("1,234", comma="thousands").value, read_number("1,234")
        (0.3, 1234.0, None)
    """
    match = _VALUE.match(text.strip())
    if match is None:
        return None
    sign = -1.0 if match[2][0] in _DASH else 1.0
    plain = _plain(match[2].lstrip("+" + _DASH), comma=comma)
    if plain is None:
        return None
    decimals = len(plain.partition(".")[2])
    return Number(value=sign * float(plain), comparator=_COMPARATORS.get(match[1] or "", ""), decimals=decimals)


def read_range(text: str, *, comma: Comma = "unknown") -> PrintedRange | None:
    """Reads a printed reference range: ``"12.0 - 15.5"``, ``"(<= 5)"``, ``"> 60"``, ``"bis 5,0"``.

    Example:
        >>> read_range("(3,5–5,1)").high, read_range(">= 60").low, read_range("7.4")
        (5.1, 60.0, None)
    """
    text = text.strip().strip("()[]").strip()
    if match := _RANGE.match(text) or _SPECKED_RANGE.match(text):
        ends = [read_number(end, comma=comma) for end in match.groups()]
        if None in ends or ends[0].value > ends[1].value:  # type: ignore[union-attr]
            return None
        low, high = (end for end in ends if end is not None)
        return PrintedRange(low=low.value, high=high.value, decimals=max(low.decimals, high.decimals))
    first, _, rest = text.partition(" ")
    sign = _LIMIT_WORDS.get(first.lower())
    number = read_number(f"{sign}{rest.removeprefix('to ')}" if sign else text, comma=comma)
    if number is None or not number.comparator:
        return None
    if number.comparator.startswith("<"):
        return PrintedRange(high=number.value, decimals=number.decimals)
    return PrintedRange(low=number.value, decimals=number.decimals)


def comma_of(text: str) -> Comma:
    """Judges by a whole document what a comma between digits means in it.

    Example:
        >>> comma_of("Kalium 4,2 mmol/l"), comma_of("Platelets 1,250 and 4.1"), comma_of("no number")
        ('decimal', 'thousands', 'unknown')
    """
    commas = len(re.findall(r"(?<![\d.,])\d+,\d{1,2}(?![\d.,]*\d)", text)) + len(re.findall(r"(?<![\d.,])0,\d+", text))
    points = len(re.findall(r"(?<![\d.,])\d+\.\d{1,2}(?![\d.,]*\d)", text)) + len(
        re.findall(r"(?<![\d.,])0\.\d+", text)
    )
    if commas > 2 * points:
        return "decimal"
    return "thousands" if points > 2 * commas else "unknown"


def _plain(digits: str, *, comma: Comma) -> str | None:
    """Digits with a decimal point only; ``None`` where the signs are ambiguous."""
    digits = re.sub(r"[’']", "", digits)
    if "," in digits and "." in digits:
        decimal = max(",.", key=digits.rfind)
        other = "." if decimal == "," else ","
        return None if digits.count(decimal) > 1 else digits.replace(other, "").replace(decimal, ".")
    for sign, thousands in ((",", comma == "thousands"), (".", comma == "decimal")):
        if sign not in digits:
            continue
        grouped = re.fullmatch(rf"\d{{1,3}}(?:\{sign}\d{{3}})+", digits) is not None and not digits.startswith("0")
        if digits.count(sign) > 1:
            return digits.replace(sign, "") if grouped else None
        if grouped and thousands:
            return digits.replace(sign, "")
        if grouped and sign == "," and comma == "unknown":
            return None
        return digits.replace(sign, ".")
    return digits
