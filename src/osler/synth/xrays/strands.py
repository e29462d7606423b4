"""Thin things that disease draws into the lungs: bands, septal lines, nets, rings, calcium."""

from __future__ import annotations

import numpy as np

from osler.synth.anatomy import sites
from osler.synth.draws import Draws
from osler.synth.facts import FindingFact
from osler.synth.xrays.beam import Beam
from osler.synth.xrays.findings import Scene
from osler.synth.xrays.shadows import clouds
from osler.synth.xrays.thorax import LEFT, RIGHT, Thorax
from osler.synth.xrays.tubes import Chain, along, paint_chain, smooth_line

Line = tuple[np.ndarray, float, float]
"""Points (N, 3), radius in mm, tissue in mm."""
Mask = tuple[FindingFact, str, np.ndarray, tuple[float, float, float] | None]


def paint_strands(
    thorax: Thorax, *, beam: Beam, scene: Scene, lung: np.ndarray, matter_soft: float
) -> tuple[np.ndarray, list[Mask]]:
    """Attenuation of all thin lines, and masks of those that have a place.

    Args:
        lung: Length (mm) of each ray in lung.
        matter_soft: Attenuation of soft tissue per mm.
    """
    total = np.zeros((beam.rows, beam.columns), np.float32)
    masks: list[Mask] = []
    aired = np.clip(lung / 20, 0, 1)
    for fact, lines in _local(thorax, scene=scene):
        added = _paint(lines, beam=beam) * aired * matter_soft
        total += added
        center = lines[0][0].mean(axis=0)
        side = "left" if center[0] > 0 else "right"
        masks.append((fact, side, added > 0.03, (float(center[0]), float(center[1]), float(center[2]))))
    diffuse = _septal(thorax, scene=scene) + _rings(thorax, scene=scene)
    if diffuse:
        total += _paint(diffuse, beam=beam) * aired * matter_soft
    calcium = _calcium(thorax, scene=scene)
    if calcium:
        total += _paint(calcium, beam=beam) * matter_soft
    total += _net(thorax, beam=beam, lung=lung, level=scene.level("pulmonary-fibrosis", "honeycombing")) * matter_soft
    return total, masks


def _paint(lines: list[Line], *, beam: Beam) -> np.ndarray:
    pieces = [along(points, step_mm=0.8)[0] for points, _, _ in lines]
    column, row, magnified = beam.project(np.concatenate(pieces))
    counts = [len(piece) for piece in pieces]
    chain = Chain(
        column=column, row=row, radius=np.repeat([line[1] for line in lines], counts) * magnified,
        amount=np.repeat([line[2] for line in lines], counts), layer=np.repeat(np.arange(len(lines)) % 3, counts),
    )  # fmt: skip
    return paint_chain(chain, rows=beam.rows, columns=beam.columns, profile="flat")


def _local(thorax: Thorax, *, scene: Scene) -> list[tuple[FindingFact, list[Line]]]:
    """Bands of collapsed lung and scars, at their sites."""
    found = []
    places = {site.key: site for site in sites()}
    for fact in scene.lines:
        if fact.site not in places:
            continue
        unit = np.array([thorax.width, thorax.depth, thorax.trunk])
        center = np.array(places[fact.site].center) * unit
        half = np.array(places[fact.site].half) * unit
        side = LEFT if center[0] > 0 else RIGHT
        chance = Draws(seed=thorax.shape, patients=np.arange(12)).uniform(f"band-{fact.key}", fact.lesion)
        lines: list[Line] = []
        grade = {"none": 1, "mild": 1, "moderate": 3, "severe": 4}[fact.severity]
        for k in range(grade + 1):
            if fact.key == "atelectasis":
                at = center + half * [0.2, 0.3, -0.9 + 0.5 * k] + [0, 0, 9 * (chance[k] - 0.5)]
                reach = np.array([24 + 14 * chance[k + 5], 0, 0])
                rise = np.array([0, 0, side * (5 * (chance[k] - 0.3))])
                line = smooth_line(
                    [tuple(at - reach - rise), tuple(at + np.array([0, 0, 1.5])), tuple(at + reach + rise)], count=24
                )
                lines.append((line, 1.5 + 1.6 * chance[k + 6], 7.0 + 5 * chance[k + 5]))
            else:
                at = center + half * [1.2 * (chance[k] - 0.5), 0, chance[k + 3] - 0.2]
                end = at + np.array([side * (12 + 12 * chance[k + 6]), 0, 18 * (chance[k + 4] - 0.3)])
                middle = (at + end) / 2 + np.array([0, 0, 2])
                lines.append((smooth_line([tuple(at), tuple(middle), tuple(end)], count=20), 0.9, 7.0))
        found.append((fact, lines))
    return found


def _septal(thorax: Thorax, *, scene: Scene) -> list[Line]:
    """Short lines that run in from the wall at the bases (Kerley B)."""
    lines: list[Line] = []
    for number, side in ((0, RIGHT), (1, LEFT)):
        level = scene.level("pulmonary-edema", "interlobular-septal-thickening")[number]
        if level < 0.4:
            continue
        chance = Draws(seed=thorax.shape, patients=np.arange(40)).uniform("septal", number)
        for k in range(int(6 + 8 * level)):
            z = thorax.dome[number] + (-0.035 + 0.15 * chance[k]) * thorax.trunk
            edge = float(thorax.lung_middle(np.array(z)) + thorax.lung_a * thorax.taper(np.array(z))) - 2
            inner = edge - 9 - 7 * chance[k + 14]
            y = thorax.lung_y + 20 * (chance[k + 20] - 0.5)
            points = np.array([[side * edge, y, z], [side * inner, y, z + 2 * (chance[k + 3] - 0.5)]])
            lines.append((points, 0.5, 9.0 * level))
    return lines


def _rings(thorax: Thorax, *, scene: Scene) -> list[Line]:
    """Thick bronchial walls, end on and side on, around the hila."""
    lines: list[Line] = []
    angle = np.linspace(0, 2 * np.pi, 24)
    for number, side in ((0, RIGHT), (1, LEFT)):
        level = scene.level("bronchial-wall-thickening", "bronchiectasis", "pulmonary-edema")[number]
        if level <= 0.2:
            continue
        chance = Draws(seed=thorax.shape, patients=np.arange(60)).uniform("cuffs", number)
        for k in range(int(4 + 8 * level)):
            center = np.array([
                side * (0.28 + 0.28 * chance[k]) * thorax.width, 0.0, (0.03 + 0.15 * chance[k + 20]) * thorax.trunk
            ])  # fmt: skip
            size = 2.2 + 1.8 * chance[k + 40]
            if chance[k + 9] < 0.5:
                ring = center + np.stack([size * np.cos(angle), 0 * angle, size * np.sin(angle)], axis=1)
                lines.append((ring, 0.7, 7.0))
            else:
                way = np.array([side * 12.0, 0.0, -8.0 + 14 * chance[k + 5]])
                for shift in (-size, size):
                    lines.append((np.stack([center, center + way]) + np.array([0, 0, shift]), 0.6, 6.0))
    return lines


def _calcium(thorax: Thorax, *, scene: Scene) -> list[Line]:
    """Calcium in the wall of the aortic arch, and plaques of the pleura."""
    w, d, t = thorax.width, thorax.depth, thorax.trunk
    lines: list[Line] = []
    level = scene.most("aortic-calcification")
    if level > 0:
        angle = np.radians(np.linspace(100 - 60 * level, 20 - 50 * level, 24))
        r = thorax.aorta + 0.5
        arc = np.stack([0.085 * w + r * np.cos(angle), np.full(24, 0.12 * d), 0.198 * t + r * np.sin(angle)], axis=1)
        lines.append((arc, 1.0 + 0.5 * level, 10 + 14 * level))
    for number, side in ((0, RIGHT), (1, LEFT)):
        if scene.level("pleural-plaque")[number] <= 0:
            continue
        chance = Draws(seed=thorax.shape, patients=np.arange(20)).uniform("plaque", number)
        for k in range(4):
            x, y = side * (0.25 + 0.4 * chance[k]) * w, (0.3 - 0.7 * chance[k + 4]) * d
            z = (0.03 + 0.13 * chance[k + 8]) * t
            if k == 0:
                z = float(thorax.dome_height(np.array(x), np.array(y), side=side)) + 1.5
            way = np.array([9 + 9 * chance[k + 12], 0, (0 if k == 0 else 10 * (chance[k] - 0.5))])
            start = np.array([x, y, z])
            line = smooth_line([tuple(start), tuple(start + way / 2), tuple(start + way)], count=12)
            lines.append((line, 1.6 + 1.5 * chance[k + 6] * (k > 0), 9.0))
    return lines


def _net(thorax: Thorax, *, beam: Beam, lung: np.ndarray, level: tuple[float, float]) -> np.ndarray:
    """The net of fibrosis: thickest at the bases and the wall."""
    most = max(level)
    if most <= 0:
        return np.zeros((beam.rows, beam.columns), np.float32)
    common = {"rows": beam.rows, "columns": beam.columns, "pixel_mm": beam.pixel_mm}
    mesh = np.zeros((beam.rows, beam.columns), np.float32)
    for k, size in enumerate((8.0, 13.0)):
        field = clouds(**common, seed=thorax.shape % 4099 + 57 * k, size_mm=size)
        mesh += np.clip(1 - np.abs(field - 0.5) * 9, 0, 1)
    column, row, _ = beam.project(np.array([[0.0, 0.0, thorax.dome[0]], [0.0, 0.0, thorax.apex]]))
    height = np.clip((row[0] - np.arange(beam.rows)) / (row[0] - row[1]), -0.5, 1)
    low = np.clip(1.0 - 1.25 * height, 0.06, 1.2)[:, None]
    sides = np.where(np.arange(beam.columns) > column[0], level[1], level[0])[None, :]
    return (low * sides * np.clip(lung / 60, 0, 1) * (5.0 + 13.0 * mesh)).astype(np.float32)
