"""Whether two files speak of the same patient, told from hashes.

Names and numbers are hashed as soon as they are read. A number tells two
patients apart only against another number of the same issuer; a birth date
against any birth date.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from osler.errors import PatientMixError

Verdict = Literal["same", "different", "cannot tell"]
Mixing = Literal["refuse", "allow"]
_DICOM = "dicom"
MIXED = "Files of different patients were put together on request: nothing here is about one patient."
UNTIED = (
    "Nothing but their place ties the record to the images: no number of the patient is in both. Check whose they are."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identity:
    """What tells a patient apart; hashes only.

    Args:
        numbers: Issuer -> numbers that it gave.
        dicom: Keys that a DICOM file of this patient could have.
        birth: Of the whole date of birth; empty if unknown.
    """

    numbers: Mapping[str, frozenset[str]]
    dicom: frozenset[str] = frozenset()
    birth: str = ""

    @property
    def key(self) -> str:
        """One opaque key, the same for the same identity."""
        parts = [f"{issuer}={number}" for issuer, all_ in self.numbers.items() for number in all_]
        return hashed(*sorted(parts), *sorted(self.dicom)) if parts or self.dicom else ""


def hashed(*parts: str) -> str:
    """The hash that stands for what identifies a patient; never shown."""
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:24]


def birth_key(text: str) -> str:
    """The hash of a whole date of birth, from ``YYYYMMDD`` or ``YYYY-MM-DD``; empty for less."""
    digits = text.replace("-", "").strip()
    return hashed("birth", digits) if len(digits) == 8 and digits.isdigit() else ""


def dicom_identity(key: str, *, birth: str = "") -> Identity:
    """The identity that a DICOM header gives."""
    return Identity(numbers={_DICOM: frozenset({key})} if key else {}, dicom=frozenset({key} - {""}), birth=birth)


def dicom_identities(files: Iterable[tuple[str, str]]) -> dict[Identity, int]:
    """The patients of DICOM files, and how many files each has.

    Args:
        files: Key of the patient and of the birth date of each file, either empty where the file gives none.
    """
    births: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for key, birth in files:
        if key:
            counts[key] += 1
            births[key] = births.get(key) or birth
    return {dicom_identity(key, birth=births[key]): count for key, count in counts.items()}


def fhir_identity(patient: Mapping[str, Any]) -> Identity:
    """The identity that a FHIR Patient resource gives."""
    numbers: dict[str, set[str]] = {}
    dicom: set[str] = set()
    for identifier in _dicts(patient.get("identifier")):
        system, value = _text(identifier.get("system")), _text(identifier.get("value"))
        if not value:
            continue
        assigner = identifier.get("assigner")
        issuer = _text(assigner.get("display")) if isinstance(assigner, dict) else ""
        numbers.setdefault(hashed("issuer", system or issuer), set()).add(hashed(value))
        dicom |= {hashed(value, ""), hashed(value, system), hashed(value, issuer)}
    birth = _text(patient.get("birthDate"))
    for name in _dicts(patient.get("name")):
        given = name.get("given")
        parts = [_text(name.get("family")), *(_text(part) for part in given[:1])] if isinstance(given, list) else []
        if all(parts) and parts:
            written = "^".join(parts)
            dicom |= {hashed(text, birth.replace("-", "")) for text in (written, written.upper())}
    return Identity(
        numbers={issuer: frozenset(all_) for issuer, all_ in numbers.items()},
        dicom=frozenset(dicom),
        birth=birth_key(birth),
    )


def compare(one: Identity, other: Identity) -> Verdict:
    """Tells whether two identities are one patient."""
    shared = one.numbers.keys() & other.numbers.keys()
    # Two records of a namesake born on the same day share a possible DICOM key, and are two patients.
    crossed = (_DICOM in one.numbers) != (_DICOM in other.numbers)
    if any(one.numbers[issuer] & other.numbers[issuer] for issuer in shared) or (crossed and one.dicom & other.dicom):
        return "same"
    if shared or (one.birth and other.birth and one.birth != other.birth):
        return "different"
    return "cannot tell"


def groups(identities: Iterable[Identity]) -> list[Identity]:
    """One identity for each patient that is surely another than those before it."""
    found: list[Identity] = []
    for identity in identities:
        if all(compare(identity, other) == "different" for other in found):
            found.append(identity)
    return found


def require_one_patient(
    shown: Mapping[Identity, int], recorded: Sequence[Identity], *, mixing: Mixing
) -> tuple[str, ...]:
    """Checks that images and record of one opening are one patient's; returns what is to be said.

    Args:
        shown: Whose images there are, and in how many files.
        recorded: Whose record entries there are.
        mixing: Whether different patients are refused.

    Raises:
        PatientMixError: If they are surely of several patients.
    """
    verdicts = {compare(one, other) for one in shown for other in recorded}
    problem = ""
    if len(shown) > 1:
        numbers = ", ".join(str(count) for count in shown.values())
        problem = f"The files belong to {len(shown)} patients ({numbers} files)."
    elif len(recorded) > 1:
        problem = f"The record holds entries of {len(recorded)} patients."
    elif "different" in verdicts:
        problem = "The images and the record belong to different patients."
    if problem and mixing != "allow":
        raise PatientMixError(
            problem,
            allowed="One patient at a time.",
            next_step="Open the folder of one patient, or, for research, allow mixed patients.",
        )
    if problem:
        return (f"{problem} {MIXED}",)
    return (UNTIED,) if "cannot tell" in verdicts else ()


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
