"""Codes for what an answer names: from DICOM's dictionaries where they hold the words, else Osler's private ones."""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Any

from osler.extras import import_extra
from osler.writers.text import printable

PRIVATE_SCHEME = "99OSLER"
_LONG_STRING = 64
_SPACES = re.compile(r"\s+")


def short_text(text: str, *, limit: int = _LONG_STRING) -> str:
    """Fits a text into a DICOM string: one line, no backslash (it parts values), at most ``limit`` characters."""
    line = _SPACES.sub(" ", printable(text).replace("\\", "/")).strip()
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def code_for(label: str, *, code: str = "") -> Any:
    """Returns the coded concept of a label.

    Args:
        label: In words, such as ``"pleural effusion"``.
        code: A code that came with it: digits are SNOMED CT, ``RID`` and digits RadLex.

    Returns:
        A `highdicom.sr.CodedConcept`; in the private scheme ``99OSLER`` where no dictionary knows the words.
    """
    sr = import_extra("highdicom.sr", extra="dicom")
    meaning = short_text(label) or "unnamed"
    if code.isdigit() and 6 <= len(code) <= 16:
        return sr.CodedConcept(code, "SCT", meaning)
    if re.fullmatch(r"RID\d{1,12}", code):
        return sr.CodedConcept(code, "RADLEX", meaning)
    known = _known_concepts().get(_bare(label))
    if known is not None:
        return sr.CodedConcept(known[0], "SCT", short_text(known[1]))
    return private_code(label)


def private_code(label: str) -> Any:
    """Returns a concept of Osler's own scheme: the same words give the same code."""
    sr = import_extra("highdicom.sr", extra="dicom")
    digest = hashlib.sha256(_bare(label).encode("utf-8", "replace")).hexdigest()[:12].upper()
    return sr.CodedConcept(f"OS{digest}", PRIVATE_SCHEME, short_text(label) or "unnamed")


def _bare(label: str) -> str:
    return _SPACES.sub(" ", printable(label)).strip().casefold()


@functools.cache
def _known_concepts() -> dict[str, tuple[str, str]]:
    """SNOMED CT codes that DICOM's context groups use, by their meaning in lower case."""
    from pydicom.sr._concepts_dict import concepts

    found: dict[str, tuple[str, str]] = {}
    for by_code in concepts["SCT"].values():
        for code, (meaning, _groups) in by_code.items():
            found.setdefault(meaning.casefold(), (code, meaning))
    return found
