"""How laboratory tests are called in sentences, by LOINC code."""

from __future__ import annotations

import re

from osler.study import ClinicalEvent

_CALLED = {
    "1988-5": ("crp", "c-reactive protein", "c reactive protein"),
    "6690-2": ("wbc", "white blood cell count", "white cell count", "leukocytes", "leucocytes"),
    "718-7": ("hemoglobin", "haemoglobin", "hb", "hgb"),
    "777-3": ("platelets", "platelet count", "plt"),
    "2160-0": ("creatinine",),
    "33914-3": ("egfr", "gfr"),
    "4548-4": ("hba1c", "hemoglobin a1c"),
    "2345-7": ("glucose",),
    "2823-3": ("potassium",),
    "2951-2": ("sodium",),
    "1742-6": ("alt", "alanine aminotransferase"),
    "1920-8": ("ast", "aspartate aminotransferase"),
    "1975-2": ("bilirubin", "total bilirubin"),
    "3040-3": ("lipase",),
    "48065-7": ("d-dimer", "d dimer"),
    "2532-0": ("ldh", "lactate dehydrogenase"),
    "33762-6": ("nt-probnp", "ntprobnp"),
    "42637-9": ("bnp",),
    "6598-7": ("troponin", "troponin t"),
    "2703-7": ("po2", "pao2"),
    "2019-8": ("pco2", "paco2"),
    "75241-0": ("procalcitonin", "pct"),
}
"""Abbreviations as clinicians write them; codes from loinc.org."""
_NUMBER = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)(?![\w.]*\d)")
_AFTER = 60


def called(event: ClinicalEvent) -> tuple[str, ...]:
    """Returns the names under which a sentence may speak of an observation."""
    own = re.sub(r"\s*[\[(].*", "", event.name).strip().casefold()
    names = (*_CALLED.get(event.code, ()), own)
    if not event.code:
        names += next((group for group in _CALLED.values() if own in group), ())
    return tuple(dict.fromkeys(name for name in names if len(name) > 1))


def stated_values(sentence: str, *, event: ClinicalEvent) -> tuple[float, ...] | None:
    """Returns the numbers that a sentence gives close behind the name of a test; ``None`` if it is not named."""
    lowered = sentence.casefold()
    for name in called(event):
        match = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", lowered)
        if match is not None:
            behind = lowered[match.end() : match.end() + _AFTER]
            return tuple(float(number) for number in _NUMBER.findall(behind))
    return None


def agrees(stated: float, value: float, *, tolerance: float = 0.05) -> bool:
    """Whether a stated number is a value of the record, but for rounding (5% at most)."""
    return abs(stated - value) <= tolerance * abs(value)
