"""The liver has two lobes with a cleft between them, and round borders."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.draw import draw_patient
from osler.synth.phantoms import ORGANS, render_volume
from osler.synth.phantoms.render import Phantom


@pytest.fixture(scope="module")
def plain() -> Phantom:
    for number in range(200):
        patient = draw_patient(seed=6, number=number)
        for exam in patient.exams:
            known = {fact.key for fact in exam.findings if fact.certainty == "present"}
            if exam.region == "abdomen" and patient.anatomy.shape > 0 and not any("liver" in key for key in known):
                return render_volume(patient, exam=exam.number, shape=(60, 150, 150), axes="LPS")
    raise AssertionError("No abdomen in 200 patients.")


def liver(phantom: Phantom) -> np.ndarray:
    return phantom.organs == ORGANS.index("liver")


def runs(row: np.ndarray) -> int:
    """How many separate stretches of a row are set."""
    return int(np.count_nonzero(np.diff(row.astype(np.int8), prepend=0) == 1))


def test_a_cleft_parts_the_lobes_in_some_slices(plain: Phantom) -> None:
    mask = liver(plain)
    cut = [z for z in np.flatnonzero(mask.any(axis=(1, 2))) if any(runs(row) > 1 for row in mask[z][:75])]
    assert len(cut) >= 3


def test_the_left_border_is_not_straight(plain: Phantom) -> None:
    """The last column of the liver in each row of a middle slice leaves its best line by more than 3 mm."""
    mask = liver(plain)
    area = mask.sum(axis=(1, 2))
    plane = mask[int(np.argmax(area))]
    rows = np.flatnonzero(plane.any(axis=1))
    rows = rows[len(rows) // 8 : -len(rows) // 8]
    edge = np.array([np.flatnonzero(plane[row])[-1] for row in rows]) * plain.affine.spacing[0]
    rest = edge - np.polyval(np.polyfit(rows, edge, 1), rows)
    assert rest.std() > 3.0
