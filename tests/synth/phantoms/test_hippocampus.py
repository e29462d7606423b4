"""The hippocampus has a curled head, a tapering tail, the temporal horn outside and white matter below."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from osler.synth.draw import draw_patient
from osler.synth.facts import FindingFact, PatientFacts
from osler.synth.phantoms import ORGANS, render_volume
from osler.synth.phantoms.render import Phantom

MM = 1.25
HALF = {"right": -1, "left": 1}


def brain(findings: tuple[FindingFact, ...] = ()) -> Phantom:
    for number in range(200):
        patient = draw_patient(seed=6, number=number)
        for exam in patient.exams:
            if exam.protocol == "mr-brain-t1" and patient.anatomy.shape > 0:
                return render_volume(
                    with_findings(patient, exam.number, findings), exam=exam.number, spacing_mm=(MM,) * 3
                )
    raise AssertionError("No T1 brain in 200 patients.")


def with_findings(patient: PatientFacts, exam: int, findings: tuple[FindingFact, ...]) -> PatientFacts:
    exams = list(patient.exams)
    exams[exam] = dataclasses.replace(exams[exam], findings=findings)
    return dataclasses.replace(patient, exams=tuple(exams))


def places(phantom: Phantom, organ: str, *, side: str) -> np.ndarray:
    """Voxels (slice, row, column) of an organ on a side; columns grow to the patient's left."""
    found = np.argwhere(phantom.organs == ORGANS.index(organ))
    return found[(found[:, 2] - phantom.organs.shape[2] / 2) * HALF[side] > 0]


@pytest.fixture(scope="module")
def plain() -> Phantom:
    return brain()


@pytest.mark.parametrize("side", ["right", "left"])
def test_head_is_thick_and_tail_is_thin(plain: Phantom, side: str) -> None:
    rows = places(plain, "hippocampus", side=side)[:, 1]
    area = np.bincount(rows - rows.min())
    third = len(area) // 3
    assert area[:third].mean() > 1.5 * area[-third:].mean()
    assert 2000 < len(rows) * MM**3 < 6500  # mm3, adults


@pytest.mark.parametrize("side", ["right", "left"])
def test_head_turns_inwards_and_the_horn_lies_outside(plain: Phantom, side: str) -> None:
    found, horn = (places(plain, organ, side=side) for organ in ("hippocampus", "ventricles"))
    rows = found[:, 1]
    front = found[rows < np.quantile(rows, 0.3)]
    body = found[(rows > np.quantile(rows, 0.45)) & (rows < np.quantile(rows, 0.7))]
    middle = plain.organs.shape[2] / 2
    inner = [np.abs(part[:, 2] - middle).min() for part in (front, body)]
    assert inner[0] < inner[1]
    beside = horn[(horn[:, 1] >= body[:, 1].min()) & (horn[:, 1] <= body[:, 1].max())]
    beside = beside[np.abs(beside[:, 0] - body[:, 0].mean()) * MM < 8]
    assert len(beside) > 20
    assert np.abs(beside[:, 2] - middle).mean() > np.abs(body[:, 2] - middle).mean()


def test_an_atrophic_side_is_thinner_and_its_horn_is_wider(plain: Phantom) -> None:
    fact = FindingFact(key="hippocampal-atrophy", lesion=1, certainty="present", side="left", severity="severe")
    shrunk = brain((fact,))
    count = {
        (name, side): len(places(phantom, "hippocampus", side=side))
        for name, phantom in (("plain", plain), ("shrunk", shrunk))
        for side in HALF
    }
    assert count["shrunk", "left"] < 0.75 * count["plain", "left"]
    assert count["shrunk", "right"] == count["plain", "right"]
    assert np.sum(shrunk.organs == ORGANS.index("ventricles")) > np.sum(plain.organs == ORGANS.index("ventricles"))
