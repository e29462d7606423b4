"""Findings of the belly without one place: fluid, gas, calcium, stranding."""

from __future__ import annotations

import numpy as np

from osler.synth.elementary import cosine, sine
from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Canvas, Patch
from osler.synth.phantoms.overlays import Draw, of_sides, overlay, tag, tag_tube, wall_chips
from osler.synth.phantoms.shapes import around, ellipsoid, even_steps, polyline
from osler.synth.phantoms.state import GRADES
from osler.synth.phantoms.torso import Torso
from osler.synth.phantoms.tubes import tubes


def _abdominal_calcium(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    line = even_steps(
        polyline([torso.at(0.06, 0.22, -0.12), torso.at(0.06, 0.16, -0.22), torso.at(0.05, 0.15, -0.345)]), step=2
    )[0]
    wall_chips(canvas, line, radius=torso.thorax.aorta - 2, fact=fact, key="abdominal")


def _ascites(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    thick = (5.0, 14.0, 32.0)[round(GRADES[fact.severity]) - 1]
    bounds = ((-torso.w, torso.w), (-torso.d, torso.d), (-0.72 * torso.t, 0.05 * torso.t))

    def depth(p: Patch) -> np.ndarray:
        low = np.clip(-0.30 - p.z / np.float32(torso.t), 0, 0.4) * 55
        flank = np.clip(np.abs(p.x) / np.float32(torso.w), 0.2, 1) * np.float32(thick)
        return flank + low - torso.wall(p) + 4 * p.wave(40, key="ascites")

    overlay(canvas, fact, depth, tissue="effusion", bounds=bounds, over=("peritoneum",))


def _free_air(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    thick = (4.0, 9.0, 18.0)[round(GRADES[fact.severity]) - 1]
    bounds = ((-0.6 * torso.w, 0.6 * torso.w), (-torso.d, 0.0), (-0.4 * torso.t, 0.04 * torso.t))

    def depth(p: Patch) -> np.ndarray:
        return np.minimum(
            np.float32(thick) * np.clip(-p.y / np.float32(0.6 * torso.d), 0, 1.3)
            - torso.wall(p)
            + 3 * p.wave(22, key="free"),
            -p.y - np.float32(0.35 * torso.d),
        )

    overlay(canvas, fact, depth, tissue="gas", bounds=bounds, over=("peritoneum", "liver", "small-bowel"))


def _diverticula(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    line = even_steps(
        polyline(
            [
                torso.at(0.62, 0.10, -0.34),
                torso.at(0.50, 0.0, -0.45),
                torso.at(0.30, -0.10, -0.50),
                torso.at(0.12, -0.02, -0.545),
            ]
        ),
        step=2,
    )[0]
    rng = np.random.Generator(np.random.SFC64(canvas.shape % 2**60 + 3))
    count = round(8 * GRADES[fact.severity])
    way = rng.standard_normal((count, 3))
    spots = line[rng.integers(0, len(line), count)] + 15 * way / np.linalg.norm(way, axis=1, keepdims=True)
    wall, bore = tubes(canvas), tubes(canvas)
    wall.add(spots, 4.2), bore.add(spots, 2.8)
    wall.paint(canvas, tissue="bowel-wall", organ="colon"), bore.paint(canvas, tissue="gas", organ="colon")
    tag_tube(canvas, wall, fact=fact)


def _hernia(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    size = 14 + 7 * GRADES[fact.severity]
    center = (8.0, 0.20 * torso.d, torso.thorax.dome[1] - 8 + 0.4 * size)
    half = (size, 0.8 * size, size)
    sac = ellipsoid(center, half, rough=1.5, mm=22.0)
    bounds = around(center, half, margin=4)
    canvas.paint(sac, tissue="bowel-wall", organ="stomach", bounds=bounds)
    (
        canvas.paint(lambda p: sac(p) - 4, tissue="bowel", bounds=bounds),
        canvas.paint(lambda p: np.minimum(sac(p) - 4, center[1] - 3 - p.y), tissue="gas", bounds=bounds),
    )
    for p in canvas.patches(bounds):
        tag(canvas, sac(p) >= 0, p.box, fact=fact)


def _portal_clot(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    center = torso.at(-0.10, -0.04, -0.12)
    overlay(
        canvas,
        fact,
        ellipsoid(center, (22, 16, 20)),
        tissue="soft",
        bounds=around(center, (22, 16, 20)),
        over=("portal-vein",),
    )


def _varices(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    line = even_steps(
        polyline(
            [
                torso.at(0.03, 0.22, 0.01),
                torso.at(0.10, 0.08, -0.035),
                torso.at(0.2, 0.02, -0.05),
                torso.at(0.42, 0.2, -0.07),
            ]
        ),
        step=1.5,
    )[0]
    wiggle = (
        np.stack(
            [
                sine(np.arange(len(line)) * 0.9),
                cosine(np.arange(len(line)) * 1.1),
                sine(np.arange(len(line)) * 0.7),
            ],
            axis=1,
        )
        * 6
    )
    tube = tubes(canvas)
    tube.add(line + wiggle, 1.6 + 0.7 * GRADES[fact.severity])
    tube.paint(canvas, tissue="venous-blood", organ="veins")
    tag_tube(canvas, tube, fact=fact)


def _stranding(organ: str, keys: tuple[float, float, float], half: tuple[float, float, float]) -> Draw:
    def draw(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
        for _, side in of_sides(fact) if "kidney" in organ else [("", 1.0)]:
            center = torso.at(keys[0] * side, keys[1], keys[2])
            size = (half[0] * torso.w, half[1] * torso.d, half[2] * torso.t)
            shape = ellipsoid(center, size)
            overlay(
                canvas,
                fact,
                lambda p, f=shape: np.minimum(f(p), (0.35 - np.abs(p.wave(9, key="strands"))) * 8),
                tissue="edema",
                bounds=around(center, size),
                over=("peritoneum",),
                strength=0.3 + 0.15 * GRADES[fact.severity],
            )

    return draw


def _chronic_pancreatitis(canvas: Canvas, torso: Torso, fact: FindingFact) -> None:
    bounds = ((-0.3 * torso.w, 0.5 * torso.w), (-torso.d, torso.d), (-0.22 * torso.t, -0.06 * torso.t))
    overlay(
        canvas,
        fact,
        lambda p: (p.wave(6, key="calculi") - np.float32(1.15 - 0.15 * GRADES[fact.severity])) * 4,
        tissue="calcium",
        bounds=bounds,
        over=("pancreas",),
    )


BELLY: dict[str, Draw] = {
    "abdominal-aortic-calcification": _abdominal_calcium,
    "ascites": _ascites,
    "free-air": _free_air,
    "diverticulosis": _diverticula,
    "hiatal-hernia": _hernia,
    "portal-vein-thrombosis": _portal_clot,
    "varices": _varices,
    "acute-pancreatitis": _stranding("pancreas", (0.1, -0.05, -0.14), (0.45, 0.35, 0.06)),
    "acute-cholecystitis": _stranding("gallbladder", (-0.3, -0.42, -0.145), (0.3, 0.35, 0.06)),
    "pyelonephritis": _stranding("kidney", (0.42, 0.40, -0.21), (0.32, 0.38, 0.12)),
    "chronic-pancreatitis": _chronic_pancreatitis,
}
