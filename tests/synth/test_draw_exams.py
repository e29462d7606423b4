"""Exams follow each other in time and are compared with the latest of their kind."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.draw import draw_facts
from osler.synth.draw_tables import tables
from osler.synth.fact_table import SIDES
from osler.synth.ontology import load_ontology


@pytest.fixture(scope="module")
def table():
    return draw_facts(seed=31, patients=np.arange(20_000))


def test_days_start_at_zero_and_strictly_increase(table):
    e = table.exams
    assert (e.day[e.number == 0] == 0).all()
    same = e.patient[1:] == e.patient[:-1]
    assert (np.diff(e.day)[same] >= 1).all()
    assert (np.diff(e.number)[same] == 1).all()
    gaps = np.diff(e.day)[same]
    assert len(np.unique(gaps)) > 300
    assert gaps.max() < 20_000


def test_the_exam_compared_is_the_latest_of_the_same_kind(table):
    e, family = table.exams, tables().protocol_family
    for row in range(5000):
        start = int(table.patients.exam_start[e.patient[row]])
        same = [k for k in range(start, row) if family[e.protocol[k]] == family[e.protocol[row]]]
        assert e.compared[row] == (same[-1] if same else -1)
        assert e.compared_day[row] == (e.day[same[-1]] if same else 0)


def test_most_exams_have_a_prior(table):
    assert (table.exams.compared >= 0).mean() > 0.55


def test_age_grows_with_the_days(table):
    e, p = table.exams, table.patients
    years = e.age - p.age[e.patient]
    assert (years >= e.day // 365).all()
    assert (years <= e.day // 365 + 1).all()


def test_every_protocol_pathway_and_indication_is_drawn(table):
    ontology = load_ontology()
    assert set(np.unique(table.exams.protocol)) == set(range(len(ontology.protocols)))
    assert set(np.unique(table.exams.indication)) == set(range(len(ontology.indications)))


def test_indications_fit_the_exam_and_the_patient(table):
    ontology = load_ontology()
    for row in range(1000):
        patient = table.patient(row)
        known = {condition.key for condition in patient.conditions}
        for exam in patient.exams:
            entry = next(i for i in ontology.indications if i.key == exam.indication)
            group = next(p.group for p in ontology.protocols if p.key == exam.protocol)
            assert group in entry.groups
            assert not entry.condition or entry.condition in known
            assert entry.when in ("any", "first" if exam.number == 0 else "later")


def test_knees_and_breasts_keep_their_side(table):
    ontology, e = load_ontology(), table.exams
    one_sided = np.array([p.region == "knee" or p.group == "breast-he" for p in ontology.protocols])[e.protocol]
    assert (e.side[~one_sided] == SIDES.index("none")).all()
    assert {SIDES[side] for side in np.unique(e.side[one_sided])} == {"left", "right"}
    for patient in np.unique(e.patient[one_sided])[:500]:
        assert len(set(e.side[one_sided & (e.patient == patient)].tolist())) == 1
