"""A depth is found once for several passes, and is the depth of each."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.draw import draw_patient
from osler.synth.phantoms import abdomen, bowel, head, knee, liver, render_volume, torso

FINE = (30, 112, 112)


# In patient 59 the second pass covers less than the first.
@pytest.mark.parametrize(("number", "exam"), [(2, 0), (59, 1), (5, 0), (17, 0)])
def test_keeping_the_depth_changes_nothing(number: int, exam: int, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = draw_patient(seed=3, number=number)
    kept = render_volume(patient, exam=exam, shape=FINE)
    for place in (abdomen, bowel, head, knee, liver, torso):
        monkeypatch.setattr(place, "once", lambda depth: depth)
    plain = render_volume(patient, exam=exam, shape=FINE)
    assert np.array_equal(kept.organs, plain.organs)
    assert np.array_equal(kept.array, plain.array)
