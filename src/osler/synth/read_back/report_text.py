"""A report's text into sections and sentences.

Every pattern here runs in linear time: reports may be 100,000 characters of anything.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from osler.synth.read_back.lexicon import Language

_HEADINGS: dict[str, tuple[str, ...]] = {
    "indication": (
        "indication",
        "clinical indication",
        "clinical information",
        "clinical history",
        "history",
        "clinical data",
        "reason for exam",
        "reason for examination",
        "reason for study",
        "reason",
        "clinical question",
        "clinical details",
        "clinical context",
        "klinische angaben",
        "indikation",
        "fragestellung",
        "klinik",
        "anamnese",
        "rechtfertigende indikation",
    ),
    "technique": (
        "technique",
        "procedure",
        "protocol",
        "examination",
        "exam",
        "exam type",
        "study",
        "method",
        "scan technique",
        "acquisition",
        "technik",
        "methode",
        "untersuchung",
        "untersuchungstechnik",
    ),
    "comparison": (
        "comparison",
        "comparisons",
        "compared with",
        "prior studies",
        "prior",
        "priors",
        "previous",
        "comparison study",
        "previous imaging",
        "vergleich",
        "voraufnahmen",
        "voruntersuchung",
        "voruntersuchungen",
    ),
    "findings": (
        "findings",
        "finding",
        "report",
        "observations",
        "description",
        "results",
        "microscopy",
        "microscopic description",
        "microscopic findings",
        "body of report",
        "befund",
        "befunde",
        "beschreibung",
        "mikroskopie",
    ),
    "impression": (
        "impression",
        "conclusion",
        "conclusions",
        "opinion",
        "summary",
        "assessment",
        "interpretation",
        "diagnosis",
        "final diagnosis",
        "imp",
        "bottom line",
        "key points",
        "beurteilung",
        "zusammenfassung",
        "diagnose",
        "fazit",
    ),
    "recommendation": (
        "recommendation",
        "recommendations",
        "advice",
        "follow-up recommendation",
        "empfehlung",
    ),
}
_SECTION_OF = {name: section for section, names in _HEADINGS.items() for name in names}
_ALL = "|".join(sorted((re.escape(name) for name in _SECTION_OF), key=len, reverse=True))
_HEADING = re.compile(
    rf"(?:^|(?<=[.!?\n]))[ \t#*_\-=>]{{0,8}}({_ALL})[ \t]{{0,3}}(?:\*\*|__)?[ \t]{{0,3}}"
    r"(?::(?:\*\*|__)?|\.(?=[ \t]|$)|(?=[ \t]{0,3}[-=]{0,40}[ \t]{0,3}$)|[-–—](?=[ \t]))",
    re.MULTILINE,
)
_READ = frozenset({"findings", "impression", ""})
_BULLET = re.compile(r"^\s{0,20}(?:[-*•–—>+]+|\(?\d{1,2}[.)]|[a-z][.)]|\[[ x*+-]?\])\s+")
_ABBREVIATIONS = frozenset(
    {
        "approx",
        "vs",
        "dr",
        "no",
        "ca",
        "eg",
        "ie",
        "cf",
        "incl",
        "resp",
        "fig",
        "st",
        "max",
        "min",
        "ant",
        "post",
        "lat",
        "inf",
        "sup",
        "prof",
        "bzw",
        "ggf",
        "re",
        "li",
        "evtl",
        "sog",
        "a",
        "v",
        "aa",
        "z",
        "n",
    }
)
_ENDS = re.compile(r"(?<=[.!?])[\"')\]]{0,3}\s+|(?<=;)\s+")
_LAST_WORD = re.compile(r"([^\W\d_]{1,8})\.$")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060\ufeff]")
_DASHES = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "‐": "-", "‑": "-", "’": "'", "‘": "'", "“": '"', "”": '"', "×": "x", "·": "."}
)
_GERMAN = re.compile(
    r"\b(?:der|die|das|und|im|mit|ohne|nicht|kein\w{0,2}|befunde?|beurteilung|technik|vergleich|links|rechts|beidseits|"
    r"ist|am|ja|nein|eine?|zusammenfassung)\b"
)
_ENGLISH = re.compile(
    r"\b(?:the|of|and|no|is|with|without|findings|impression|technique|comparison|left|right|are|there|a|an|yes)\b"
)
_LONG_LINE = 60


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence in lower case, with the name of its section and whether a new paragraph or list entry begins there."""

    text: str
    section: str
    opens: bool


def clean(text: str) -> str:
    """Lower case, one kind of dash, quote and line break, no control characters."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub(" ", text).translate(_DASHES).lower()


def sections(text: str) -> list[tuple[str, str]]:
    """Splits cleaned text at its headings.

    Args:
        text: Of `clean`.

    Returns:
        (section, text) in order; what stands before the first heading is ``"title"``, or
        ``""`` if there is no heading at all.
    """
    marks = [(match.start(), match.end(), _SECTION_OF[match[1]]) for match in _HEADING.finditer(text)]
    if not marks:
        return [("", text)]
    parts = [("title", text[: marks[0][0]])]
    for (_, start, name), following in zip(marks, [*(mark[0] for mark in marks[1:]), len(text)], strict=True):
        parts.append((name, text[start:following]))
    return parts


def is_read(section: str) -> bool:
    """Whether findings are taken from a section; reasons and techniques name what is not (yet) found."""
    return section in _READ


def sentences(section: str, *, text: str) -> Iterator[Sentence]:
    """Splits a section into sentences.

    A line ends a sentence if it is a list entry, a paragraph, or short; a long line without
    a full stop was wrapped, and goes on.
    """
    waiting: list[str] = []
    opens = True
    for line in text.split("\n"):
        bullet = _BULLET.match(line)
        bare = line[bullet.end() :].strip() if bullet else line.strip()
        if waiting and (bullet or not bare or not _goes_on(waiting[-1])):
            yield from _split(" ".join(waiting), section=section, opens=opens)
            waiting, opens = [], False
        opens = opens or bool(bullet) or not bare
        if bare:
            waiting.append(bare)
    if waiting:
        yield from _split(" ".join(waiting), section=section, opens=opens)


def _goes_on(line: str) -> bool:
    return line[-1] == "," or (line[-1] not in ".;:!?" and len(line) >= _LONG_LINE)


def _split(text: str, *, section: str, opens: bool) -> Iterator[Sentence]:
    start = 0
    for end in _ENDS.finditer(text):
        piece = text[start : end.start()]
        last = _LAST_WORD.search(piece[-10:])
        if last and last[1] in _ABBREVIATIONS:
            continue
        yield Sentence(piece.strip(), section, opens)
        start, opens = end.end(), False
    if text[start:].strip():
        yield Sentence(text[start:].strip(), section, opens)


def language_of(text: str) -> Language:
    """English or German, by the commonest small words of the first 3,000 characters."""
    head = text[:3000]
    return "de" if len(_GERMAN.findall(head)) > len(_ENGLISH.findall(head)) else "en"
