"""The X-ray and the CT of a patient show one body: attenuation, lungs, heart and lesions agree."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from osler.study import Box2D
from osler.synth.draw import draw_patient
from osler.synth.facts import Exam, PatientFacts
from osler.synth.phantoms import ORGANS, Phantom
from osler.synth.phantoms.pose import CT_POSE
from osler.synth.xrays import Radiograph, render_xray
from tests.synth.xrays.ct_of_film import attenuation_of, ct_of, summed
from tests.synth.xrays.patients import body, exam, finding, nodule, patient

SIZE, EVERY = 256, 5
LUNG_MM, HEART_MM, HEART_OVER_LUNG_MM = 14, 12, 30
LESIONS = (
    nodule((72.0, 5.0, 95.0), mm=36, key="lung-mass", lesion=3),
    nodule((-66.0, -20.0, 60.0), mm=14, lesion=4),
    nodule((-60.0, 30.0, 120.0), mm=7, key="calcified-granuloma", lesion=5),
)
DISEASES = (
    finding("pleural-effusion", side="left", severity="moderate", lesion=1),
    finding("cardiomegaly", severity="moderate", lesion=2),
)


def _case(name: str) -> tuple[PatientFacts, Exam]:
    if name.startswith("drawn"):
        number = int(name.split("-")[1])
        person = draw_patient(seed=33, number=number)
        return person, next(one for one in person.exams if one.modality == "DX")
    view, sex, found = name.split(" ")
    findings = {"well": (), "lesions": LESIONS, "diseases": DISEASES}[found]
    one = exam(view, findings=findings)
    anatomy = body(sex=sex, height=162 if sex == "female" else 181, weight=70, shape=len(name) * 7)
    return patient(one, sex=sex, age=58, number=len(name), anatomy=anatomy), one


CASES = ("PA male well", "PA female lesions", "AP male diseases", "lateral male lesions", "drawn-14", "drawn-28")


@cache
def both(name: str) -> tuple[Radiograph, Phantom, np.ndarray]:
    """A film, the CT of the body in its pose, and the CT's Beer-Lambert sums."""
    person, one = _case(name)
    film = render_xray(person, exam=one, size=SIZE)
    ct = ct_of(person, exam=one, film=film, pose=film.pose)
    kvp = float(one.acquisition.kvp or 110)
    return film, ct, summed(attenuation_of(ct, kvp=kvp), ct=ct, beam=film.beam, every=EVERY)


def thin(picture: np.ndarray) -> np.ndarray:
    return picture[EVERY // 2 :: EVERY, EVERY // 2 :: EVERY]


def way_in(ct: Phantom, film: Radiograph, *organs: str, side: float = 0.0) -> np.ndarray:
    """Length (mm) of each ray in organs of the CT, of a side of the body if one is named."""
    inside = np.isin(ct.organs, [ORGANS.index(name) for name in organs])
    if side:
        x = ct.affine.matrix[0, 3] + ct.affine.matrix[0, 0] * np.arange(inside.shape[2])
        inside &= side * x > 0
    return summed(inside.astype(np.float32), ct=ct, beam=film.beam, every=EVERY)


@pytest.mark.parametrize("name", CASES)
def test_the_film_is_the_beer_lambert_sum_of_the_ct(name: str) -> None:
    film, _, total = both(name)
    body_ = total > 0.3
    off = (thin(film.attenuation) - total)[body_] / total[body_]
    assert np.median(np.abs(off)) < 0.03
    assert np.percentile(np.abs(off), 90) < 0.09
    assert abs(np.median(off)) < 0.03


@pytest.mark.parametrize("name", CASES)
def test_lungs_have_the_outline_of_the_cts(name: str) -> None:
    film, ct, _ = both(name)
    heart = way_in(ct, film, "heart", "pericardium")
    for number, (side, organ) in enumerate(((-1.0, "right-lung"), (1.0, "left-lung"))):
        space = way_in(ct, film, organ) + way_in(ct, film, "pleural-space", side=side)
        projected = (space > LUNG_MM) & (heart <= HEART_OVER_LUNG_MM)
        outlined = thin(film.lungs[number])
        assert 2 * (projected & outlined).sum() / (projected.sum() + outlined.sum()) > 0.95


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("lateral")])
def test_the_heart_is_as_wide_as_the_cts_beside_the_chest(name: str) -> None:
    film, ct, _ = both(name)
    ratios = []
    lungs = way_in(ct, film, "right-lung", "left-lung", "pleural-space") > LUNG_MM
    for heart, chest in (
        (way_in(ct, film, "heart", "pericardium") > HEART_MM, lungs),
        (thin(film.heart), thin(film.lungs[0] | film.lungs[1])),
    ):
        # The width of each row's heart, to a part of a pixel: the mean of the widest rows.
        rows = np.sort([np.ptp(np.flatnonzero(row)) + 1 for row in heart if row.any()])[-6:]
        ratios.append(rows.mean() / (np.ptp(np.nonzero(chest)[1]) + 1))
    assert ratios[1] == pytest.approx(ratios[0], rel=0.03)


@pytest.mark.parametrize("name", ["PA female lesions", "lateral male lesions"])
def test_each_lesions_box_is_the_projection_of_its_box_in_the_ct(name: str) -> None:
    film, ct, _ = both(name)
    shown = {lesion.fact.lesion: lesion.box for lesion in film.lesions}
    assert set(shown) == {3, 4, 5}
    for number, box in ct.boxes.items():
        (x0, y0, z0), (x1, y1, z1) = box.low, box.high
        corners = np.array([[x, y, z] for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)])
        column, row, _ = film.beam.project(corners)
        wanted = Box2D(x0=column.min(), y0=row.min(), x1=column.max(), y1=row.max())
        found = shown[number]
        edges = [(getattr(wanted, k), getattr(found, k)) for k in ("x0", "y0", "x1", "y1")]
        assert max(abs(a - b) for a, b in edges) <= 2
        if box.size[0] > 10:  # of a smaller one, 2 mm voxels and pixels of 1.7 mm leave less
            assert wanted.iou(found) > 0.8


def test_a_film_in_the_pose_of_a_ct_agrees_with_the_plain_ct() -> None:
    person, one = _case("PA male well")
    film = render_xray(person, exam=one, size=SIZE, pose=CT_POSE)
    ct = ct_of(person, exam=one, film=film, pose=CT_POSE)
    total = summed(attenuation_of(ct, kvp=120), ct=ct, beam=film.beam, every=EVERY)
    inside = total > 0.3
    off = np.abs(thin(film.attenuation) - total)[inside] / total[inside]
    assert np.median(off) < 0.03


def test_another_body_does_not_agree() -> None:
    film, _, total = both("PA male well")
    person, one = _case("PA male well")
    other = dataclasses.replace(person, anatomy=body(sex="male", height=170, weight=70, shape=5))
    strange = ct_of(other, exam=one, film=film, pose=film.pose)
    total = summed(attenuation_of(strange, kvp=120), ct=strange, beam=film.beam, every=EVERY)
    inside = total > 0.3
    assert np.median(np.abs(thin(film.attenuation) - total)[inside] / total[inside]) > 0.03
