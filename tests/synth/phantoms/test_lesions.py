"""Lesions lie in the organ of their site, whatever their size, and each has a mask of its own."""

from __future__ import annotations

import dataclasses

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

CT_GROUPS = {p.group: p for p in reversed(load_ontology().protocols) if p.modality == "CT"}
VESSELS = ("aorta", "veins", "pulmonary-artery", "portal-vein")
INSIDE: dict[str, tuple[str, ...]] = {
    "right-lung": ("right-lung",),
    "left-lung": ("left-lung",),
    # a large node or mass reaches what runs through the mediastinum: it is drawn over it and does not displace it
    "mediastinum": ("mediastinum", "heart", "pericardium", "airways", "esophagus", *VESSELS),
    "thyroid": ("thyroid", "airways", *VESSELS),
    "liver": ("liver", *VESSELS),
    "gallbladder": ("gallbladder",),
    "bile-ducts": ("bile-ducts", *VESSELS),
    "spleen": ("spleen", *VESSELS),
    "pancreas": ("pancreas", *VESSELS),
    "adrenals": ("adrenals", *VESSELS),
    "right-kidney": ("right-kidney", *VESSELS),
    "left-kidney": ("left-kidney", *VESSELS),
    "ureters": ("ureters", *VESSELS),
    "colon": ("colon", *VESSELS),
    "uterus": ("uterus", *VESSELS),
    "ovaries": ("ovaries", *VESSELS),
    "pelvis": ("pelvis",),
    "spine": ("spine", "spinal-canal"),
}
"""Organs of the site table with a shape of their own; the others (mesentery, chest wall...) are regions without one."""
LEAST: dict[str, float] = {"right-lung": 0.80, "left-lung": 0.80, "spine": 0.9, "pelvis": 0.93, "colon": 0.93}
"""A lung's lesion may reach fissure, chest wall or diaphragm, as a real mass does; a bone's reaches its neighbors."""
BESIDE = ("abdominal-abscess", "diverticulitis")
VOXELS = 26


def placed() -> list[tuple[str, str, str]]:
    """Site, the finding that grows largest there, and a protocol that shows it."""
    chosen: dict[str, tuple[int, str, str]] = {}
    for finding in load_ontology().findings:
        groups = sorted(set(finding.prevalence) & set(CT_GROUPS))
        if not finding.measure or finding.key not in LOOKS or not groups or finding.key in BESIDE:
            continue
        for key in finding.sites:
            most = (finding.measure.most_mm, finding.key, CT_GROUPS[groups[0]].key)
            chosen[key] = max(chosen.get(key, most), most)
    organs = {site.key: site.organ for site in sites()}
    return [(key, finding, protocol) for key, (_, finding, protocol) in chosen.items() if organs[key] in INSIDE]


PLACED = placed()


def first(protocol: str, *, sex: str) -> tuple[PatientFacts, Exam]:
    number = 0
    while True:
        patient = draw_patient(seed=12, number=number)
        for exam in patient.exams:
            if exam.protocol == protocol and patient.sex == sex:
                return patient, exam
        number += 1


def cube(patient: PatientFacts, exam: Exam, *facts: FindingFact, spacing: float) -> Phantom:
    """A cube of voxels about the first of some lesions."""
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = np.array(facts[0].center_mm) - spacing * (VOXELS - 1) / 2
    grid = Grid(shape=(VOXELS,) * 3, affine=Affine(matrix), axes="LPS")
    return render_grid(patient, exam=dataclasses.replace(exam, findings=facts), grid=grid)


def lesion(key: str, *, site: str, size: float, center: np.ndarray, number: int = 5) -> FindingFact:
    return FindingFact(
        key=key, lesion=number, certainty="present", site=site, size_mm=round(size),
        axes_mm=(0.85 * size, 0.85 * size, float(size)), center_mm=tuple(center.tolist()),
    )  # fmt: skip


def test_every_organ_with_a_shape_of_its_own_is_tested() -> None:
    organs = {site.key: site.organ for site in sites()}
    assert {organs[key] for key, _, _ in PLACED} == set(INSIDE)


@pytest.mark.parametrize(("key", "finding", "protocol"), PLACED)
def test_the_largest_lesion_of_a_site_lies_in_its_organ(key: str, finding: str, protocol: str) -> None:
    site = next(known for known in sites() if known.key == key)
    rng = np.random.default_rng(len(key))
    sex = "female" if site.organ in ("uterus", "ovaries") or rng.random() < 0.5 else "male"
    patient, exam = first(protocol, sex=sex)
    measure = next(f.measure for f in load_ontology().findings if f.key == finding)
    size = min(site.room_mm, measure.most_mm)
    shares = []
    for place in (np.zeros(3), rng.uniform(-0.55, 0.55, 3)):
        center = (np.array(site.center) + place * site.half) * unit_mm(site.region, anatomy=patient.anatomy)
        if mirrored_body(patient, exam=exam):
            center[0] *= -1
        fact = lesion(finding, site=key, size=size, center=center)
        phantom = cube(patient, exam, fact, spacing=size / 14)
        inside = np.isin(phantom.organs, [ORGANS.index(name) for name in INSIDE[site.organ]])
        shares.append(float(inside[phantom.mask(5)].mean()))
    assert min(shares) > LEAST.get(site.organ, 0.95)


def test_a_small_lesion_in_a_large_one_leaves_it_its_mask() -> None:
    patient, exam = first("ct-chest-plain", sex="male")
    site = next(known for known in sites() if known.key == "left-upper-lobe")
    center = np.array(site.center) * unit_mm("chest", anatomy=patient.anatomy)
    large = lesion("lung-mass", site=site.key, size=40, center=center, number=1)
    small = lesion("calcified-granuloma", site=site.key, size=12, center=center + np.array([4, 0, 8]), number=2)
    alone = cube(patient, exam, large, spacing=2.0)
    both = cube(patient, exam, large, small, spacing=2.0)
    assert np.array_equal(both.mask(1), alone.mask(1))
    assert both.boxes[1] == alone.boxes[1]
    sizes = {one.lesion: one.voxels for one in both.lesions}
    assert sizes[1] == alone.lesions[0].voxels == both.mask(1).sum()
    assert sizes[2] == both.mask(2).sum() == (both.lesions_map == 2).sum() > 60
    assert (both.mask(1) & both.mask(2)).any()
    assert (both.lesions_map == 1).sum() == (both.mask(1) & ~both.mask(2)).sum()
