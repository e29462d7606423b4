"""Drugs follow conditions; findings establish diagnoses."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.draw import draw_facts
from osler.synth.ontology import load_ontology


@pytest.fixture(scope="module")
def patients():
    table = draw_facts(seed=71, patients=np.arange(2000))
    return [table.patient(row) for row in range(2000)]


def test_every_drug_treats_a_condition_the_patient_has_by_then(patients):
    treats = {drug.key: drug.treats for drug in load_ontology().medications}
    for patient in patients:
        onsets = {condition.key: condition.onset for condition in patient.conditions}
        for drug in patient.medications:
            assert any(key in onsets and onsets[key] <= drug.start for key in treats[drug.key])
            assert drug.stop is None or drug.stop > drug.start


def test_courses_have_their_length(patients):
    days = {drug.key: drug.days for drug in load_ontology().medications}
    courses = [drug for patient in patients for drug in patient.medications if days[drug.key]]
    assert len(courses) > 50
    assert all(drug.stop == drug.start + days[drug.key] for drug in courses)


def test_nobody_takes_a_drug_twice_or_two_of_a_class(patients):
    classes = {drug.key: drug.drug_class for drug in load_ontology().medications}
    for patient in patients:
        keys = [drug.key for drug in patient.medications]
        assert len(keys) == len(set(keys))
        taken = [classes[key] for key in keys if classes[key]]
        assert len(taken) == len(set(taken))


def test_findings_establish_their_diagnosis_on_the_exam_that_shows_them(patients):
    diagnoses = {finding.key: finding.diagnosis for finding in load_ontology().findings if finding.diagnosis}
    chronic = {entry.key for entry in load_ontology().conditions if entry.percent != (0.0,) * 4}
    seen = set()
    for patient in patients:
        onsets = {condition.key: condition.onset for condition in patient.conditions}
        shown = {}
        for exam in patient.exams:
            for finding in exam.findings:
                if finding.visible and finding.certainty == "present" and finding.key in diagnoses:
                    shown.setdefault(diagnoses[finding.key], exam.day)
        for key, day in shown.items():
            assert onsets[key] == day or (key in chronic and onsets[key] < 0)
            seen.add(key)
        assert {key for key in onsets if key not in chronic} <= set(shown)
    assert len(seen) >= 8


def test_rows_are_in_order_of_time(patients):
    for patient in patients:
        assert [d.start for d in patient.medications] == sorted(d.start for d in patient.medications)
        assert [c.onset for c in patient.conditions] == sorted(c.onset for c in patient.conditions)
