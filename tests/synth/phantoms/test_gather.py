"""Tests of spheres gathered on a grid, against every sphere's depth at every voxel."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.phantoms.canvas import Axes
from osler.synth.phantoms.gather import Gather
from osler.synth.phantoms.shapes import Point


def axes() -> Axes:
    return Axes(
        x=np.arange(-40, 40, 1.7, dtype=np.float32),
        y=np.arange(-30, 30, 1.3, dtype=np.float32),
        z=np.arange(-20, 20, 2.5, dtype=np.float32),
    )


def every_depth(grid: Axes, points: np.ndarray, radius: np.ndarray, *, squash: Point) -> np.ndarray:
    """The greatest depth (mm) at each voxel, flat."""
    z, y, x = np.meshgrid(grid.z, grid.y, grid.x, indexing="ij")
    voxels = np.stack([x, y, z], axis=-1).reshape(-1, 1, 3)
    return (radius - np.linalg.norm((voxels - points) * np.array(squash), axis=2)).max(axis=1)


@pytest.mark.parametrize("largest", [2.0, 6.0, 25.0])
@pytest.mark.parametrize("squash", [(1.0, 1.0, 1.0), (0.5, 1.2, 0.8)])
def test_depths_are_those_of_the_deepest_sphere(largest: float, squash: Point) -> None:
    rng = np.random.default_rng(4)
    points = rng.uniform(-45, 45, (80, 3)).astype(np.float32)
    radius = rng.uniform(0.5, largest, 80).astype(np.float32)
    grid = axes()
    for _ in range(2):  # the shared memory is left as it was found
        gather = Gather(grid, reach=1.0)
        gather.add(points[:50], radius[:50], squash=squash)
        gather.add(points[50:], radius[50:], squash=squash)
        index, depth = gather.deepest()
        expected = every_depth(grid, points, radius, squash=squash)
        np.testing.assert_allclose(depth, expected[index], atol=1e-4)
        assert set(np.flatnonzero(expected > -0.999)) <= set(index.tolist())
        assert len(index)
        assert expected[index].min() > -1.01


def test_spheres_beside_the_grid_reach_nothing() -> None:
    gather = Gather(axes(), reach=1.0)
    gather.add(np.array([[200.0, 0, 0], [0, 0, -60]], np.float32), np.array([5.0, 30.0], np.float32), squash=(1, 1, 1))
    index, depth = gather.deepest()
    assert len(index) == len(depth) == 0
