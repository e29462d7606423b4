"""Sizes of all measured findings: what the lesion map measures is what the facts say."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from osler.study import Affine
from osler.synth.anatomy import sites, unit_mm
from osler.synth.draw import draw_patient
from osler.synth.facts import Exam, FindingFact, PatientFacts
from osler.synth.ontology import load_ontology
from osler.synth.phantoms import ORGANS, Phantom
from osler.synth.phantoms.grid import Grid
from osler.synth.phantoms.lesions import LOOKS
from osler.synth.phantoms.render import mirrored_body, render_grid

GROUPS = {p.group: p.key for p in reversed(load_ontology().protocols) if p.modality in ("CT", "MR")}
MEASURED = {
    f.key: f for f in load_ontology().findings if f.measure and f.key in LOOKS and set(f.prevalence) & set(GROUPS)
}
SITES = {site.key: site for site in sites()}
VOXELS = 30


@cache
def exam_of(protocol: str) -> tuple[PatientFacts, Exam]:
    number = 0
    while True:
        patient = draw_patient(seed=4, number=number)
        for exam in patient.exams:
            if exam.protocol == protocol:
                return patient, exam
        number += 1


def drawn(
    fact: FindingFact, *, protocol: str, spacing: float, center: tuple[float, float, float], voxels: int = VOXELS
) -> Phantom:
    """A cube of voxels around a point of the patient, with one finding."""
    patient, exam = exam_of(protocol)
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = np.array(center) - spacing * (voxels - 1) / 2 + 0.13 * spacing
    grid = Grid(shape=(voxels,) * 3, affine=Affine(matrix), axes="LPS")
    return render_grid(patient, exam=dataclasses.replace(exam, findings=(fact,)), grid=grid)


def place_of(key: str, *, protocol: str) -> tuple[float, float, float]:
    """The middle of a site in the patient."""
    patient, exam = exam_of(protocol)
    site = SITES[key]
    x, y, z = np.array(site.center) * unit_mm(site.region, anatomy=patient.anatomy)
    return (-x if mirrored_body(patient, exam=exam) else x), y, z


@pytest.mark.parametrize("key", sorted(MEASURED))
def test_every_measured_lesion_has_its_size_place_and_axes(key: str) -> None:
    finding = MEASURED[key]
    protocol = GROUPS[sorted(set(finding.prevalence) & set(GROUPS))[0]]
    size = max(finding.measure.least_mm, min(round(finding.measure.median_mm), finding.measure.most_mm))
    axes = (0.8 * size, 1.0 * size, 0.7 * size)
    center = place_of(finding.sites[0], protocol=protocol)
    fact = FindingFact(
        key=key,
        lesion=5,
        certainty="present",
        side=SITES[finding.sites[0]].side,
        site=finding.sites[0],
        size_mm=size,
        axes_mm=axes,
        center_mm=center,
    )
    spacing = size / 14
    phantom = drawn(fact, protocol=protocol, spacing=spacing, center=center)
    box = phantom.boxes[5]
    for k in range(3):
        assert abs(box.size[k] - axes[k]) <= 1.01 * spacing
        assert abs((box.low[k] + box.high[k]) / 2 - center[k]) <= spacing
    volume = phantom.lesions[0].voxels * spacing**3
    assert volume == pytest.approx(np.pi / 6 * np.prod(axes), rel=0.08)


@pytest.mark.parametrize(
    ("key", "protocol", "site", "organ", "size"),
    [
        ("thoracic-aortic-aneurysm", "ct-chest-plain", "ascending-aorta", "aorta", 45),
        ("thoracic-aortic-aneurysm", "ct-chest-plain", "ascending-aorta", "aorta", 60),
        ("thoracic-aortic-aneurysm", "ct-chest-plain", "descending-aorta", "aorta", 50),
        ("pulmonary-artery-enlargement", "ct-chest-plain", "pulmonary-trunk", "pulmonary-artery", 36),
        ("abdominal-aortic-aneurysm", "ct-abdomen-plain", "abdominal-aorta", "aorta", 34),
        ("abdominal-aortic-aneurysm", "ct-abdomen-plain", "abdominal-aorta", "aorta", 60),
    ],
)
def test_a_wide_vessel_is_as_wide_as_the_facts_say(key: str, protocol: str, site: str, organ: str, size: int) -> None:
    center = place_of(site, protocol=protocol)
    fact = FindingFact(
        key=key,
        lesion=5,
        certainty="present",
        side="midline",
        site=site,
        size_mm=size,
        axes_mm=(size, size, size),
        center_mm=center,
    )
    spacing = 2.0
    phantom = drawn(fact, protocol=protocol, spacing=spacing, center=center, voxels=56)
    vessel = phantom.organs == ORGANS.index(organ)
    # The pulmonary arteries fill the plane from side to side: their trunk is measured in its own row.
    width = (vessel[28, 28] if organ == "pulmonary-artery" else vessel[28]).sum(axis=-1).max() * spacing
    assert abs(width - size) <= 2 * spacing + 0.05 * size
