"""Reads laboratory values back from the text layer of a PDF, knowing the names of tests and nothing else."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import pypdfium2

_NUMBER = r"\d+(?:\.\d+)?"
_RANGE = re.compile(rf"(?P<low>{_NUMBER}) - (?P<high>{_NUMBER})|<= (?P<most>{_NUMBER})|>= (?P<least>{_NUMBER})")
_FLAGS = {"H": "high", "L": "low", "HIGH": "high", "LOW": "low", "↑": "high", "↓": "low", "*": "abnormal"}


@dataclass(frozen=True)
class ReadValue:
    """What the text layer says of one test."""

    value: float
    unit: str
    low: float | None
    high: float | None
    flag: str


def pdf_text(pdf: bytes) -> str:
    """The text layer of all pages, with compatible characters made one (µ)."""
    document = pypdfium2.PdfDocument(pdf)
    pages = [page.get_textpage().get_text_range() for page in document]
    document.close()
    return unicodedata.normalize("NFC", "\n".join(pages)).replace("\r\n", "\n").replace("\u03bc", "µ")


def read_rows(text: str, *, names: list[str]) -> dict[str, ReadValue]:
    """One row a test: name, value, and flag, unit and range behind it in any order."""
    found = {}
    for line in text.splitlines():
        for name in names:
            match = re.match(rf"{re.escape(name)}[ .]*? (?P<value>{_NUMBER})(?P<rest>(?: .*)?)$", line, re.IGNORECASE)
            if match:
                assert name not in found, f"{name} stands there twice"
                found[name] = _value(match["value"], rest=match["rest"])
    return found


def read_letter(text: str, *, names: list[str]) -> dict[str, ReadValue]:
    """Running text: name, value, unit, range in parentheses and flag, ended by a semicolon or a period."""
    flat = " ".join(" ".join(line for line in text.splitlines() if not line.startswith("Synthetic")).split())
    found = {}
    for name in names:
        pattern = rf"(?:: |; ){re.escape(name)} (?P<value>{_NUMBER})(?P<rest>.*?)(?:;|\.(?: |$))"
        matches = list(re.finditer(pattern, flat))
        assert len(matches) <= 1, f"{name} stands there twice"
        if matches:
            found[name] = _value(matches[0]["value"], rest=matches[0]["rest"].replace("(", " ").replace(")", " "))
    return found


def read_cumulative(text: str, *, names: list[str]) -> dict[str, list[float | None]]:
    """Rows of name, unit, range and one value a date, ``--`` where there is none."""
    dates = len(
        re.findall(r"\b\d\d\.\d\d\.\d\d\b", next(line for line in text.splitlines() if line.startswith("Test ")))
    )
    found = {}
    for line in text.splitlines():
        for name in names:
            if line.startswith(f"{name} ") and len(cells := re.sub("[↑↓]", "", line).split()) > dates:
                found[name] = [None if cell == "--" else float(cell) for cell in cells[-dates:]]
    return found


def _value(value: str, *, rest: str) -> ReadValue:
    words = _RANGE.sub(" ", rest).split()
    limits = _RANGE.search(rest)
    low = high = None
    if limits:
        low = limits["low"] or limits["least"]
        high = limits["high"] or limits["most"]
    flags = [_FLAGS[word] for word in words if word in _FLAGS]
    loinc = r"\d+-\d"
    unit = " ".join(word for word in words if word not in _FLAGS and not re.fullmatch(loinc, word))
    return ReadValue(
        value=float(value),
        unit=unit,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
        flag=flags[0] if flags else "normal",
    )
