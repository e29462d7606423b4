"""Tests of elementary functions that every processor computes alike, and of the pixels that are made with them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__  # what NumPy chooses its code by

from osler.synth import elementary

RNG = np.random.default_rng(3)
KINDS = [np.float32, np.float64]
RANGES = {
    "exp": (-80.0, 80.0),
    "log": (1e-4, 1e4),
    "sine": (-1000.0, 1000.0),
    "cosine": (-1000.0, 1000.0),
}
NUMPY = {"exp": np.exp, "log": np.log, "sine": np.sin, "cosine": np.cos}
DRAWING = """
import hashlib
import numpy as np
from osler.synth.draw import draw_facts
from osler.synth.histology import PATTERNS, SlideSpec, TumorPlace, render_tile
from osler.synth.phantoms import render_volume
from osler.synth.xrays import render_xray

total = hashlib.sha256()
patients = list(map(draw_facts(seed=77, patients=np.arange(150)).patient, range(150)))
wanted = {exam.protocol: (patient, exam) for patient in reversed(patients) for exam in patient.exams}
for protocol, (patient, exam) in sorted(wanted.items()):
    if exam.modality in ("CT", "MR"):
        drawn = render_volume(patient, exam=exam.number, shape=(20, 40, 40))
        for array in (drawn.array, drawn.organs, drawn.lesions_map):
            total.update(array.tobytes())
    elif exam.modality == "DX":
        film = render_xray(patient, exam=exam, size=96)
        total.update(film.attenuation.tobytes() + film.pixels.tobytes())
place = TumorPlace(center_mm=(1.0, 1.0), half_mm=(0.6, 0.6), pattern="colon-grade-2", necrosis=0.1)
for spec in (SlideSpec(organ="breast", key=1), SlideSpec(organ="colon", key=2, tumors=(place,))):
    total.update(render_tile(spec, column=1600, row=1500).pixels.tobytes())
print(total.hexdigest())
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", RANGES)
def test_functions_are_those_of_numpy_to_a_few_units_of_the_last_place(name: str, kind: type) -> None:
    x = RNG.uniform(*RANGES[name], 5000).astype(kind)
    found, exact = getattr(elementary, name)(x), NUMPY[name](x.astype(np.longdouble))
    assert found.dtype == kind
    assert np.max(np.abs(found - exact) / np.maximum(np.abs(exact), 0.5)) < 4 * np.finfo(kind).eps


@pytest.mark.parametrize("kind", KINDS)
def test_powers_and_angles_hold_at_their_ends(kind: type) -> None:
    x = np.append(RNG.uniform(0, 3, 5000), [0.0, 1.0]).astype(kind)
    assert np.allclose(elementary.power(x, 2.4), x**2.4, rtol=8 * np.finfo(kind).eps, atol=0)
    y = np.array([0.0, 0.0, -1.0, 1.0, 3.0, -2.0, 0.0], dtype=kind)
    x = np.array([0.0, -1.0, 0.0, 0.0, -0.1, -2.0, 5.0], dtype=kind)
    assert np.allclose(elementary.angle(y, x), np.arctan2(y, x), atol=4 * np.finfo(kind).eps)


def drawn(**forced: str) -> str:
    """The SHA-256 of small pictures of all kinds, drawn by a process of its own."""
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", DRAWING], env=os.environ | threads | forced, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def test_another_processor_draws_the_same_pixels() -> None:
    """NumPy without its code for newer processors, and BLAS with the kernels of an older one, stand for another.

    It has no compiled kernels either; this one uses them if they are built.
    """
    newer = " ".join(name for name in __cpu_dispatch__ if __cpu_features__.get(name))
    assert drawn() == drawn(NPY_DISABLE_CPU_FEATURES=newer, OPENBLAS_CORETYPE="Nehalem", OSLER_PAINTING="numpy")
