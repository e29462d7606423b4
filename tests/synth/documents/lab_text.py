"""Reads laboratory values back from the text layer of a PDF, knowing the names of tests and nothing else."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from dataclasses import dataclass

import pypdfium2
import pypdfium2.raw as raw

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
    """The text layer of all pages, in the order of the content, one line a baseline."""
    document = pypdfium2.PdfDocument(pdf)
    lines = "\n".join(_page_text(page.get_textpage()) for page in document)
    document.close()
    return unicodedata.normalize("NFC", lines).replace("\u03bc", "µ")


def _page_text(page: pypdfium2.PdfTextPage) -> str:
    """pdfium's own lines follow guesses about columns; here a line ends where the baseline changes."""
    text, before, right = "", None, 0.0
    for index in range(page.count_chars()):
        character = chr(raw.FPDFText_GetUnicode(page, index))
        if raw.FPDFText_IsGenerated(page, index) or character in "\r\n":
            continue
        x, y = ctypes.c_double(), ctypes.c_double()
        raw.FPDFText_GetCharOrigin(page, index, x, y)
        if before is not None and abs(y.value - before) > 0.5:
            text += "\n"
        elif x.value - right > 1.0:
            text += " "
        before, right = y.value, max(page.get_charbox(index, loose=True)[2], x.value)
        text += character
    return re.sub(" +", " ", text)


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
        name = max((name for name in names if line.startswith(f"{name} ")), key=len, default="")
        cells = re.sub("[↑↓]", "", line).split()
        if name and len(cells) > dates:
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
