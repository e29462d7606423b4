"""Bodies and chronic conditions are plausible by age and sex."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.draw import draw_facts
from osler.synth.ontology import load_ontology


@pytest.fixture(scope="module")
def table():
    return draw_facts(seed=51, patients=np.arange(20_000))


def test_adults_of_both_sexes(table):
    p = table.patients
    assert p.age.min() >= 18
    assert 85 < p.age.max() < 100
    assert 0.4 < (p.sex == 0).mean() < 0.6


def test_bodies_by_sex(table):
    p = table.patients
    men, women = p.sex == 1, p.sex == 0
    assert 173 < p.height_cm[men].mean() < 178
    assert 159 < p.height_cm[women].mean() < 164
    assert 140 <= p.height_cm.min()
    assert p.height_cm.max() <= 210
    bmi = p.weight_kg / (p.height_cm / 100) ** 2
    assert 15.5 < bmi.min()
    assert bmi.max() < 50
    assert 25 < bmi.mean() < 30
    assert p.knee_mm[men].mean() > p.knee_mm[women].mean() + 7
    assert (p.head_mm[:, 1] > p.head_mm[:, 0]).all()
    assert ((p.half_width_mm > 120) & (p.half_width_mm < 290)).all()
    assert ((p.half_depth_mm > 75) & (p.half_depth_mm < 230)).all()
    assert (p.half_width_mm > p.half_depth_mm).all()
    assert len(np.unique(p.shape)) == len(p.shape)


def test_the_obese_are_heavy(table):
    code = [entry.key for entry in load_ontology().conditions].index("obesity")
    obese = np.zeros(len(table.patients.age), dtype=bool)
    obese[table.conditions.patient[table.conditions.condition == code]] = True
    bmi = table.patients.weight_kg / (table.patients.height_cm / 100) ** 2
    assert bmi[obese].min() > 29
    assert bmi[~obese].max() < 31.5


def test_chronic_conditions_begin_before_the_first_exam_and_after_childhood(table):
    c, p = table.conditions, table.patients
    ontology = load_ontology()
    found = {finding.diagnosis for finding in ontology.findings}
    chronic = np.array([entry.key not in found for entry in ontology.conditions])[c.condition]
    assert (c.onset[chronic] <= -30).all()
    before = c.onset < 0
    assert (-c.onset[before] <= (p.age[c.patient[before]] - 15) * 366 + 30).all()
    only_found = np.array([entry.percent == (0.0,) * 4 for entry in ontology.conditions])[c.condition]
    assert (c.onset[only_found] >= 0).all()
    assert only_found.sum() > 100


def test_conditions_rise_with_age(table):
    code = [entry.key for entry in load_ontology().conditions].index("hypertension")
    has = np.zeros(len(table.patients.age), dtype=bool)
    has[table.conditions.patient[table.conditions.condition == code]] = True
    age = table.patients.age
    shares = [has[(age >= low) & (age < high)].mean() for low, high in ((18, 40), (40, 60), (60, 75), (75, 99))]
    assert shares == sorted(shares)
    assert shares[-1] - shares[0] > 0.35


def test_men_carry_no_ovaries_and_women_no_prostate(table):
    keys = [entry.key for entry in load_ontology().conditions]
    c, p = table.conditions, table.patients
    assert (p.sex[c.patient[c.condition == keys.index("ovarian-cancer")]] == 0).all()
    assert (p.sex[c.patient[c.condition == keys.index("prostate-cancer")]] == 1).all()
