"""Draws the facts of synthetic patients, many at once.

The model, in the order of drawing:

1. *People* (`draw_patients`): a pathway of care, sex, age, body, chronic conditions.
2. *Exams* (`draw_exams`): 1 to 6 of the pathway's protocols with log-normal gaps; each is
   compared with the latest earlier one of the same modality and region.
3. *Lesions* (`draw_lesions`): which findings a patient has, by the prevalence of the
   protocols and the odds of the conditions; where they lie, how large they are at onset.
4. *Courses* (`draw_findings`): each lesion is stable, grows with a volume doubling time,
   shrinks after treatment or heals; change is worked out from the whole millimeters or
   grades of the two exams. What is not there may be denied.
5. *History and laboratory* (`draw_medications`, `draw_labs`): findings establish
   diagnoses, diagnoses call for drugs, lesions and conditions drive the values.
6. *Acquisition* (`draw_acquisition`): scanner settings that go together.

See `facts` for what the facts mean, `fact_table` for the columns and `ontology` for the
tables behind them. All numbers come from `Draws`, and sums are taken over exact
fractions: patient ``i`` of seed ``s`` is the same alone, in any batch, on any machine.
"""

from __future__ import annotations

import numpy as np

from osler.errors import RequestError
from osler.synth.draw_acquisition import draw_acquisitions
from osler.synth.draw_exams import Exams, draw_exams
from osler.synth.draw_findings import follow_lesions, report_findings
from osler.synth.draw_labs import draw_labs
from osler.synth.draw_lesions import draw_lesions
from osler.synth.draw_medications import condition_columns, draw_history, draw_medications
from osler.synth.draw_patients import draw_bodies, draw_pathways, draw_people
from osler.synth.draws import Draws
from osler.synth.fact_table import ExamColumns, FactTable, PatientColumns
from osler.synth.facts import PatientFacts

MOST_PATIENTS = 2**40


def count_exams(seed: int, patients: np.ndarray) -> np.ndarray:
    """Number of exams (reports) of each patient, without drawing them.

    Args:
        seed: Of the collection.
        patients: (N,) patient numbers.

    Returns:
        (N,) int64, 1 to 6.
    """
    return draw_pathways(_draws(seed, patients=patients))[1]


def draw_facts(*, seed: int, patients: np.ndarray) -> FactTable:
    """Draws the facts of patients.

    Args:
        seed: Of the collection, 0 to 2**63 - 1.
        patients: (N,) patient numbers, 0 or more. Batches of about 2,000 are fastest.

    Raises:
        RequestError: If the seed or a number is out of range.
    """
    people = draw_people(_draws(seed, patients=patients))
    bodies = draw_bodies(people)
    exams = draw_exams(people)
    lesions = draw_lesions(people, exams=exams, bodies=bodies)
    sightings = follow_lesions(lesions, exams=exams)
    findings, finding_start, negative_start = report_findings(sightings, lesions=lesions, exams=exams)
    history = draw_history(people, exams=exams, lesions=lesions, sightings=sightings)
    conditions, condition_start = condition_columns(history)
    medications, medication_start = draw_medications(people, history=history, exams=exams)
    labs, lab_start = draw_labs(people, exams=exams, lesions=lesions, sightings=sightings, history=history)
    return FactTable(
        seed=seed,
        patients=PatientColumns(
            number=np.asarray(patients, dtype=np.int64),
            sex=people.sex.astype(np.int8),
            age=people.age.astype(np.int16),
            exam_start=exams.start,
            lab_start=lab_start,
            condition_start=condition_start,
            medication_start=medication_start,
            **bodies,
        ),
        exams=_exam_columns(
            exams,
            acquisition=draw_acquisitions(exams, bodies=bodies),
            finding_start=finding_start,
            negative_start=negative_start,
        ),
        findings=findings,
        labs=labs,
        conditions=conditions,
        medications=medications,
    )


def draw_patient(*, seed: int, number: int) -> PatientFacts:
    """Draws one patient; the same as its row of any batch."""
    return draw_facts(seed=seed, patients=np.array([number])).patient(0)


def _draws(seed: int, *, patients: np.ndarray) -> Draws:
    patients = np.asarray(patients)
    if not 0 <= seed < 2**63:
        raise RequestError(f"Seed {seed} is out of range.", allowed="Seeds are 0 to 2**63 - 1.")
    if patients.ndim != 1 or patients.dtype.kind not in "iu":
        raise RequestError(
            f"Patients of shape {patients.shape} and type {patients.dtype} cannot be drawn.",
            allowed="Patients are a flat array of whole numbers.",
        )
    if len(patients) and not (patients.min() >= 0 and patients.max() < MOST_PATIENTS):
        worst = int(patients.min() if patients.min() < 0 else patients.max())
        raise RequestError(f"Patient {worst} is out of range.", allowed=f"Numbers are 0 to {MOST_PATIENTS - 1}.")
    return Draws(seed=seed, patients=patients)


def _exam_columns(
    exams: Exams, *, acquisition: dict[str, np.ndarray], finding_start: np.ndarray, negative_start: np.ndarray
) -> ExamColumns:
    return ExamColumns(
        patient=exams.patient.astype(np.int32),
        number=exams.number.astype(np.int16),
        day=exams.day.astype(np.int32),
        protocol=exams.protocol.astype(np.int16),
        indication=exams.indication.astype(np.int16),
        compared=exams.compared.astype(np.int32),
        compared_day=exams.compared_day.astype(np.int32),
        age=exams.age.astype(np.int16),
        sex=exams.sex.astype(np.int8),
        side=exams.side.astype(np.int8),
        finding_start=finding_start,
        negative_start=negative_start,
        **acquisition,
    )
