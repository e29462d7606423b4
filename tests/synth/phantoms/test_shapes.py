"""Implicit shapes have the depth that their formula gives."""

from __future__ import annotations

import numpy as np

from osler.synth.phantoms.canvas import Axes, Canvas
from osler.synth.phantoms.shapes import box_about, tilted
from osler.synth.phantoms.tissues import ct_palette
from tests.synth.xrays.patients import exam

CENTER, HALF = (3.0, -7.0, 5.0), (40.0, 21.0, 12.0)


def frame() -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(8).normal(size=(3, 3)))[0]


def test_a_tilted_ellipsoid_has_the_depth_of_its_formula_and_lies_in_its_box() -> None:
    line = np.arange(-60, 62, 3, dtype=np.float32)
    picture = Canvas(axes=Axes(x=line, y=line, z=line), palette=ct_palette(exam().acquisition), shape=1)
    axes = frame()
    z, y, x = np.meshgrid(line, line, line, indexing="ij")
    away = (np.stack([x, y, z], axis=-1).astype(np.float64) - CENTER) @ (axes / np.array(HALF)[:, None]).T
    wanted = (1 - np.linalg.norm(away, axis=-1)) * min(HALF)
    found = np.concatenate([tilted(CENTER, axes, HALF)(patch) for patch in picture.patches(((-99, 99),) * 3)])
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    inside = np.argwhere(wanted >= 0)
    for k, (low, high) in enumerate(reversed(box_about(CENTER, axes, HALF))):
        at = line[inside[:, k]]
        assert low <= at.min() < low + 6
        assert high - 6 < at.max() <= high
