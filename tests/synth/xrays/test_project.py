"""Sums along rays are those of plain interpolation, and a part of a grid gives what the whole gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from osler.synth.phantoms.canvas import Axes, Rays
from osler.synth.xrays.beam import Beam, View
from osler.synth.xrays.project import Projector

AXES = Axes(
    x=np.arange(-32, 40, 8, dtype=np.float32),
    y=np.arange(-24, 40, 8, dtype=np.float32),
    z=np.arange(-20, 30, 2, dtype=np.float32),
)


def beam(view: View) -> Beam:
    return Beam(
        view=view, source_mm=900.0, detector_mm=-60.0, center_mm=(1.5, 4.0), pixel_mm=0.8, rows=72, columns=64, yaw=0.05
    )


def plain(voxels: np.ndarray, *, rays: Rays, step: int, view: View) -> np.ndarray:
    """Each slab of voxels where the rays meet it, by linear interpolation in double precision."""
    film = beam(view)
    source = np.array([float(line.flat[0]) for line in film.plane(film.source_mm, step=step)])
    far = np.stack(np.broadcast_arrays(*film.plane(film.detector_mm, step=step)), axis=-1).astype(np.float64)
    along, line = (1, AXES.y) if rays == "y" else (0, AXES.x)
    way = far - source
    total = np.zeros(way.shape[:2])
    for place in line:
        met = source + way * ((place - source[along]) / way[..., along])[..., None]
        index = [(met[..., k] - axis[0]) / (axis[1] - axis[0]) for k, axis in ((2, AXES.z), (1, AXES.y), (0, AXES.x))]
        total += map_coordinates(voxels, index, order=1, mode="grid-constant")
    return total * np.linalg.norm(way, axis=-1) / np.abs(way[..., along]) * (line[1] - line[0])


@pytest.mark.parametrize(("view", "rays"), [("PA", "y"), ("lateral", "x")])
def test_sums_are_those_of_plain_interpolation(view: View, rays: Rays) -> None:
    voxels = np.random.default_rng(5).random(AXES.shape).astype(np.float32)
    found = Projector(AXES, rays=rays, beam=beam(view), step=1).lengths(voxels)
    wanted = plain(voxels.astype(np.float64), rays=rays, step=1, view=view)
    assert wanted.max() > 10
    np.testing.assert_allclose(found, wanted, atol=2e-4 * wanted.max())


@pytest.mark.parametrize("mode", ["sum", "greatest"])
@pytest.mark.parametrize(("view", "rays"), [("PA", "y"), ("lateral", "x")])
def test_a_box_of_the_grid_gives_what_the_whole_grid_gives(view: View, rays: Rays, mode: str) -> None:
    box = (slice(6, 15), slice(2, 6), slice(3, 9))
    voxels = np.zeros(AXES.shape, np.float32)
    voxels[box] = 1 + np.random.default_rng(6).random(voxels[box].shape)
    projector = Projector(AXES, rays=rays, beam=beam(view), step=2)
    whole, part = projector.lengths(voxels, mode=mode), projector.lengths(voxels[box], box=box, mode=mode)
    assert whole.shape == (72, 64)
    assert whole.max() > 1
    np.testing.assert_allclose(part, whole, atol=1e-4 * whole.max())
