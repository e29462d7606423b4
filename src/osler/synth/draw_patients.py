"""Draws who the patients are: pathway, sex, age, body, chronic conditions, number of exams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from osler.synth.draw_tables import age_band, choose, cumulative, normal, tables, uniform16
from osler.synth.draws import Draws
from osler.synth.ontology import load_ontology

FIRST_YEARS = np.array([18, 40, 60, 75])
BAND_YEARS = np.array([22, 20, 15, 20])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class People:
    """One row a patient."""

    draws: Draws
    pathway: np.ndarray
    exams: np.ndarray
    sex: np.ndarray
    age: np.ndarray
    band: np.ndarray
    birthday: np.ndarray  # days until the next birthday on day 0
    has: np.ndarray  # (P, conditions) bool
    onset: np.ndarray  # (P, conditions) days


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _PathwayTables:
    share: np.ndarray
    exams: np.ndarray
    ages: np.ndarray
    female: np.ndarray
    chance: np.ndarray  # (W, bands, sexes, conditions)
    years: np.ndarray  # (conditions,)


@cache
def _pathway_tables() -> _PathwayTables:
    ontology = load_ontology()
    pathways, conditions = ontology.pathways, ontology.conditions
    return _PathwayTables(
        share=cumulative(np.array([p.weight for p in pathways])),
        exams=cumulative(np.array([p.exams for p in pathways], dtype=np.float64)),
        ages=cumulative(np.array([p.ages for p in pathways])),
        female=np.array([p.female for p in pathways]),
        chance=tables().condition,
        years=np.array([c.years for c in conditions]),
    )


def draw_pathways(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Draws the pathway (W) and the number of exams of each patient."""
    t = _pathway_tables()
    pathway = choose(t.share, u=draws.uniform("pathway"))
    return pathway, choose(t.exams[pathway], u=draws.uniform("exam-count")) + 1


def draw_people(draws: Draws) -> People:
    """Draws the patients."""
    t = _pathway_tables()
    pathway, exams = draw_pathways(draws)
    bits = draws.bits("person")
    sex = (uniform16(bits, part=0) >= t.female[pathway]).astype(np.int64)
    band = choose(t.ages[pathway], u=uniform16(bits, part=1))
    u = uniform16(bits, part=2)
    u = np.where(band == 3, u * np.sqrt(u), u)
    age = FIRST_YEARS[band] + np.floor(BAND_YEARS[band] * u).astype(np.int64)
    birthday = np.floor(uniform16(bits, part=3) * 365).astype(np.int64) + 1
    assert (age_band(age) == band).all()
    codes = np.arange(t.chance.shape[-1], dtype=np.uint64)[None]
    each = draws.rows((slice(None), None)).bits("condition", codes)
    has = (each >> np.uint64(11)) * 2.0**-53 < t.chance[pathway, band, sex]
    late = uniform16(each, part=0)
    years = np.minimum(age[:, None] - 15, t.years)
    onset = -30 - np.floor(late * late * years * 365).astype(np.int64)
    return People(
        draws=draws,
        pathway=pathway,
        exams=exams,
        sex=sex,
        age=age,
        band=band,
        birthday=birthday,
        has=has,
        onset=onset,
    )


def draw_bodies(people: People) -> dict[str, np.ndarray]:
    """Draws the anatomy columns of `PatientColumns`.

    Heights and body mass index follow adults of the United States (NHANES 2015-2018,
    National Center for Health Statistics, Vital Health Stat 3(46), 2021: mean heights
    175.3 and 161.3 cm); the other lengths scale with them (assumed).
    """
    draws, male = people.draws, people.sex == 1
    bits, more = draws.bits("body"), draws.bits("head-knee")
    shrink = 0.06 * np.maximum(people.age - 45, 0)
    height = np.where(male, 176.8, 163.0) - shrink + np.where(male, 7.2, 6.6) * normal(bits, part=0)
    obese = people.has[:, [c.key for c in load_ontology().conditions].index("obesity")]
    bmi = np.clip(26.0 + 4.0 * normal(bits, part=1), 16.5, 29.9)
    bmi = np.where(obese, 30.5 + 3.5 * np.abs(normal(bits, part=1)), bmi)
    size = np.where(male, 1.0, 0.965)
    head = np.array([69.0, 84.0, 64.0])[None] * size[:, None]
    head *= 1 + 0.035 * np.stack([normal(more, part=part) for part in range(3)], axis=1)
    return {
        "height_cm": np.round(height, 0),
        "weight_kg": np.round(bmi * (height / 100) ** 2, 0),
        "half_width_mm": np.maximum(128, np.round(0.94 * height + 3.2 * (bmi - 22) + 4 * normal(bits, part=2), 0)),
        "half_depth_mm": np.maximum(82, np.round(0.60 * height + 3.4 * (bmi - 22) + 3 * normal(bits, part=3), 0)),
        "trunk_mm": np.round(3.65 * height, 0),
        "head_mm": np.round(head, 1),
        "knee_mm": np.round(np.where(male, 84.0, 74.5) + 3.5 * normal(more, part=3), 1),
        "shape": (draws.bits("shape") >> np.uint64(1)).astype(np.int64),
    }
