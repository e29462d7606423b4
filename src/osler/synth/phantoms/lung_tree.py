"""The vessels of the lungs: a tree on each side that branches from the hilum outward."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from osler.synth.draws import Draws
from osler.synth.elementary import cosine, power, sine
from osler.synth.phantoms.thorax import LEFT, RIGHT, Thorax

_GENERATIONS = 11
_STEM_MM = 4.7


@lru_cache(maxsize=8)
def vessel_tree(thorax: Thorax) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Segments of both trees: starts (N, 3), ends (N, 3), radii (mm) and generation."""
    starts, ends, radii, ages = [], [], [], []
    for side in (RIGHT, LEFT):
        tip, way, radius = _stems(thorax, side=side)
        number = np.arange(len(tip)) + (1000 if side > 0 else 0)
        for generation in range(_GENERATIONS):
            draws = Draws(seed=thorax.shape, patients=number)
            length = (19 * 0.86**generation + 3) * (0.75 + 0.5 * draws.uniform("vessel-length"))
            end = tip + way * length[:, None]
            inside = thorax.in_lung(end, side=side) > 2.5
            hidden = generation < 2
            keep = inside | hidden
            starts.append(tip[keep]), ends.append(end[keep]), radii.append(radius[keep])
            ages.append(np.full(int(keep.sum()), generation))
            tip, way, radius, number = (values[inside] for values in (end, way, radius, number))
            if not len(tip):
                break
            tip, way, radius, number = _fork(tip, way, radius, number, thorax=thorax)
    return np.concatenate(starts), np.concatenate(ends), np.concatenate(radii), np.concatenate(ages)


def _stems(thorax: Thorax, *, side: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """First branches: to the apex, front, middle and the base's segments."""
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    hilum = np.array([side * 0.20 * w, 0.06 * d, (0.128 if side < 0 else 0.14) * t])
    targets = np.array([
        (0.38, 0.10, 0.29), (0.52, -0.45, 0.24), (0.66, 0.25, 0.22), (0.72, -0.35, 0.12), (0.55, -0.60, 0.07),
        (0.70, 0.15, 0.05), (0.42, 0.62, 0.00), (0.30, 0.30, -0.03), (0.58, 0.45, -0.04), (0.40, 0.70, 0.16),
    ])  # fmt: skip
    goals = targets * [side * w, d, t]
    way = goals - hilum
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    stem = _STEM_MM * np.array([0.85, 0.7, 0.75, 0.75, 0.7, 1.0, 1.05, 0.95, 1.0, 0.7])
    down = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 0.0])[:, None] * [side * 6, 4, -22]
    return hilum + down + way * 4, way, stem


def _fork(
    tip: np.ndarray, way: np.ndarray, radius: np.ndarray, number: np.ndarray, *, thorax: Thorax
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    draws = Draws(seed=thorax.shape, patients=number)
    around, wide, share = (draws.uniform(f"vessel-{name}") for name in ("around", "wide", "share"))
    helper = np.where(np.abs(way[:, [2]]) < 0.8, [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]])
    first = np.cross(way, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(way, first)
    turn = cosine(2 * np.pi * around)[:, None] * first + sine(2 * np.pi * around)[:, None] * second
    major, minor = 0.12 + 0.30 * wide, 0.5 + 0.6 * wide
    large = 0.82 + 0.12 * share
    small = power(1 - power(large, 2.6), 1 / 2.6)
    ways = np.concatenate([way + major[:, None] * turn, way - minor[:, None] * turn])
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    radii = np.concatenate([radius * large, radius * np.clip(small, 0.35, 0.8)])
    return np.concatenate([tip, tip]), ways, radii, np.concatenate([number * 2 + 1, number * 2 + 2]) + 7919
