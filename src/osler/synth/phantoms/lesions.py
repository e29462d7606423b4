"""Paints focal lesions where the facts put them, and writes their masks.

Lesions are painted in straight coordinates: the body bends around them, their centers
and axes are those of the facts. The mask is the plain ellipsoid, so its size is the
size in the report; what a lesion does beyond it (spicules, a halo) is picture only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.synth.anatomy import sites, unit_mm
from osler.synth.facts import Anatomy, Exam, FindingFact, Region
from osler.synth.phantoms.canvas import Canvas, Grid, Point, cover_of, smooth_field
from osler.synth.phantoms.looks import LOOKS, Look

_GROWTH = {"none": 1.0, "mild": 0.8, "moderate": 1.1, "severe": 1.4}


def focal(exam: Exam) -> list[FindingFact]:
    """The findings of an exam that are drawn as focal lesions."""
    return [f for f in exam.findings if f.certainty != "absent" and f.change != "resolved" and f.key in LOOKS]


def place(finding: FindingFact, *, region: Region, anatomy: Anatomy) -> tuple[Point, Point] | None:
    """Center and full axes of a focal lesion in mm; ``None`` if the facts name no place."""
    look = LOOKS[finding.key]
    axes = finding.axes_mm or tuple(a * _GROWTH[finding.severity] for a in look.default_mm)
    if finding.center_mm is not None:
        return finding.center_mm, (axes[0], axes[1], axes[2])
    for site in sites():
        if site.key == finding.site:
            unit = unit_mm(site.region, anatomy=anatomy)
            x, y, z = (c * u for c, u in zip(site.center, unit, strict=True))
            return (x, y, z), (axes[0], axes[1], axes[2])
    return None


def paint_lesions(canvas: Canvas, *, exam: Exam, anatomy: Anatomy) -> list[str]:
    """Paints all focal lesions of an exam; returns the keys of those that found no voxel."""
    missed = []
    for finding in focal(exam):
        where = place(finding, region=exam.region, anatomy=anatomy)
        if where is None or not _paint(canvas, finding, center=where[0], axes=where[1], seed=anatomy.shape):
            missed.append(finding.key)
    return missed


def ellipsoid_mm(
    canvas: Canvas, block: tuple[slice, slice, slice], *, center: Point, axes: Sequence[float]
) -> np.ndarray:
    """Distance (mm) to an ellipsoid given in straight mm, over a block."""
    x, y, z = canvas.mm(block)
    total = ((x - np.float32(center[0])) * np.float32(2 / axes[0])) ** 2
    total = total + ((y - np.float32(center[1])) * np.float32(2 / axes[1])) ** 2
    total = total + ((z - np.float32(center[2])) * np.float32(2 / axes[2])) ** 2
    return (np.sqrt(total) - 1) * np.float32(min(axes) / 2)


def block_mm(canvas: Canvas, *, center: Point, reach: Sequence[float]) -> tuple[slice, slice, slice]:
    """The part of the grid within ``reach`` (mm) of a center."""
    in_units = tuple(c / u for c, u in zip(center, canvas.unit, strict=True))
    half = tuple(r / u for r, u in zip(reach, canvas.unit, strict=True))
    return canvas.block((in_units[0], in_units[1], in_units[2]), (half[0], half[1], half[2]), margin_mm=1.0)


def _paint(canvas: Canvas, finding: FindingFact, *, center: Point, axes: Point, seed: int) -> bool:
    look = LOOKS[finding.key]
    spill = look.halo_mm + (10.0 if look.texture == "spiculated" else 3.0)
    block = block_mm(canvas, center=center, reach=[a / 2 + spill for a in axes])
    if canvas.value[block].size == 0:
        return False
    far = ellipsoid_mm(canvas, block, center=center, axes=axes)
    strength = np.float32({"present": 1.0, "probable": 0.9, "possible": 0.7, "absent": 0.0}[finding.certainty])
    canvas.value[block] += _step(canvas, finding, look=look, block=block, far=far, axes=axes, seed=seed) * strength
    inside = far <= 0
    if not inside.any():
        inside = far <= far.min()
    canvas.lesions[block][inside] = finding.lesion
    return True


def _step(
    canvas: Canvas,
    finding: FindingFact,
    *,
    look: Look,
    block: tuple[slice, slice, slice],
    far: np.ndarray,
    axes: Point,
    seed: int,
) -> np.ndarray:
    """What a lesion adds to the values of its block."""
    before = canvas.value[block]
    out = before.copy()
    edge = canvas.grid.edge_mm
    palette = canvas.palette
    if look.texture != "even":
        low = {"spiculated": 16, "patchy": 10, "lobed": 6}[look.texture]
        number = (seed + 7919 * finding.lesion) % (2**31)
        field = _field(canvas, block, seed=number, modes=(low, low * 3))
    if look.halo:
        around = np.exp(-((np.maximum(far, 0) / np.float32(look.halo_mm * 0.6)) ** 2)) * np.float32(0.85)
        out += (np.float32(palette[look.halo]) - out) * around
    if look.texture == "spiculated":
        rays = np.clip(field - 0.9, 0, 1) * np.exp(-np.maximum(far, 0) / np.float32(4.0))
        out += (np.float32(palette[look.tissue]) - out) * np.clip(rays, 0, 1)
    cover = cover_of(far, edge_mm=edge)
    if look.texture == "patchy":
        cover = cover * np.clip(np.float32(0.80) + np.float32(0.30) * field, 0.25, 1.0)
        cover = np.maximum(cover, np.exp(-np.maximum(far, 0) / np.float32(3.0)) * np.clip(field * 0.5, 0, 0.7))
    goal = np.float32(palette[look.tissue])
    if look.texture == "lobed":
        goal = goal + field * np.float32(0.06) * np.float32(abs(palette[look.tissue]))
    out += (goal - out) * cover
    if look.core:
        part = np.float32(look.core_part)
        half = np.float32(min(axes) / 2)
        core = cover_of((far / half + 1 - part) * half, edge_mm=edge)
        out += (np.float32(palette[look.core]) - out) * core
    return out - before


def _field(canvas: Canvas, block: tuple[slice, slice, slice], *, seed: int, modes: tuple[int, int]) -> np.ndarray:
    """A smooth field over a block alone."""
    origin = tuple(float(canvas.grid.axis(n)[block[2 - n]][0]) for n in range(3))
    shape = canvas.value[block].shape
    grid = Grid(
        shape=(shape[0], shape[1], shape[2]), spacing=canvas.grid.spacing, origin=(origin[0], origin[1], origin[2])
    )
    return smooth_field(grid, seed=seed, period_mm=300.0, modes=modes, reach_mm=8.0)
