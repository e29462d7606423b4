"""Stomach, small bowel and colon with gas, fluid and stool, and the mesentery's vessels."""

from __future__ import annotations

import numpy as np

from osler.synth.elementary import sine
from osler.synth.phantoms.canvas import Canvas, Patch
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.synth.phantoms.shapes import Point, around, even_steps, once, polyline, smooth_least, squared, tilted
from osler.synth.phantoms.state import Shown
from osler.synth.phantoms.torso import Torso
from osler.synth.phantoms.tubes import tubes

_ROUND_MM = 26.0
"""Within this difference of depths the stomach's own wall and the diaphragm above it flow into each other."""


def paint_bowel(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Paints stomach, small bowel and colon with gas, fluid and stool."""
    w, d, t = torso.w, torso.d, torso.t
    center = torso.at(0.34, -0.16, -0.05)
    axes = squared(np.array([[0.25, -0.45, -0.85], [0.95, 0.1, 0.2], [0.1, 0.9, -0.4]]))
    half = (0.10 * t, 0.20 * w, 0.30 * d)
    sac = tilted(center, axes, half, rough=3.0, mm=40)

    def stomach(p: Patch) -> np.ndarray:
        return smooth_least(sac(p), np.minimum(torso.wall(p) - 4, torso.roof(p) - 4 - p.z), mm=_ROUND_MM)

    bounds = around(center, (0.11 * t,) * 3, margin=4)
    stomach = once(stomach)
    canvas.paint(stomach, tissue="bowel-wall", organ="stomach", bounds=bounds, over=("peritoneum", "muscle"))

    def inside(p):
        return stomach(p) - np.float32(4) + np.float32(1.5) * p.wave(9, key="rugae")

    inside = once(inside)
    # Gas rises: to the dome of the stomach of one who stands, to the front of one who lies.
    upright = torso.pose.position == "upright"
    level = _gas_level(torso, at=center)
    canvas.paint(inside, tissue="bowel", organ="stomach", bounds=bounds, over=("stomach",))
    canvas.paint(
        lambda p: np.minimum(inside(p), p.z - level if upright else center[1] - 14 - p.y),
        tissue="gas",
        organ="stomach",
        bounds=bounds,
        over=("stomach",),
    )
    _small_bowel(canvas, torso, state=state)
    _colon(canvas, torso)


def _colon(canvas: Canvas, torso: Torso) -> None:
    """Cecum, ascending, transverse, descending and sigmoid colon, rectum: stool with gas in places."""
    points = [
        (-0.52, -0.10, -0.455),
        (-0.60, -0.02, -0.40),
        (-0.62, 0.05, -0.32),
        (-0.60, 0.0, -0.215),
        (-0.40, -0.45, -0.225),
        (0.0, -0.58, -0.25),
        (0.38, -0.42, -0.21),
        (0.60, 0.10, -0.13),
        (0.64, 0.14, -0.22),
        (0.62, 0.10, -0.34),
        (0.50, 0.0, -0.45),
        (0.30, -0.10, -0.50),
        (0.12, -0.02, -0.545),
        (0.02, 0.30, -0.56),
        (0.0, 0.40, -0.62),
        (0.0, 0.42, -0.69),
    ]
    line, s = even_steps(polyline([torso.at(*p) for p in points], count=300), step=3)
    pouch = 1 + 0.13 * sine(np.arange(len(line)) * 3 / 4.6)
    radius = np.interp(s, [0, 0.1, 0.3, 0.55, 0.8, 0.88, 1], [25, 23, 19, 16, 12, 15, 18]) * pouch
    colon = tubes(canvas)
    colon.add(line, radius)
    colon.paint(canvas, tissue="bowel-wall", organ="colon", over=("peritoneum", "small-bowel", "stomach"))
    colon.paint(canvas, tissue="feces", organ="colon", over=("colon",), shift=-2.2)
    index, alpha = colon.cover(shift=-4.5)
    if not len(index):
        return
    places = np.unravel_index(index, canvas.axes.shape)
    z, y, x = (slice(int(place.min()), int(place.max()) + 1) for place in places)
    inner = tuple(place - part.start for place, part in zip(places, (z, y, x), strict=True))
    field = canvas.wave(16, key="gas", box=(z, y, x))[inner]
    alpha = np.minimum(alpha, np.clip((field * 12 - 3.0) / canvas.edge + 0.5, 0, 1))
    keep = canvas.label.reshape(-1)[index] == ORGAN_CODES["colon"]
    value = canvas.value.reshape(-1)
    value[index] += (np.float32(canvas.palette["gas"]) - value[index]) * (alpha * keep)


def _gas_level(torso: Torso, *, at: Point) -> float:
    """Height (mm) of the fluid in the stomach of one who stands: a bubble of 16 to 40 mm under the diaphragm."""
    top = min(float(torso.thorax.dome_height(np.float32(at[0]), np.float32(at[1]), side=1.0)), at[2] + 0.09 * torso.t)
    return top - 10 - (16 + 24 * torso.thorax.chance[41])


def _small_bowel(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Loops: a space-filling curve of the cavity, flattened against each other."""
    w, d, t = torso.w, torso.d, torso.t
    box = ((-0.70 * w, 0.70 * w), (-0.95 * d, 0.30 * d), (-0.62 * t, -0.155 * t))
    blocked = max((f.size_mm or 36 for f in state.of("small-bowel-obstruction")), default=0)
    mm = 15 if not blocked else 28

    def region(p: Patch) -> np.ndarray:
        """The belly's middle, round on all sides, with loops that bulge out of it and others that stay back."""
        across, along = p.x / np.float32(0.60 * w), (p.z + 0.385 * t) / np.float32(0.20 * t)
        deep = (p.y + np.float32(0.34 * d)) / np.float32(0.52 * d)
        round_ = across * across + along * along
        round_ = round_ * round_ + np.square(deep * deep)
        out = (1 - np.sqrt(np.sqrt(round_))) * np.float32(0.40 * w)
        out = out + 9 * p.wave(45, key="bowel-edge") + 5 * p.wave(24, key="bowel-back")
        return np.minimum(out, torso.wall(p) - 5)

    def loops(p: Patch) -> np.ndarray:
        fold = np.abs(p.wave(mm, key="loops")) * np.float32(mm * 0.8)
        return np.minimum(region(p), fold - np.float32(1.2))

    loops = once(loops)
    canvas.paint(loops, tissue="bowel-wall", organ="small-bowel", bounds=box, over=("peritoneum",))
    canvas.paint(
        lambda p: loops(p) - np.float32(2.1),
        tissue=lambda p: (
            np.float32(canvas.palette["bowel"])
            + np.float32(0.3 * abs(canvas.palette["bowel"])) * p.wave(28, key="content")
        ),
        organ="small-bowel",
        bounds=box,
        over=("small-bowel",),
    )
    share = np.float32(0.62 if not blocked else 0.25)
    canvas.paint(
        lambda p: np.minimum(loops(p) - 3.2, np.minimum((p.wave(33, key="loop-gas") - share) * 22, -0.22 * d - p.y)),
        tissue="gas",
        organ="small-bowel",
        bounds=box,
        over=("small-bowel",),
    )
    vessels = tubes(canvas)
    root = np.array(torso.at(0.0, -0.02, -0.20))
    stem, _ = even_steps(polyline([root, torso.at(-0.02, -0.08, -0.30), torso.at(-0.15, -0.10, -0.40)]), step=2.5)
    vessels.add(stem, 3.6), vessels.add(stem + np.array([9, 0, 0]), 2.8)
    for share_ in np.linspace(0.15, 0.95, 9):
        start = stem[int(share_ * (len(stem) - 1))]
        for x in (-0.35, 0.35):
            vessels.add(
                even_steps(
                    polyline(
                        [start, start + np.array([0.3 * x * w, -10, -8]), torso.at(x, -0.30, -0.25 - 0.22 * share_)]
                    ),
                    step=2,
                )[0],
                1.3,
            )
    vessels.paint(canvas, tissue="venous-blood", organ="veins", over=("peritoneum",))
