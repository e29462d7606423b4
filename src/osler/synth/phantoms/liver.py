"""The liver with its lobes and the cleft between them, its vessels, gallbladder and bile duct."""

from __future__ import annotations

import numpy as np

from osler.synth.phantoms.canvas import Canvas, Depth, Patch
from osler.synth.phantoms.shapes import around, even_steps, once, polyline, smooth_least, squared, tilted
from osler.synth.phantoms.state import Shown
from osler.synth.phantoms.torso import Torso
from osler.synth.phantoms.tubes import tubes

_ROUND_MM = 40.0
"""Within this difference of depths the liver's back and its left border flow into each other."""
_BACK_X = (-0.9, -0.55, -0.38, -0.26, -0.16, -0.04, 0.04, 0.12, 0.28, 0.45)
_BACK_Y = (0.80, 0.80, 0.76, 0.62, 0.36, 0.28, 0.02, -0.16, -0.26, -0.44)
"""How far back (shares of the half axes) it reaches: right lobe, hollow of the caval vein, tail lobe, left lobe."""


def liver_depth(torso: Torso, *, state: Shown) -> Depth:
    """Depth in the liver."""
    w, d, t = torso.w, torso.d, torso.t
    big = 1 + 0.06 * state.grade("hepatomegaly")
    knobby = 1.5 + 1.6 * state.grade("cirrhotic-liver-morphology")

    def depth(p: Patch) -> np.ndarray:
        x, y, z = p.x / np.float32(w), p.y / np.float32(d), p.z / np.float32(t)
        under = torso.roof(p) - np.float32(2.2) - p.z
        wall = torso.wall(p) - np.float32(1.5)
        # the lower border climbs from the right flank to the tip of the left lobe
        border = np.interp(x, [-0.9, -0.55, -0.3, -0.1, 0.15, 0.38], [-0.215, -0.205, -0.165, -0.125, -0.10, -0.035])
        border = (border * big).astype(np.float32) + np.float32(0.055) * (y + np.float32(0.25)) * np.clip(
            x + 0.75, 0, 1
        )
        # and is highest in the middle from front to back, so that the cut edge of the right lobe is round
        border = border + np.float32(0.10) * np.square(y - np.float32(0.05)) * np.clip(x + 0.8, 0, 0.6)
        lower = ((z - border) * np.float32(t) + 8 * p.wave(50, key="liver-border")) * np.float32(0.6)
        # the back and the left: kidney, spine and stomach press in
        hollow = np.interp(x, _BACK_X, _BACK_Y).astype(np.float32)
        hollow = hollow - np.clip(-z - 0.12, 0, 1) * np.float32(3.0)
        behind = (hollow - y) * np.float32(0.8 * d)
        # the left lobe ends in a tip in front of the stomach; its back is hollowed by the stomach and the lesser curve
        tip = np.float32(0.42) - x - np.float32(0.55) * np.square(np.clip(y + np.float32(0.62), 0, 2))
        left = tip * np.float32(0.8 * w) + np.float32(7) * p.wave(60, key="liver-left")
        back = smooth_least(behind + np.float32(9) * p.wave(50, key="liver-back"), left, mm=_ROUND_MM)
        # the cleft of the round ligament cuts in from the front and below, between the lobes
        cleft = np.abs(p.x + np.float32(0.04 * w) + 6 * p.wave(50, key="liver-cleft")) - np.float32(5.0)
        cleft = cleft + np.clip(y + np.float32(0.85), 0, 1) * np.float32(0.10 * d)
        back = smooth_least(back, np.maximum(cleft, (z + np.float32(0.068)) * np.float32(t)), mm=_ROUND_MM / 5)
        out = np.minimum(np.minimum(under, wall), smooth_least(lower, back, mm=_ROUND_MM / 2))
        return out + np.float32(knobby) * p.wave(24, key="liver")

    return depth


def paint_liver(canvas: Canvas, torso: Torso, *, state: Shown) -> None:
    """Paints liver, its vessels, gallbladder and bile duct."""
    w, d, t = torso.w, torso.d, torso.t
    fatty = state.grade("hepatic-steatosis")
    level = canvas.palette["liver"] + (-22.0 * fatty if canvas.palette["liver"] < 200 else 0.0)
    box = ((-0.95 * w, 0.5 * w), (-d, d), (-0.26 * t, 0.05 * t))
    texture = np.float32(0.035 * abs(level) + 1)
    canvas.paint(
        liver_depth(torso, state=state),
        tissue=lambda p: np.float32(level) + texture * p.wave(9, key="parenchyma"),
        organ="liver",
        bounds=box,
    )
    wide = 1 + 0.15 * state.grade("biliary-dilatation")
    portal, veins, duct = (tubes(canvas) for _ in range(3))
    hilum = np.array(torso.at(-0.14, -0.02, -0.105))
    stems = [
        (-0.30, -0.05, -0.085),
        (-0.52, 0.18, -0.07),
        (-0.55, 0.1, -0.14),
        (-0.45, -0.25, -0.12),
        (-0.40, -0.20, -0.045),
        (-0.08, -0.30, -0.06),
        (0.10, -0.36, -0.06),
    ]
    for stem in stems:
        goal = np.array(torso.at(*stem))
        line, s = even_steps(polyline([hilum, hilum + 0.45 * (goal - hilum) + [0, -4, 5], goal], count=30), step=2.5)
        portal.add(line, 5.2 - 3.3 * s)
        for turn in (-0.5, 0.6):
            way = goal - hilum
            way /= np.sqrt(np.square(way).sum())
            tip = goal + 26 * (way + turn * np.array([-way[1], way[0], 0.6]))
            portal.add(even_steps(np.array([line[int(0.6 * len(line))], tip]), step=2)[0], 1.6)
    portal.add(
        even_steps(polyline([torso.at(0.02, -0.10, -0.165), torso.at(-0.06, -0.06, -0.135), hilum]), step=3)[0], 6.2
    )
    caval = np.array(torso.at(-0.13, 0.22, -0.012))
    for goal in ((-0.55, 0.05, -0.06), (-0.36, -0.32, -0.06), (0.05, -0.30, -0.045)):
        line, s = even_steps(
            polyline([caval, 0.5 * (caval + np.array(torso.at(*goal))) + [0, 0, 7], torso.at(*goal)], count=30),
            step=2.5,
        )
        veins.add(line, 5.0 - 3.0 * s)
    portal.paint(canvas, tissue="venous-blood", organ="portal-vein", over=("liver", "peritoneum"))
    veins.paint(canvas, tissue="venous-blood", organ="veins", over=("liver",))
    bag = torso.at(-0.30, -0.42, -0.145)
    tilt = np.array([[0.3, -0.55, -0.78], [0.95, 0.1, 0.3], [-0.1, -0.83, 0.55]])
    half = (33.0, 15.5, 15.5)
    swollen = 1 + 0.10 * state.grade("acute-cholecystitis")
    sac = tilted(bag, squared(tilt), tuple(swollen * h for h in half), rough=1.0)
    sac = once(sac)
    bounds = around(bag, (40, 40, 40))
    canvas.paint(
        lambda p: sac(p) + np.float32(2.0 + 1.5 * state.grade("acute-cholecystitis")),
        tissue="bowel-wall",
        organ="gallbladder",
        bounds=bounds,
        over=("liver", "peritoneum", "gallbladder"),
    )
    canvas.paint(sac, tissue="bile", organ="gallbladder", bounds=bounds)
    duct.add(
        even_steps(
            polyline([hilum + np.array([-6, -4, 0]), torso.at(-0.16, -0.02, -0.13), torso.at(-0.15, -0.02, -0.155)]),
            step=2,
        )[0],
        2.8 * wide,
    )
    duct.paint(canvas, tissue="bile", organ="bile-ducts", over=("liver", "peritoneum", "bile-ducts", "pancreas"))
