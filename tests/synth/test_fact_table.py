"""The typed view says what the columns say."""

from __future__ import annotations

import numpy as np

from osler.synth.draw import draw_facts
from osler.synth.fact_table import ACQUISITION_WORDS, STILL_TAKEN
from osler.synth.ontology import load_ontology


def test_a_view_holds_all_rows_of_its_patient():
    table = draw_facts(seed=4, patients=np.arange(50, 90))
    for row in range(40):
        patient = table.patient(row)
        p = table.patients
        assert patient.number == 50 + row
        assert len(patient.exams) == p.exam_start[row + 1] - p.exam_start[row]
        assert len(patient.labs) == (table.labs.patient == row).sum()
        assert len(patient.conditions) == (table.conditions.patient == row).sum()
        stops = table.medications.stop[table.medications.patient == row]
        assert [drug.stop is None for drug in patient.medications] == (stops == STILL_TAKEN).tolist()
        for exam, code in zip(patient.exams, range(p.exam_start[row], p.exam_start[row + 1]), strict=True):
            assert exam.protocol == load_ontology().protocols[table.exams.protocol[code]].key
            assert len(exam.findings) == (table.findings.exam == code).sum()
            assert exam.acquisition.series_uid == f"2.25.{table.exams.series_uid[code]}"


def test_absent_values_are_none():
    table = draw_facts(seed=4, patients=np.arange(300))
    exams = [exam for row in range(300) for exam in table.patient(row).exams]
    x_ray = next(exam for exam in exams if exam.modality == "DX")
    assert x_ray.acquisition.slice_mm is None
    assert x_ray.acquisition.kernel is None
    assert x_ray.acquisition.field_t is None


def test_acquisition_words_are_listed_once():
    assert len(ACQUISITION_WORDS) == len(set(ACQUISITION_WORDS))
    assert ACQUISITION_WORDS[0] == ""
