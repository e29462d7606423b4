"""Words that may stay in a description: they say how or of what an image is, never of whom.

Descriptions are cleaned by a list of what is allowed, not of what is forbidden: a name that no
list knows is dropped like any other unknown word. The words come from the meanings of the codes
of the DICOM standard, which pydicom carries, and from ``deidentify_words.txt``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any


def _listed(section: str) -> frozenset[str]:
    """The words of a section of ``deidentify_words.txt``."""
    text = (files("osler.tasks") / "deidentify_words.txt").read_text(encoding="utf-8")
    body = text.split(f"[{section}]\n")[1].split("\n[")[0]
    return frozenset(word for line in body.splitlines() if not line.startswith("#") for word in line.split())


MARKERS = _listed("markers")
_WORD = re.compile(r"[^\W_]+(?:['/-][^\W_]+)*")
# Slice thickness, kernels and echo times; not telephone numbers, years or ids.
_NUMBER = re.compile(r"\d{1,3}([.,]\d{1,3})?(mm|cm|ms|s|t|kv|ma|mas)?", re.IGNORECASE)
_LONGEST_MEANING = 60


@cache
def allowed_words() -> frozenset[str]:
    """Returns the words, in lower case."""
    from pydicom.sr._concepts_dict import concepts

    words = set(_listed("protocol")) | {marker.lower() for marker in MARKERS}
    for scheme in ("DCM", "SCT"):
        for meaning in _meanings(concepts.get(scheme, {})):
            if len(meaning) <= _LONGEST_MEANING:
                words.update(word.lower() for word in re.findall(r"[A-Za-z]{3,}", meaning))
    return frozenset(words - _listed("surnames"))


def _meanings(tree: Any) -> Iterator[str]:
    for codes in tree.values():
        for entry in codes.values():
            yield str(entry[0])


def cleaned_text(text: str, *, forbidden: frozenset[str] = frozenset()) -> str:
    """Keeps the allowed words and short numbers of a description.

    Args:
        text: The description.
        forbidden: Words in lower case that must go although they are allowed: parts of names.

    Example:
        >>> cleaned_text("CT Chest Miller 5mm 0171-555")
        'CT Chest 5mm'
    """
    kept = []
    for match in _WORD.finditer(text):
        word = match.group()
        lower = word.lower()
        parts = [part for part in re.split(r"[/'-]", lower) if part]
        good = all(part in allowed_words() or _NUMBER.fullmatch(part) for part in parts)
        if good and not forbidden & {lower, *parts} and sum(bool(_NUMBER.fullmatch(part)) for part in parts) <= 1:
            kept.append(word)
    return " ".join(kept)
