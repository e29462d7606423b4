"""Phantoms stay within the ranges of real scans, measured the same way (benchmarks/measure_intensities.py)."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from osler.synth.draw import draw_patient
from osler.synth.facts import FindingFact, PatientFacts
from osler.synth.phantoms import ORGANS, render_volume
from osler.synth.phantoms.tissues import mr_relaxation


def measuring() -> ModuleType:
    """The script that measured the real scans."""
    path = Path(__file__).parents[3] / "benchmarks/measure_intensities.py"
    spec = importlib.util.spec_from_file_location("measure_intensities", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ranges(name: str) -> dict[str, list[tuple[float, float, float]]]:
    """5th, 50th and 95th percentiles of each tissue, of each source."""
    text = (files("osler.synth.phantoms") / name).read_text(encoding="utf-8")
    found: dict[str, list[tuple[float, float, float]]] = {}
    for row in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        assert row["licence"].startswith(("CC BY", "BSD"))
        found.setdefault(row["tissue"], []).append((float(row["p05"]), float(row["p50"]), float(row["p95"])))
    return found


def exams_of(protocol: str, *, count: int) -> list[tuple[PatientFacts, int]]:
    found: list[tuple[PatientFacts, int]] = []
    number = 0
    while len(found) < count:
        patient = draw_patient(seed=6, number=number)
        found += [(patient, exam.number) for exam in patient.exams if exam.protocol == protocol][:1]
        number += 1
    return found


def with_findings(patient: PatientFacts, *, exam: int, findings: tuple[FindingFact, ...]) -> PatientFacts:
    exams = list(patient.exams)
    exams[exam] = dataclasses.replace(exams[exam], findings=findings)
    return dataclasses.replace(patient, exams=tuple(exams))


@pytest.mark.parametrize("protocol", ["ct-chest-plain", "ct-chest-contrast"])
def test_tissues_of_a_chest_ct_measure_as_in_real_ones(protocol: str) -> None:
    real = ranges("ct_ranges.csv")
    module = measuring()
    for patient, exam in exams_of(protocol, count=2):
        plain = with_findings(patient, exam=exam, findings=())
        # Voxels as in the real scans: wider ones have no inner voxels of thin bone.
        phantom = render_volume(plain, exam=exam, shape=(30, 400, 400), spacing_mm=(0.9, 0.9, 3.0), axes="LPS")
        values = phantom.array.astype(np.float32)
        for name, mask in module.by_threshold(values).items():
            low, high = min(r[0] for r in real[name]), max(r[2] for r in real[name])
            sample = values[mask]
            assert len(sample) > 1000, name
            assert low <= np.median(sample) <= high, name
            assert np.mean((sample > low - 15) & (sample < high + 15)) > 0.8, name


def inversion_recovery(tissue: str, *, field: float, ti: float, tr: float) -> float:
    """Signal of a tissue in the inversion-recovery T1 sequence that the real brain was taken with."""
    t1, _, pd = mr_relaxation(tissue, field_t=field)
    return pd * abs(1 - 2 * np.exp(-ti / t1) / (1 + np.exp(-tr / t1)))


@pytest.mark.parametrize("ti", [1000.0, 1100.0])
def test_tissues_have_the_t1_contrast_of_a_real_brain(ti: float) -> None:
    """The real T1 image is an inversion-recovery one and no phantom's sequence: the tissue table is held against it."""
    real = ranges("mr_ranges.csv")
    white = inversion_recovery("white", field=1.5, ti=ti, tr=2500.0)
    pairs = {
        "gray": "gray-matter",
        "deep-gray": "deep-gray",
        "hippocampus": "hippocampus",
        "cerebellar": "cerebellum",
        "brainstem": "brainstem",
    }
    for tissue, region in pairs.items():
        low, _, high = real[f"t1-{region}"][0]
        ratio = inversion_recovery(tissue, field=1.5, ti=ti, tr=2500.0) / white
        assert low - 0.06 <= ratio <= high + 0.06, tissue
    assert inversion_recovery("csf", field=1.5, ti=ti, tr=2500.0) / white <= real["t1-ventricles"][0][2]


def test_a_t1_brain_phantom_has_the_real_order_of_brightness() -> None:
    real = {name.removeprefix("t1-"): rows[0][1] for name, rows in ranges("mr_ranges.csv").items()}
    order = ("ventricles", "gray-matter", "deep-gray", "white-matter")
    assert real["ventricles"] < real["gray-matter"] < real["deep-gray"] < 1
    for patient, exam in exams_of("mr-brain-t1", count=2):
        plain = with_findings(patient, exam=exam, findings=())
        phantom = render_volume(plain, exam=exam, shape=(48, 112, 112), axes="LPS")
        medians = [np.median(phantom.array[phantom.organs == ORGANS.index(name)]) for name in order]
        assert np.all(np.diff(medians) > 0)


@pytest.mark.parametrize("ti", [860.0, 1000.0])
def test_the_hippocampus_has_the_contrast_of_real_crops_at_3_tesla(ti: float) -> None:
    """The crops are MPRAGE with an inversion time of 860 ms (Simpson et al., arXiv:1902.09063); k-space fills later."""
    real = ranges("mr_ranges.csv")
    white = inversion_recovery("white", field=3.0, ti=ti, tr=2500.0)
    low, _, high = real["t1-3t-hippocampus"][0]
    ratio = inversion_recovery("hippocampus", field=3.0, ti=ti, tr=2500.0) / white
    assert low - 0.06 <= ratio <= high + 0.06
    assert inversion_recovery("csf", field=3.0, ti=ti, tr=2500.0) / white <= real["t1-3t-csf"][0][2]


def test_the_hippocampus_of_a_t1_phantom_lies_between_csf_and_white_matter_as_in_real_crops() -> None:
    tables = ranges("mr_ranges.csv")
    assert tables["t1-3t-csf"][0][1] < tables["t1-3t-hippocampus"][0][1] < 1
    to_gray = tables["t1-hippocampus"][0][1] / tables["t1-gray-matter"][0][1]  # both in one real brain
    for patient, exam in exams_of("mr-brain-t1", count=2):
        plain = with_findings(patient, exam=exam, findings=())
        phantom = render_volume(plain, exam=exam, shape=(60, 144, 144), axes="LPS")
        names = ("ventricles", "gray-matter", "hippocampus", "white-matter")
        csf, gray, hippocampus, white = (np.median(phantom.array[phantom.organs == ORGANS.index(n)]) for n in names)
        assert csf < hippocampus < white
        assert hippocampus / gray == pytest.approx(to_gray, abs=0.08)


def test_the_shorter_t1_the_brighter_in_a_real_torso() -> None:
    """The sequence of the torso MR is not known, only that it is T1-weighted: the table's T1 must give its order."""
    real = {
        name.removeprefix("torso-"): rows[0][1] for name, rows in ranges("mr_ranges.csv").items() if "torso" in name
    }
    t1 = {name: mr_relaxation(name, field_t=1.5)[0] for name in ("spleen", "marrow", "blood", "muscle", "liver")}
    t1["kidney"] = mr_relaxation("kidney-cortex", field_t=1.5)[0]
    short = {name for name, ms in t1.items() if ms < 600}
    assert short == {"marrow", "liver"}
    shares = {**real, "liver": 1.0}
    assert set(shares) == set(t1)
    assert min(shares[name] for name in short) > max(share for name, share in shares.items() if name not in short)
    assert shares["marrow"] > shares["liver"]


def test_a_flair_lesion_is_as_bright_as_real_ones() -> None:
    low, _, high = ranges("mr_ranges.csv")["flair-lesion"][0]
    for patient, exam in exams_of("mr-brain-flair", count=3):
        a, b, c = patient.anatomy.head_mm
        fact = FindingFact(
            key="demyelinating-lesion",
            lesion=1,
            certainty="present",
            side="left",
            size_mm=14,
            axes_mm=(14.0, 14.0, 14.0),
            center_mm=(0.35 * a, 0.1 * b, 0.3 * c),
        )
        shown = with_findings(patient, exam=exam, findings=(fact,))
        phantom = render_volume(shown, exam=exam, shape=(64, 128, 128), axes="LPS")
        white = np.median(phantom.array[(phantom.organs == ORGANS.index("white-matter")) & (phantom.lesions_map == 0)])
        assert low <= np.median(phantom.array[phantom.lesions_map == 1]) / white <= high
