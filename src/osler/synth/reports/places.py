"""Where a finding is, in words: by site, side and whether the exam shows one knee."""

from __future__ import annotations

from functools import cache

import numpy as np

from osler.synth.anatomy import Site
from osler.synth.fact_table import SIDES
from osler.synth.ontology import load_ontology
from osler.synth.reports.phrase_files import read_rows

_SIDE_IN = {
    "en": {
        "left": [" on the left", " on the left side"],
        "right": [" on the right", " on the right side"],
        "both": [" bilaterally", " on both sides"],
        "midline": [" in the midline"],
        "none": [""],
    },
    "de": {
        "left": [" links"],
        "right": [" rechts"],
        "both": [" beidseits"],
        "midline": [" in der Mittellinie"],
        "none": [""],
    },
}
_SIDE_ATTRIBUTE = {"left": "left ", "right": "right ", "both": "bilateral ", "midline": "midline ", "none": ""}
_SHIFTED = {"en": " to the {}", "de": " nach {}"}  # of the midline
_KNEE = {"en": " of the {} knee", "de": " am {} Kniegelenk"}
_INFLECTED = {"left": "linken", "right": "rechten"}


def places(language: str) -> list[list[str]]:
    """By site (none, each, none in a knee) and side: where a finding is, with a leading space."""
    table, ontology = read_rows("sites.csv"), load_ontology()
    sides = _SIDE_IN[language]
    rows = [sides[side] for side in SIDES]
    for site in ontology.sites:
        row = table[site.key]
        texts = [f" {text}" for text in row[language].split("|")]
        if language == "en":
            texts.append(f" in {row['short']}" if row["short"] != row["short"].lower() else texts[0])
        for side in SIDES:
            rows.append(_sided(texts, side=side, site=site, language=language))
    return rows + [["", *_of_knee([""], side=side, language=language)] for side in SIDES]


def _sided(texts: list[str], *, side: str, site: Site, language: str) -> list[str]:
    if side in ("none", "midline") or side == site.side:
        return texts
    if site.key == "falx":
        return [_SHIFTED[language].format(_SIDE_IN[language][side][0].split()[-1])]
    if site.region == "knee":
        return texts + _of_knee(texts[:1], side=side, language=language)
    return [text + _SIDE_IN[language][side][0] for text in texts]


def apart(text: str, *, row: list[str]) -> str:
    """The place as it stands apart from the noun: "in the liver" where "of the liver" would not do."""
    return (row[0] if text.startswith(" of ") else text).strip()


def _of_knee(texts: list[str], *, side: str, language: str) -> list[str]:
    """Places in a knee; the side is that of the exam, so it need not be said again."""
    word = {"en": side, "de": _INFLECTED.get(side, "")}[language]
    return [text + _KNEE[language].format(word) for text in texts] if side in ("left", "right") else texts


def attributes(language: str) -> list[list[str]]:
    """As `places`, but before the noun: "right upper lobe "; a single empty text where it cannot stand there."""
    table, ontology = read_rows("sites.csv"), load_ontology()
    plain = [[_SIDE_ATTRIBUTE[side]] if language == "en" else [""] for side in SIDES]
    rows = list(plain)
    for site in ontology.sites:
        for side in SIDES:
            stands = language == "en" and (side in ("none", "midline", site.side) or site.region == "knee")
            rows.append([f"{table[site.key]['attribute']} "] if stands else [""])
    return rows + [[""] for _ in SIDES]


def place_row(finding: np.ndarray, *, site: np.ndarray, side: np.ndarray, knee: np.ndarray) -> np.ndarray:
    """Row of `places` and `attributes` for a finding at a site (-1: none) on a side.

    A finding that has but one place is named without it: "an anterior cruciate ligament
    tear", "a gallstone".
    """
    sites = len(load_ontology().sites)
    said = (site >= 0) & ~(_one_place()[finding])
    side = np.where((site >= 0) & ~said & ~knee, SIDES.index("none"), side)
    return np.where(said, site + 1, np.where(knee, sites + 1, 0)) * len(SIDES) + side


@cache
def _one_place() -> np.ndarray:
    """By finding; the midline's shift has one place, but a side that must be said."""
    return np.array(
        [len(finding.sites) == 1 and finding.laterality != "paired" for finding in load_ontology().findings]
    )
