"""The parts that FHIR resources share: texts, codes, dates, quantities. Bad parts give nothing, never an exception."""

from __future__ import annotations

import datetime as dt
import math
import re
from dataclasses import dataclass
from typing import Any

from osler.study import Precision

Json = dict[str, Any]

MOST_CHARACTERS = 300
"""Longest name or text value of an event; the rest is cut, with an ellipsis."""

_SYSTEMS = {
    "http://loinc.org": "LOINC",
    "http://snomed.info/sct": "SNOMED",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://hl7.org/fhir/sid/icd-10": "ICD-10",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD-10-CM",
    "http://fhir.de/CodeSystem/bfarm/icd-10-gm": "ICD-10-GM",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD-9-CM",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://www.whocc.no/atc": "ATC",
    "http://www.ama-assn.org/go/cpt": "CPT",
}
_PREFERRED = ("LOINC", "SNOMED", "RxNorm", "ICD-10", "ICD-10-CM", "ICD-10-GM", "CVX", "ATC")
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2})(?:T(\d{2}:\d{2}(?::\d{2})?)\S*)?)?)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class When:
    """A FHIR date: its day as written, how much of it was given, and a text that orders one day's entries."""

    date: dt.date | None = None
    precision: Precision = "day"
    order: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Coded:
    """A name and the code that goes with it."""

    name: str = ""
    code: str = ""
    system: str = ""


def clean(value: Any, *, most: int = MOST_CHARACTERS) -> str:
    """A text on one line, without control characters and half characters, cut to ``most``."""
    if not isinstance(value, str):
        return ""
    text = " ".join("".join(c if c.isprintable() else " " for c in value[: 4 * most]).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def clean_text(value: Any, *, most: int) -> str:
    """A text of several lines, without control characters and half characters."""
    if not isinstance(value, str):
        return ""
    return "".join(c for c in value[:most].replace("\r\n", "\n") if c in "\n\t" or c.isprintable()).strip()


def dicts(value: Any) -> list[Json]:
    """The objects in a list; a single object counts as a list of one."""
    if isinstance(value, dict):
        return [value]
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def part(resource: Json, name: str) -> Json:
    """The object under a name, empty if there is none."""
    value = resource.get(name)
    return value if isinstance(value, dict) else {}


def coded(concept: Any) -> Coded:
    """Name and code of a CodeableConcept; the code of the best known system."""
    if not isinstance(concept, dict):
        return Coded()
    best, rank = Coded(), len(_PREFERRED) + 1
    display = ""
    for coding in dicts(concept.get("coding")):
        url = clean(coding.get("system"))
        system = _SYSTEMS.get(url, url)
        code, shown = clean(coding.get("code"), most=80), clean(coding.get("display"))
        display = display or shown
        place = _PREFERRED.index(system) if system in _PREFERRED else len(_PREFERRED)
        if code and place < rank:
            best, rank = Coded(shown, code, system), place
    name = clean(concept.get("text")) or best.name or display or best.code
    return Coded(name, best.code, best.system)


def codes(value: Any) -> set[str]:
    """All codes of a CodeableConcept or a list of them, or of a plain code, lower case."""
    if isinstance(value, str):
        return {value.lower()}
    found = {clean(coding.get("code")).lower() for one in dicts(value) for coding in dicts(one.get("coding"))}
    return (found | {clean(one.get("text")).lower() for one in dicts(value)}) - {""}


def when(value: Any) -> When:
    """Reads a date, dateTime or instant; the day is the one written, in the zone written."""
    if value is None:
        return When()
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return When(problem="its date is no FHIR date")
    year, month, day, time = match.groups()
    try:
        date = dt.date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return When(problem="its date is not in the calendar")
    precision: Precision = "day" if day else "month" if month else "year"
    return When(date, precision, time or "")


def first_when(resource: Json, *names: str) -> When:
    """The first date that is given under these names; ``a.b`` looks into an object."""
    problem = ""
    for name in names:
        outer, _, inner = name.partition(".")
        value = part(resource, outer).get(inner) if inner else resource.get(outer)
        found = when(value)
        if found.date is not None:
            return found
        problem = problem or found.problem
    return When(problem=problem)


def number(value: Any) -> float | None:
    """A finite number; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def unit_of(quantity: Json) -> str:
    """The unit: the UCUM code where there is one, else as written."""
    if "unitsofmeasure" in clean(quantity.get("system")) and clean(quantity.get("code")):
        return clean(quantity.get("code"), most=60)
    return clean(quantity.get("unit"), most=60) or clean(quantity.get("code"), most=60)
