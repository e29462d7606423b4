"""Laboratory values agree with their ranges and follow disease."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.draw import draw_facts
from osler.synth.fact_table import FLAGS
from osler.synth.ontology import load_ontology


@pytest.fixture(scope="module")
def table():
    return draw_facts(seed=61, patients=np.arange(8000))


def _codes(part):
    return [entry.key for entry in getattr(load_ontology(), part)]


def test_flags_agree_with_value_and_range(table):
    c = table.labs
    low, high = c.value < c.low, c.value > c.high
    assert (
        c.flag == np.where(low, FLAGS.index("low"), np.where(high, FLAGS.index("high"), FLAGS.index("normal")))
    ).all()
    assert {FLAGS[flag] for flag in np.unique(c.flag)} == set(FLAGS)


def test_ranges_are_those_of_the_sex(table):
    for row in range(200):
        patient = table.patient(row)
        for lab in patient.labs:
            entry = next(e for e in load_ontology().labs if e.key == lab.key)
            assert (lab.reference.low, lab.reference.high) == getattr(entry, patient.sex)
            assert lab.unit == entry.unit


def test_values_are_rounded_as_reported_and_in_bounds(table):
    labs, c = load_ontology().labs, table.labs
    for code, entry in enumerate(labs):
        values = c.value[c.lab == code]
        assert len(values) > 0, entry.key
        assert all(value == round(value, entry.decimals) for value in values[:200].tolist())
        assert values.min() >= min(entry.least, 10.0**-entry.decimals)
        assert values.max() <= entry.most


def test_healthy_values_are_mostly_normal(table):
    share = {
        entry.key: (table.labs.flag[table.labs.lab == code] == FLAGS.index("normal")).mean()
        for code, entry in enumerate(load_ontology().labs)
    }
    for key in ("sodium", "potassium", "chloride", "calcium", "platelets", "mean-corpuscular-volume", "protein-total"):
        assert share[key] > 0.75, key


def test_rows_are_in_order_and_no_test_is_given_twice_a_day(table):
    c = table.labs
    key = (c.patient.astype(np.int64) * 100_000 + c.day) * 100 + c.lab
    assert (np.diff(key) > 0).all()
    assert (c.day >= 0).all()


def test_each_patient_has_labs_on_the_days_of_exams_and_some_between(table):
    on, between = 0, 0
    for row in range(500):
        patient = table.patient(row)
        days = {lab.day for lab in patient.labs}
        exams = {exam.day for exam in patient.exams}
        on += len(days & exams)
        between += len(days - exams)
    assert on > 2 * between > 200


def _values(table, lab):
    rows = table.labs.lab == _codes("labs").index(lab)
    return table.labs.patient[rows], table.labs.day[rows], table.labs.value[rows]


def test_infection_raises_crp_and_it_falls_again(table):
    findings, e, f = _codes("findings"), table.exams, table.findings
    sick = np.zeros(len(e.day), dtype=bool)
    sick[f.exam[(f.finding == findings.index("pneumonia")) & (f.certainty < 3) & (f.change != 5)]] = True
    patient, day, value = _values(table, "c-reactive-protein")
    exam_of = {(int(p), int(d)): i for i, (p, d) in enumerate(zip(e.patient, e.day, strict=True))}
    rows = np.array([exam_of.get((int(p), int(d)), -1) for p, d in zip(patient, day, strict=True)])
    on_exam = rows >= 0
    ill = sick[rows[on_exam]]
    assert np.median(value[on_exam][ill]) > 3 * np.median(value[on_exam][~ill])
    resolved = np.zeros(len(e.day), dtype=bool)
    resolved[f.exam[(f.finding == findings.index("pneumonia")) & (f.change == 5)]] = True
    well = resolved[rows[on_exam]] & ~ill
    assert np.median(value[on_exam][well]) < 0.6 * np.median(value[on_exam][ill])


@pytest.mark.parametrize(
    ("condition", "lab", "factor"),
    [
        ("diabetes", "hba1c", 1.2),
        ("chronic-kidney-disease", "creatinine", 1.4),
        ("heart-failure", "nt-probnp", 2.0),
        ("prostate-cancer", "prostate-specific-antigen", 2.5),
        ("gout", "urate", 1.2),
    ],
)
def test_conditions_shift_their_tests(table, condition, lab, factor):
    has = np.zeros(len(table.patients.age), dtype=bool)
    has[table.conditions.patient[table.conditions.condition == _codes("conditions").index(condition)]] = True
    patient, _, value = _values(table, lab)
    men = table.patients.sex[patient] == 1
    with_it, without = value[has[patient] & men], value[~has[patient] & men]
    assert np.median(with_it) > factor * np.median(without)
