"""The floor of the skull falls by three fossae, bulges beside the midline in front, and is alike on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.phantoms.skull_base import base_of_skull, tent


def floor(x: float, y: float) -> float:
    return float(base_of_skull(np.float32(x), np.float32(y)))


def test_each_fossa_is_lower_than_the_one_in_front() -> None:
    assert floor(0.5, -0.6) > floor(0.5, -0.2) + 0.15
    assert floor(0.5, -0.2) > floor(0.2, 0.5) + 0.15


def test_the_cribriform_plate_lies_below_the_roofs_of_the_orbits_and_the_sella_above_the_middle_fossae() -> None:
    assert floor(0.42, -0.6) > floor(0.0, -0.6) + 0.05
    assert floor(0.0, -0.08) > floor(0.5, -0.2)


def test_the_tip_of_the_temporal_lobe_reaches_further_forward_than_the_sella() -> None:
    y = np.linspace(-0.7, 0, 200, dtype=np.float32)
    middle = [float(y[np.argmax(base_of_skull(np.float32(x), y) < -0.45)]) for x in (0.55, 0.12)]
    assert middle[0] < middle[1]


@pytest.mark.parametrize("height", [base_of_skull, tent])
def test_floors_are_symmetric_smooth_and_nowhere_flat(height) -> None:
    x, y = np.linspace(-0.8, 0.8, 161, dtype=np.float32)[None], np.linspace(-0.8, 0.8, 161, dtype=np.float32)[:, None]
    grid = height(x, y)
    assert grid == pytest.approx(grid[:, ::-1], abs=1e-6)
    assert max(np.abs(np.diff(grid, axis=0)).max(), np.abs(np.diff(grid, axis=1)).max()) < 0.08
    assert np.ptp(grid, axis=1).min() > 0.04


def test_the_tentorium_is_above_the_floor_of_the_hind_fossa() -> None:
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, 21), np.linspace(0.35, 0.75, 21))
    assert (tent(x, y) > base_of_skull(x, y) + 0.3).all()
