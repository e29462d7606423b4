"""Noticing a question that does not fit the data.

A CT asked about as an X-ray is answered like an X-ray by most models. Osler
answers too, and says that the two do not fit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from osler.study import Study

_KINDS = {
    "CR": "X-ray", "DX": "X-ray", "DR": "X-ray", "RG": "X-ray", "MG": "X-ray", "PX": "X-ray", "IO": "X-ray",
    "CT": "CT", "MR": "MR", "PT": "PET", "US": "ultrasound", "SM": "pathology", "GM": "pathology",
}  # fmt: skip
_WORDS = {
    "X-ray": re.compile(r"\bx[- ]?rays?\b|\bradiographs?\b|\bcxrs?\b|\bmammogra(?:m|ms|phy)\b", re.IGNORECASE),
    "CT": re.compile(r"\bCTs?\b|(?i:\bcomputed tomograph(?:y|ies)\b|\bct scans?\b)"),
    "MR": re.compile(r"\bMR\b|(?i:\bmris?\b|\bmr scans?\b|\bmagnetic resonance\b)"),
    "PET": re.compile(r"\bPET\b"),
    "ultrasound": re.compile(r"\bultrasounds?\b|\bsonogra(?:m|ms|phy)\b", re.IGNORECASE),
    "pathology": re.compile(
        r"\bhistolog\w*\b|\bpathology slides?\b|\bwhole[- ]slide\b|\bmicroscop\w*\b", re.IGNORECASE
    ),
}

_HOUNSFIELD = re.compile(r"\bHU\b|(?i:\bhounsfield\b)")


def named_kinds(question: str) -> frozenset[str]:
    """Returns the kinds of imaging that a question names."""
    return frozenset(kind for kind, words in _WORDS.items() if words.search(question))


def kinds_of(modalities: Sequence[str]) -> frozenset[str]:
    """Returns the kinds of imaging behind DICOM modalities; unknown ones are left out."""
    return frozenset(_KINDS[modality] for modality in modalities if modality in _KINDS)


def scope_warnings(question: str, *, study: Study | None, modalities: Sequence[str]) -> tuple[str, ...]:
    """Says where question and data do not fit.

    Args:
        question: As asked.
        study: The study, ``None`` for a question without one.
        modalities: DICOM modalities of the series shown, empty text where unknown.
    """
    named = named_kinds(question)
    if not modalities:
        if study is not None or not named:
            return ()
        return (f"The question speaks of {_listed(named)}, but no image was given.",)
    known = kinds_of(modalities)
    if named and known and "" not in modalities and not named & known:
        return (f"The question speaks of {_listed(named)}, but the data is {_listed(known)}.",)
    if known and "" not in modalities and "CT" not in known and _HOUNSFIELD.search(question):
        return (f"The question speaks of Hounsfield units, but the data is {_listed(known)}: only CT has them.",)
    return ()


def _listed(kinds: frozenset[str]) -> str:
    return " and ".join(sorted(kinds))
