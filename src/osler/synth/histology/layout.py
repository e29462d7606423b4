"""The map of a window of a slide: glands, lumens, stroma fibers, fat, necrosis, glass."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from osler.synth.elementary import exp
from osler.synth.histology.fields import Lattice, nearest_cells, smooth_noise
from osler.synth.histology.patterns import PATTERNS, SOLID_UM, Pattern
from osler.synth.histology.spec import SlideSpec, pattern_of, tissue_depth, tumor_depth

_STRIP_UM = 16.0
_FAT_WALL_UM = 1.4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Slow fields of a window, (rows, columns) on its lattice, µm where they are lengths.

    Args:
        depth: Into a gland from its basement membrane; below 0 in the stroma.
        lumen: Into a lumen from its surface; below 0 in the wall.
        wall: Height of the epithelium.
        fiber: Stream function of the stroma's fibers, which run along its level lines.
        kind: Number of the tissue in ``patterns``: 0 is the organ's own.
        tumor: Into the nearest tumor; below 0 outside.
        fat: Into a fat cell from its wall; below 0 elsewhere.
        necrosis: Above 0 where the tissue is dead.
        tissue: Into the section from empty glass.
        patterns: The tissues in this window.
    """

    lattice: Lattice
    depth: np.ndarray
    lumen: np.ndarray
    wall: np.ndarray
    fiber: np.ndarray
    kind: np.ndarray
    tumor: np.ndarray
    fat: np.ndarray
    necrosis: np.ndarray
    tissue: np.ndarray
    patterns: tuple[Pattern, ...]

    def table(self, name: str) -> np.ndarray:
        """One number of each tissue, to be indexed by ``kind``."""
        return np.array([getattr(pattern, name) for pattern in self.patterns], dtype=np.float64)


def lay_out(spec: SlideSpec, *, lattice: Lattice) -> Layout:
    """Computes the map of a window."""
    x, y = lattice.grid()
    own, zones = _own_tissue(spec, x=x, y=y)
    patterns = list(own)
    kind = zones
    tumor = np.full(lattice.shape, -1e3)
    dead = np.full(lattice.shape, -60.0)
    for place in spec.tumors:
        into = tumor_depth(spec, place, x=x, y=y)
        if into.max() > 0:
            kind = np.where(into > np.maximum(tumor, 0), len(patterns), kind)
            patterns.append(pattern_of(place))
            dead = np.where(into > 0, _necrosis(spec, share=place.necrosis, into=into, x=x, y=y), dead)
        tumor = np.maximum(tumor, into)
    maps = [_glands(spec.key, pattern, x=x, y=y) if np.any(kind == n) else None for n, pattern in enumerate(patterns)]
    depth, lumen, wall = (np.zeros(lattice.shape) for _ in range(3))
    for n, found in enumerate(maps):
        if found is not None:
            here = kind == n
            depth, lumen, wall = (
                np.where(here, new, old) for new, old in zip(found, (depth, lumen, wall), strict=True)
            )
    tissue = tissue_depth(spec, x=x, y=y)
    # A strip of stroma parts tumor from normal glands, and lines the section's edge.
    strip = np.minimum(np.abs(tumor) - _STRIP_UM / 2, tissue - _STRIP_UM / 2)
    cut = strip < depth
    depth = np.minimum(depth, strip)
    lumen = np.where(cut & (wall > 0), np.minimum(lumen, depth - np.minimum(wall, 12)), np.minimum(lumen, strip))
    fat = _fat(spec.key, kind=kind, patterns=patterns, x=x, y=y)
    return Layout(
        lattice=lattice, depth=depth, lumen=lumen, wall=wall, fiber=_fibers(spec.key, depth=depth, x=x, y=y), kind=kind,
        tumor=tumor, fat=np.minimum(fat, tissue), necrosis=dead, tissue=tissue, patterns=tuple(patterns),
    )  # fmt: skip


def _own_tissue(spec: SlideSpec, *, x: np.ndarray, y: np.ndarray) -> tuple[tuple[Pattern, ...], np.ndarray]:
    """The organ's tissues and which lies where."""
    own = PATTERNS[spec.tissue or spec.organ]
    if spec.organ != "breast":
        return (own,), np.zeros(np.broadcast_shapes(x.shape, y.shape), np.intp)
    x, y = (
        x + 60 * smooth_noise(spec.key, "zone-x", x=x, y=y, period=150.0),
        y + 60 * smooth_noise(spec.key, "zone-y", x=x, y=y, period=150.0),
    )
    lobules = _blotches(spec.key, "lobules", x=x, y=y, period=330.0)
    fat = _blotches(spec.key, "fat", x=x, y=y, period=600.0) + 0.2 * smooth_noise(
        spec.key, "fat-fine", x=x, y=y, period=110.0
    )
    zones = np.where(lobules > 0.22, 0, np.where(fat > 0.12, 2, 1))
    return (own, PATTERNS["breast-stroma"], PATTERNS["breast-fat"]), zones


def _blotches(key: int, stream: str, *, x: np.ndarray, y: np.ndarray, period: float) -> np.ndarray:
    """Smooth noise whose borders follow no axis: two layers, one turned by 36 degrees, with one layer's deviation."""
    cosine, sine = math.cos(0.2 * np.pi), math.sin(0.2 * np.pi)
    straight = smooth_noise(key, stream, x=x, y=y, period=period)
    turned = smooth_noise(key, f"{stream}-turned", x=cosine * x + sine * y, y=cosine * y - sine * x, period=period)
    return (straight + turned) * np.sqrt(0.5)


def _necrosis(spec: SlideSpec, *, share: float, into: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if share <= 0:
        return np.full(into.shape, -60.0)
    noise = smooth_noise(spec.key, "necrosis", x=x, y=y, period=260.0)
    noise += 0.3 * smooth_noise(spec.key, "necrosis-fine", x=x, y=y, period=45.0)
    # The quantile of the noise that leaves about this share above it; its deviation is near 0.45.
    return np.minimum((noise - (0.55 - 1.15 * share)) * 60, into - 60)


def _glands(key: int, pattern: Pattern, *, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth into glands, into lumens, and height of the wall."""
    wander_x = smooth_noise(key, "warp-x", x=x, y=y, period=pattern.warp_period)
    wander_y = smooth_noise(key, "warp-y", x=x, y=y, period=pattern.warp_period)
    fine = smooth_noise(key, "warp-fine", x=x, y=y, period=pattern.warp_period / 3)
    u, v = x + pattern.warp * (wander_x + 0.3 * fine), y + pattern.warp * (wander_y - 0.3 * fine)
    if pattern.stretch != 1:
        u, v = (u + 0.35 * v) / pattern.stretch, v * pattern.stretch**0.5
    cells = nearest_cells(key, "glands", x=u, y=v, spacing=pattern.spacing, jitter=pattern.jitter)
    cap = pattern.cap * (0.8 + 0.35 * cells.chance[2])
    inside, rim = cells.to_edge - pattern.gap / 2, cap - cells.to_center
    # A smooth minimum rounds the corners of the cells.
    blend = 9.0
    h = np.clip(0.5 + 0.5 * (rim - inside) / blend, 0, 1)
    depth = rim * (1 - h) + inside * h - blend * h * (1 - h)
    depth = np.where(cells.chance[3] < pattern.present, depth, -np.maximum(20.0, np.abs(depth)))
    fold = smooth_noise(key, "fold", x=x, y=y, period=26.0)
    wall = pattern.wall * (1 + pattern.fold * fold) if pattern.wall < SOLID_UM else np.full(depth.shape, SOLID_UM)
    lumen = depth - wall
    if pattern.holes > 0:
        punched = nearest_cells(key, "holes", x=x, y=y, spacing=pattern.holes, jitter=0.8)
        hole = (0.18 + 0.16 * punched.chance[2]) * pattern.holes - punched.to_center
        hole = np.where(punched.chance[3] < 0.8, np.minimum(hole, depth - 11), -20.0)
        lumen = np.maximum(lumen, hole)
    return depth, lumen, wall


def _fibers(key: int, *, depth: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A stream function (µm) whose level lines wrap around glands and wander elsewhere."""
    slow = smooth_noise(key, "fiber-slow", x=x, y=y, period=240.0) * 75
    wave = smooth_noise(key, "fiber-wave", x=x, y=y, period=52.0) * 13
    ripple = smooth_noise(key, "fiber-ripple", x=x, y=y, period=17.0) * 2.6
    return 0.4 * x + 0.75 * y + slow + wave + ripple + 9.0 * exp(np.clip(depth, -60, 0) / 9)


def _fat(key: int, *, kind: np.ndarray, patterns: list[Pattern], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    fatty = np.array([pattern.ground == "fat" for pattern in patterns])[kind]
    if not fatty.any():
        return np.full(kind.shape, -10.0)
    cells = nearest_cells(key, "fat-cells", x=x, y=y, spacing=58.0, jitter=0.7)
    return np.where(fatty, np.minimum(cells.to_edge, 38 - cells.to_center) - _FAT_WALL_UM, -10.0)
