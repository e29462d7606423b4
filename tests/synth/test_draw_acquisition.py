"""Scanner settings are plausible together."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.draw import draw_facts


@pytest.fixture(scope="module")
def exams():
    table = draw_facts(seed=41, patients=np.arange(1500))
    return [(patient, exam) for patient in map(table.patient, range(1500)) for exam in patient.exams]


def _of(exams, modality):
    found = [(patient, exam, exam.acquisition) for patient, exam in exams if exam.modality == modality]
    assert len(found) > 100
    return found


def test_ct_geometry_and_technique(exams):
    for patient, exam, a in _of(exams, "CT"):
        assert (a.rows, a.columns) == (512, 512)
        assert a.device.startswith("CT-")
        field = a.pixel_mm * a.columns
        assert 200 <= field <= 501
        if exam.region != "head":
            assert field >= min(2 * patient.anatomy.half_width_mm, 499)
        assert a.kvp in (80, 100, 120, 140)
        assert 10 <= a.mas <= 1500
        assert 0.5 <= a.spacing_mm <= a.slice_mm <= 5.0
        assert 100 <= a.slices * a.spacing_mm <= 620
        assert a.kernel in ({"brain"} if exam.region == "head" else {"soft", "lung"})
        assert a.kernel != "lung" or (a.slice_mm <= 1.5 and exam.region == "chest")
        assert (a.contrast == "none") == exam.protocol.endswith("plain")
        assert (a.te_ms, a.tr_ms, a.ti_ms, a.field_t, a.view, a.stain) == (None,) * 6


def test_light_patients_get_less_and_heavy_ones_more(exams):
    voltages = {True: [], False: []}
    for patient, exam, a in _of(exams, "CT"):
        if exam.region != "head":
            voltages[patient.anatomy.weight_kg > 80].append(a.kvp)
    assert np.mean(voltages[True]) > np.mean(voltages[False]) + 8


def test_mr_times_fit_the_sequence(exams):
    for _, exam, a in _of(exams, "MR"):
        assert a.field_t in (1.5, 3.0)
        assert a.device == f"MR-{'3T' if a.field_t == 3.0 else '1.5T'}"
        assert a.te_ms < a.tr_ms
        assert (a.ti_ms is not None) == (a.sequence == "FLAIR")
        if a.sequence == "FLAIR":
            assert 1800 <= a.ti_ms <= 2700
            assert a.ti_ms < a.tr_ms / 3
        if a.sequence == "T1":
            assert a.te_ms < 20
            assert a.tr_ms < 800
        if a.sequence == "T2":
            assert a.te_ms > 80
            assert a.tr_ms > 3000
        assert (a.contrast == "gadolinium") == (exam.protocol in ("mr-liver", "mr-brain-t1-contrast"))
        assert a.spacing_mm >= a.slice_mm >= 2.5
        assert 0.25 <= a.pixel_mm <= 1.7
        assert (a.kvp, a.mas, a.kernel, a.view) == (None,) * 4


def test_x_ray_views_and_exposure(exams):
    for _, exam, a in _of(exams, "DX"):
        assert exam.protocol == f"xr-chest-{a.view.lower()}"
        assert a.slices == 1
        assert (a.device == "DR-MOBILE") == (a.view == "AP")
        assert (a.kvp < 105) == (a.view == "AP")
        assert 340 <= a.rows * a.pixel_mm <= 440
        assert 340 <= a.columns * a.pixel_mm <= 440
        assert (a.slice_mm, a.spacing_mm, a.te_ms, a.kernel) == (None,) * 4


def test_slides(exams):
    for _, _exam, a in _of(exams, "SM"):
        assert a.stain == "H&E"
        assert a.pixel_mm == {20: 0.0005, 40: 0.00025}[a.magnification]
        assert a.rows % 256 == a.columns % 256 == 0
        assert 3.5 <= a.rows * a.pixel_mm <= 19
        assert a.device == f"WSI-{a.magnification}"
