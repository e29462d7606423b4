"""Splitting a report into sections and sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator

_HEADING = re.compile(
    r"^\W*(technique|comparison|indication|history|findings|impression|conclusion|recommendation)s?\W*:\s*",
    re.IGNORECASE,
)
_BARE_HEADING = re.compile(
    r"^\W*(technique|comparison|indication|history|findings|impression|conclusion|recommendation)s?\W*$", re.IGNORECASE
)
_BULLET = re.compile(r"^\s*(?:[-*\u2022]+|\(?\d{1,2}[.)])\s+")
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(])")
_SHORT = re.compile(r"(?:\b(?:Dr|No|vs|approx|ca|cf|e\.g|i\.e|Fig|St)|\b[A-Z])\.$")
_SECTIONS = {"conclusion": "impression", "finding": "findings", "history": "indication"}


def split_report(text: str, *, first: str = "findings") -> Iterator[tuple[str, str]]:
    """Yields pairs of a section and a sentence; what stands before the first heading belongs to ``first``.

    Example:
        >>> list(split_report("The heart is 5.2 cm wide. Clear lungs.\\nImpression: Normal."))
        [('findings', 'The heart is 5.2 cm wide.'), ('findings', 'Clear lungs.'), ('impression', 'Normal.')]
    """
    section = first
    for line in text.splitlines():
        bare, heading = _BARE_HEADING.match(line), _HEADING.match(line)
        if bare is not None:
            section = _section(bare[1])
            continue
        if heading is not None:
            section = _section(heading[1])
            line = line[heading.end() :]
        line = _BULLET.sub("", line).strip(" *#")
        for sentence in _sentences(line):
            yield section, sentence


def _section(word: str) -> str:
    lowered = word.lower()
    return _SECTIONS.get(lowered, lowered)


def _sentences(line: str) -> Iterator[str]:
    held = ""
    for piece in _END.split(line):
        held = f"{held} {piece}".strip()
        if held and not _SHORT.search(held):
            yield held
            held = ""
    if held:
        yield held
