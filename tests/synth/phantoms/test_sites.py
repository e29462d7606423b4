"""Sites lie in the organs that phantoms draw, and findings of CT and MR are drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from osler.synth.anatomy import sites, unit_mm
from osler.synth.draw import draw_patient
from osler.synth.facts import Exam, FindingFact, PatientFacts
from osler.synth.ontology import load_ontology
from osler.synth.phantoms import render_volume
from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.findings import DIFFUSE
from osler.synth.phantoms.grid import grid_of
from osler.synth.phantoms.head_findings import _DIFFUSE as HEAD
from osler.synth.phantoms.knee import _DIFFUSE as KNEE
from osler.synth.phantoms.lesions import LOOKS
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.synth.phantoms.overlays import ORGAN_CHANGES
from osler.synth.phantoms.regions import paint_region
from osler.synth.phantoms.state import Shown
from osler.synth.phantoms.tissues import palette_of

INSIDE: dict[str, tuple[str, ...]] = {
    "right-lung": ("right-lung",),
    "left-lung": ("left-lung",),
    "liver": ("liver", "portal-vein", "veins", "gallbladder"),
    "spleen": ("spleen",),
    "right-kidney": ("right-kidney",),
    "left-kidney": ("left-kidney",),
    "aorta": ("aorta", "heart"),
    "spine": ("spine",),
    "brain": ("white-matter", "gray-matter", "deep-gray", "thalamus", "hippocampus", "ventricles", "csf", "brainstem"),
    "cerebellum": ("cerebellum", "brainstem"),
    "femur": ("femur", "cartilage"),
    "tibia": ("tibia",),
    "menisci": ("menisci",),
}
NOT_DRAWN = {
    # broader than what is drawn beside it
    "intracranial-hemorrhage",
    "meniscal-tear",
    # of the whole picture
    "midline-shift",
    "mass-effect",
}


def first(protocol: str, *, sex: str = "") -> tuple[PatientFacts, Exam]:
    number = 0
    while True:
        patient = draw_patient(seed=21, number=number)
        for exam in patient.exams:
            if exam.protocol == protocol and sex in ("", patient.sex):
                return patient, exam
        number += 1


def painted(patient: PatientFacts, *, exam: Exam) -> Canvas:
    axes = grid_of(patient, exam=exam, shape=(110, 110, 110), axes="LPS").body_axes(mirrored=False)
    palette = palette_of(exam.acquisition, modality=exam.modality)
    canvas = Canvas(axes=axes, palette=palette, shape=patient.anatomy.shape)
    paint_region(canvas, patient, exam=exam, state=Shown(findings=()))
    return canvas


ROOMY = {
    "chest": ("lobe", "lingula", "heart", "vertebra"),
    "abdomen": ("urinary-bladder", "stomach", "gallbladder", "vertebra"),
    "head": ("lobe", "basal-ganglia", "thalamus", "right-cerebellum", "left-cerebellum", "brainstem"),
    "knee": ("condyle", "plateau", "patella", "trochlea"),
}
NO_ROOM = {
    "right-thyroid-lobe",  # no main organ: nodules are as large as the lobe
    "left-thyroid-lobe",
    "patellar-tendon",  # no bone
    "suprapatellar-recess",
}


@pytest.mark.parametrize("sex", ["female", "male"])
@pytest.mark.parametrize(
    ("key", "site"),
    [
        ("hepatic-cyst", "liver-segment-1"),
        ("hepatic-metastasis", "liver-segment-7"),
        ("hepatic-cyst", "liver-segment-8"),
        ("splenic-cyst", "spleen"),
        ("renal-cyst", "right-kidney"),
        ("renal-mass", "left-kidney"),
    ],
)
def test_a_solid_organ_grows_around_its_largest_lesion(key: str, site: str, sex: str) -> None:
    patient, exam = first("ct-abdomen-portal-venous", sex=sex)
    place = next(known for known in sites() if known.key == site)
    size = place.room_mm
    fact = FindingFact(
        key=key,
        lesion=4,
        certainty="present",
        side=place.side,
        site=site,
        size_mm=size,
        axes_mm=(0.8 * size, 1.0 * size, 0.8 * size),
        center_mm=tuple(np.array(place.center) * unit_mm(place.region, anatomy=patient.anatomy)),
    )
    exams = tuple(dataclasses.replace(e, findings=(fact,)) if e is exam else e for e in patient.exams)
    phantom = render_volume(
        dataclasses.replace(patient, exams=exams), exam=exam.number, spacing_mm=(4.0, 4.0, 4.0), axes="LPS"
    )
    codes = [ORGAN_CODES[name] for name in INSIDE[place.organ]]
    assert np.isin(phantom.organs[phantom.lesions_map == 4], codes).mean() > 0.75


@pytest.mark.parametrize("sex", ["female", "male"])
@pytest.mark.parametrize(
    ("protocol", "region"),
    [
        ("ct-chest-plain", "chest"),
        ("ct-abdomen-portal-venous", "abdomen"),
        ("mr-brain-t1", "head"),
        ("mr-knee-pd-fs", "knee"),
    ],
)
def test_the_largest_lesion_of_a_main_organ_lies_in_it(protocol: str, region: str, sex: str) -> None:
    patient, exam = first(protocol, sex=sex)
    canvas = painted(patient, exam=exam)
    axes = canvas.axes
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(1500, 3))
    ball *= (rng.uniform(size=1500) ** (1 / 3) / np.linalg.norm(ball, axis=1))[:, None]
    inside: dict[str, float] = {}
    ball *= (0.8, 1.0, 0.8)  # lesions are drawn with axes of 0.65 to 1 of their size
    for site in sites():
        if site.region != region or not any(name in site.key for name in ROOMY[region]) or site.key in NO_ROOM:
            continue
        points = np.array(site.center) * unit_mm(region, anatomy=patient.anatomy) + ball * site.room_mm / 2
        x, y, z = (
            np.abs(points[:, [k]] - axis[None]).argmin(axis=1) for k, axis in enumerate((axes.x, axes.y, axes.z))
        )
        codes = [ORGAN_CODES[name] for name in INSIDE.get(site.organ, (site.organ,))]
        inside[site.key] = round(float(np.isin(canvas.label[z, y, x], codes).mean()), 2)
    assert inside
    assert {key: share for key, share in inside.items() if share < 0.8} == {}


@pytest.mark.parametrize(
    ("protocol", "region"),
    [
        ("ct-chest-plain", "chest"),
        ("ct-abdomen-portal-venous", "abdomen"),
        ("mr-brain-t1", "head"),
        ("mr-knee-pd-fs", "knee"),
    ],
)
def test_sites_lie_in_their_organs(protocol: str, region: str) -> None:
    patient, exam = first(protocol)
    canvas = painted(patient, exam=exam)
    axes = canvas.axes
    rng = np.random.default_rng(0)
    for site in sites():
        if site.region != region or site.organ not in INSIDE:
            continue
        ball = rng.normal(size=(80, 3))
        ball *= (rng.uniform(size=80) ** (1 / 3) / np.linalg.norm(ball, axis=1))[:, None]
        points = (np.array(site.center) + np.array(site.half) * ball) * unit_mm(site.region, anatomy=patient.anatomy)
        x, y, z = (
            np.abs(points[:, [k]] - axis[None]).argmin(axis=1) for k, axis in enumerate((axes.x, axes.y, axes.z))
        )
        codes = [ORGAN_CODES[name] for name in INSIDE[site.organ]]
        assert np.isin(canvas.label[z, y, x], codes).mean() > 0.85, site.key


def test_findings_of_ct_and_mr_are_drawn() -> None:
    groups = {p.group for p in load_ontology().protocols if p.modality in ("CT", "MR")}
    drawn = set(LOOKS) | set(DIFFUSE) | set(HEAD) | set(KNEE) | set(ORGAN_CHANGES) | NOT_DRAWN
    missing = {f.key for f in load_ontology().findings if groups & set(f.prevalence)} - drawn
    assert missing == set()
