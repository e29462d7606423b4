"""A patient is the same alone, in any batch, in any order."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.synth.draw import count_exams, draw_facts, draw_patient


@pytest.fixture(scope="module")
def batch():
    return draw_facts(seed=5, patients=np.arange(600))


def test_a_patient_is_the_same_alone_and_in_a_batch(batch):
    for number in range(0, 600, 7):
        assert draw_patient(seed=5, number=number) == batch.patient(number)


@settings(max_examples=15)
@given(st.lists(st.integers(0, 2**40 - 1), min_size=1, max_size=12), st.integers(0, 2**63 - 1))
def test_order_and_company_do_not_matter(numbers, seed):
    together = draw_facts(seed=seed, patients=np.array(numbers))
    backwards = draw_facts(seed=seed, patients=np.array(numbers[::-1]))
    for row, number in enumerate(numbers):
        alone = draw_patient(seed=seed, number=number)
        assert together.patient(row) == alone
        assert backwards.patient(len(numbers) - 1 - row) == alone


def test_patients_scattered_over_a_million_are_those_of_their_own_batch():
    numbers = np.random.default_rng(1).permutation(1_000_000)[:300]
    scattered = draw_facts(seed=2, patients=numbers)
    for row in range(0, 300, 10):
        first = int(numbers[row]) // 256 * 256
        near = draw_facts(seed=2, patients=np.arange(first, first + 256))
        assert near.patient(int(numbers[row]) - first) == scattered.patient(row)


def test_seeds_give_different_patients(batch):
    other = draw_facts(seed=6, patients=np.arange(600))
    same = sum(batch.patient(row).anatomy == other.patient(row).anatomy for row in range(100))
    assert same == 0


def test_exams_are_counted_without_drawing_them(batch):
    counted = count_exams(5, np.arange(600))
    assert counted.tolist() == np.diff(batch.patients.exam_start).tolist()
    assert set(counted.tolist()) == {1, 2, 3, 4, 5, 6}


def test_no_patients_give_empty_columns():
    table = draw_facts(seed=1, patients=np.array([], dtype=np.int64))
    assert len(table.exams.day) == len(table.findings.exam) == len(table.labs.lab) == 0
    assert table.patients.exam_start.tolist() == [0]


def test_columns_of_a_table_have_one_length(batch):
    for part in (batch.findings, batch.labs, batch.conditions, batch.medications):
        assert len({len(getattr(part, field.name)) for field in fields(part)}) == 1
    assert batch.patients.exam_start[-1] == len(batch.exams.day)
    assert batch.exams.finding_start[-1] == len(batch.findings.exam)
    assert batch.patients.lab_start[-1] == len(batch.labs.lab)
    assert batch.patients.condition_start[-1] == len(batch.conditions.onset)
    assert batch.patients.medication_start[-1] == len(batch.medications.start)


@pytest.mark.parametrize(
    ("seed", "patients", "message"),
    [
        (-1, [0], r"Seed -1 is out of range\. Seeds are 0 to"),
        (2**63, [0], "is out of range"),
        (1, [3, -4], r"Patient -4 is out of range\."),
        (1, [2**40], "Patient 1099511627776 is out of range"),
        (1, [0.5], "cannot be drawn. Patients are a flat array of whole numbers"),
        (1, [[1]], "cannot be drawn"),
    ],
)
def test_requests_out_of_range_are_refused(seed, patients, message):
    with pytest.raises(RequestError, match=message):
        draw_facts(seed=seed, patients=np.array(patients))


def test_nothing_identifies_a_person(batch):
    """Facts hold ontology keys and numbers only: no names, no calendar dates, and UIDs of the free root."""
    from osler.synth.ontology import load_ontology

    ontology = load_ontology()
    keys = {
        entry.key
        for part in ("findings", "sites", "conditions", "labs", "medications", "protocols", "indications")
        for entry in getattr(ontology, part)
    }
    for row in range(0, 600, 11):
        patient = batch.patient(row)
        words = {word for exam in patient.exams for word in (exam.protocol, exam.indication)}
        words |= {f.key for exam in patient.exams for f in exam.findings}
        words |= {f.site for exam in patient.exams for f in exam.findings if f.site}
        words |= {entry.key for part in (patient.labs, patient.conditions, patient.medications) for entry in part}
        assert words <= keys
        for exam in patient.exams:
            uids = (exam.acquisition.study_uid, exam.acquisition.series_uid)
            assert all(uid.startswith("2.25.") and int(uid[5:]) < 2**128 for uid in uids)


def test_uids_are_all_different(batch):
    uids = np.concatenate([batch.exams.study_uid, batch.exams.series_uid])
    assert len(np.unique(uids)) == len(uids)
