"""Attenuation of a whole picture: organs, bones, vessels and everything a disease adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.facts import FindingFact
from osler.synth.xrays.beam import Beam
from osler.synth.xrays.bronchovascular import paint_vessels
from osler.synth.xrays.detector import enlarge
from osler.synth.xrays.devices import device_pieces, paint_pieces
from osler.synth.xrays.findings import Break, Hazy, Scene, Solid
from osler.synth.xrays.organs import STEP_PX, Paths, ray_paths
from osler.synth.xrays.shadows import Ellipsoid, clouds, ellipsoid_chord
from osler.synth.xrays.skeleton import (
    clavicle_line,
    paint_ribs,
    paint_shoulders,
    paint_spine,
    rib_line,
    vertebra_center,
)
from osler.synth.xrays.strands import paint_strands
from osler.synth.xrays.thorax import LEFT, RIGHT, Thorax

_SEEN = 0.05
"""Attenuation above which something counts as seen."""
Place = tuple[float, float, float]
Mask = tuple[FindingFact, str, np.ndarray, Place | None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """The exponent of each ray, and what lies where.

    Args:
        attenuation: (rows, columns) float32.
        lungs: Masks of the right and left lung. heart: Mask of the heart.
        masks: Finding, side, mask and place of each thing that has a place.
    """

    attenuation: np.ndarray
    lungs: tuple[np.ndarray, np.ndarray]
    heart: np.ndarray
    masks: tuple[Mask, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """Attenuation per mm at the beam's effective energy."""

    soft: float
    bone: float


def matter_at(kvp: float) -> Matter:
    """Attenuation of soft tissue and bone for a tube voltage.

    Effective energies of about 45 keV (80 kV) to 62 keV (125 kV) behind a chest; coefficients from the NIST
    tables (Hubbell and Seltzer, 1995) for water and cortical bone.
    """
    share = float(np.clip((kvp - 80) / 45, 0, 1))
    return Matter(soft=0.0235 - 0.0033 * share, bone=0.078 - 0.025 * share)


def compose(thorax: Thorax, *, beam: Beam, scene: Scene, kvp: float) -> Layers:
    """Sums everything that the rays cross."""
    matter = matter_at(kvp)
    paths = ray_paths(thorax, beam=beam, disease=scene.disease)
    up = _Enlarged(paths, beam=beam)
    lung = up.lungs[0] + up.lungs[1]
    density = thorax.density * (1 - 0.3 * scene.most("emphysema", "hyperinflation"))
    soft = np.maximum(up.body - lung - up.gas - up.loose[0] - up.loose[1] - up.free, 0)
    total = matter.soft * (soft + density * lung * _grain(thorax, beam=beam))
    total += matter.soft * _breasts(thorax, beam=beam)
    congested = scene.most("pulmonary-edema", "vascular-congestion")
    swollen = (1 + 0.4 * congested) * (1 - 0.2 * scene.most("emphysema"))
    total += 1.35 * matter.soft * paint_vessels(thorax, beam=beam, swollen=swollen) * np.clip(lung / 70, 0, 1)
    total += _bones(thorax, beam=beam, scene=scene, matter=matter)
    masks: list[Mask] = []
    strands, marks = paint_strands(thorax, beam=beam, scene=scene, lung=lung, matter_soft=matter.soft)
    total += strands
    masks += marks
    total += _edema(thorax, beam=beam, lung=up.lungs, level=scene.level("pulmonary-edema"), soft=matter.soft)
    for haze in scene.hazes:
        added = _haze(haze, beam=beam, lung=up.lungs, density=density, soft=matter.soft)
        total += added
        masks.append((haze.fact, _side_word(haze.side), added > _SEEN, haze.shape.center))
    for solid in scene.solids:
        mask = _add_solid(total, solid, beam=beam, density=density, matter=matter)
        masks.append((solid.fact, _side_word(np.sign(solid.shape.center[0])), mask, solid.shape.center))
    for fact in scene.devices:
        added = paint_pieces(device_pieces(fact, thorax=thorax), beam=beam)
        total += added
        masks.append((fact, fact.side if fact.side in ("left", "right") else "none", added > 0.02, None))
    masks += _whole_masks(scene, up=up)
    masks += [_break_mask(item, thorax=thorax, beam=beam) for item in scene.breaks]
    heart = up.heart > 12
    lungs = tuple(_lung_mask(up, number=number, heart=heart) for number in (0, 1))
    return Layers(attenuation=total.astype(np.float32), lungs=lungs, heart=heart, masks=tuple(masks))  # type: ignore[arg-type]


class _Enlarged:
    """The organs' paths at full resolution."""

    def __init__(self, paths: Paths, *, beam: Beam) -> None:
        def grow(field: np.ndarray) -> np.ndarray:
            return enlarge(field, step=STEP_PX, shape=(beam.rows, beam.columns))

        self.body, self.gas, self.heart, self.free = (grow(f) for f in (paths.body, paths.gas, paths.heart, paths.free))
        self.lungs = grow(paths.lung[0]), grow(paths.lung[1])
        self.fluid = grow(paths.fluid[0]), grow(paths.fluid[1])
        self.loose = grow(paths.loose[0]), grow(paths.loose[1])
        self.rind = grow(paths.rind[0]), grow(paths.rind[1])
        self.hernia = grow(paths.hernia)


def _lung_mask(up: _Enlarged, *, number: int, heart: np.ndarray) -> np.ndarray:
    """What a reader outlines as a lung: its space, fluid and loose air included, without the heart's shadow."""
    space = up.lungs[number] + up.fluid[number] + up.loose[number] + up.rind[number]
    return (space > 14) & ~(heart & (up.heart > 30))


def _side_word(side: float) -> str:
    return "left" if side > 0 else "right"


def _grain(thorax: Thorax, *, beam: Beam) -> np.ndarray:
    """The uneven look of normal lung: vessels and walls too small to draw."""
    common = {"rows": beam.rows, "columns": beam.columns, "pixel_mm": beam.pixel_mm}
    fine = clouds(**common, seed=thorax.shape % 100003, size_mm=2.2)
    coarse = clouds(**common, seed=thorax.shape % 70001 + 31, size_mm=9.0)
    return 0.89 + 0.11 * fine + 0.11 * coarse


def _breasts(thorax: Thorax, *, beam: Beam) -> np.ndarray:
    """Tissue (mm) of the breasts."""
    total = np.zeros((beam.rows, beam.columns), np.float32)
    if thorax.breast <= 0:
        return total
    for side in (RIGHT, LEFT):
        size = thorax.breast
        center = (side * (0.46 * thorax.width), -0.93 * thorax.depth, 0.055 * thorax.trunk - 0.25 * size)
        shape = Ellipsoid(center=center, half=(1.05 * size, 0.5 * size, size))
        rows, columns, chord, _ = ellipsoid_chord(shape, beam=beam)
        # The lower edge is full, the upper one thins out.
        height = np.linspace(0.25, 1.0, chord.shape[0], dtype=np.float32)[:, None] if chord.size else chord
        total[rows, columns] += 0.33 * chord * height
    return total


def _bones(thorax: Thorax, *, beam: Beam, scene: Scene, matter: Matter) -> np.ndarray:
    def of(bone: str) -> list[Break]:
        return [item for item in scene.breaks if item.bone == bone]

    ribs = paint_ribs(thorax, beam=beam, broken=tuple((b.side, b.number, b.place) for b in of("rib")))
    bend = scene.most("scoliosis")
    bent = (5 + 22 * bend) * (1 if thorax.chance[40] > 0.3 else -1) if bend > 0 else 4 * (thorax.chance[41] - 0.5)
    spine = paint_spine(
        thorax, beam=beam, bent=bent, crushed=tuple((b.number, b.place) for b in of("vertebra")),
        spurs=scene.most("degenerative-spine-disease"),
    )  # fmt: skip
    shoulders = paint_shoulders(thorax, beam=beam, broken=tuple(b.side for b in of("clavicle")))
    thin = 1 - 0.35 * scene.most("osteopenia")
    return (matter.bone - matter.soft) * thin * (1.15 * ribs + 0.36 * spine + 1.7 * shoulders)


def _edema(
    thorax: Thorax, *, beam: Beam, lung: tuple[np.ndarray, np.ndarray], level: tuple[float, float], soft: float
) -> np.ndarray:
    """Fluid in the air spaces, most around the hila and at the bases."""
    total = np.zeros((beam.rows, beam.columns), np.float32)
    for number, side in ((0, RIGHT), (1, LEFT)):
        if level[number] <= 0:
            continue
        hilum = np.array([[side * 0.30 * thorax.width, 0.0, 0.10 * thorax.trunk]])
        column, row, magnified = beam.project(hilum)
        y, x = np.arange(beam.rows)[:, None] - row, np.arange(beam.columns)[None, :] - column
        away = np.hypot(x, y * np.where(y > 0, 0.62, 1.0)) / (magnified * 0.42 * thorax.width)
        puffs = clouds(
            rows=beam.rows, columns=beam.columns, pixel_mm=beam.pixel_mm, seed=thorax.shape % 9973 + number, size_mm=36
        )
        share = level[number] * (0.10 + 0.42 * np.exp(-(away**2)) * (0.65 + 0.7 * puffs))
        total += (soft * share * lung[number]).astype(np.float32)
    return total


def _haze(haze: Hazy, *, beam: Beam, lung: tuple[np.ndarray, np.ndarray], density: float, soft: float) -> np.ndarray:
    """Attenuation that a region of filled lung adds."""
    total = np.zeros((beam.rows, beam.columns), np.float32)
    rows, columns, chord, inside = ellipsoid_chord(haze.shape, beam=beam, lobed=0.3, seed=haze.seed)
    if not chord.size:
        return total
    puffs = clouds(rows=beam.rows, columns=beam.columns, pixel_mm=beam.pixel_mm, seed=haze.seed, size_mm=20)[
        rows, columns
    ]
    space = lung[1 if haze.side > 0 else 0][rows, columns]
    weight = np.clip(inside * 1.5 - 0.35 + 0.8 * (puffs - 0.4), 0, 0.9) * np.clip(inside * 3, 0, 1)
    total[rows, columns] = soft * (1 - density) * haze.share * np.minimum(chord, 0.7 * space) * weight
    return total


def _add_solid(total: np.ndarray, solid: Solid, *, beam: Beam, density: float, matter: Matter) -> np.ndarray:
    """Adds a solid lesion to the picture and returns its mask."""
    large = max(solid.shape.half) > 6
    lobed = 0.22 if solid.kind == "solid" and large else 0.0
    rows, columns, chord, inside = ellipsoid_chord(solid.shape, beam=beam, lobed=lobed, seed=solid.seed)
    mask = np.zeros(total.shape, bool)
    if not chord.size:
        return mask
    amount = matter.soft * (1 - density)
    if solid.kind == "calcified":
        amount = 0.55 * matter.bone
    elif solid.kind == "ground":
        amount *= 0.35
    added = amount * chord
    if solid.kind in ("cavity", "cyst"):
        hollow = 0.62 if solid.kind == "cavity" else 0.9
        core = Ellipsoid(center=solid.shape.center, half=tuple(hollow * half for half in solid.shape.half))  # type: ignore[arg-type]
        r, c, empty, _ = ellipsoid_chord(core, beam=beam)
        inner = np.zeros(total.shape, np.float32)
        inner[r, c] = empty
        added = np.maximum(added - matter.soft * (1 - 0.3 * density) * inner[rows, columns], -0.3)
    total[rows, columns] += added
    mask[rows, columns] = inside > 0
    if not mask.any():
        column, row, _ = beam.project(np.array([solid.shape.center]))
        if 0 <= row[0] < beam.rows and 0 <= column[0] < beam.columns:
            mask[int(row[0]), int(column[0])] = True
    return mask


def _whole_masks(scene: Scene, *, up: _Enlarged) -> list[Mask]:
    """Masks of what is part of the organs' paths."""
    found: list[Mask] = []
    pairs = {"pleural-effusion": up.fluid, "pneumothorax": up.loose, "pleural-thickening": up.rind}
    for fact in scene.whole:
        if fact.key in pairs:
            for number, side in ((0, "right"), (1, "left")):
                if fact.side in (side, "both", "none"):
                    found.append(
                        (fact, side, pairs[fact.key][number] > (18 if fact.key == "pleural-thickening" else 7), None)
                    )
        elif fact.key in ("cardiomegaly", "pericardial-effusion"):
            found.append((fact, "none", up.heart > 12, None))
        elif fact.key == "hiatal-hernia":
            found.append((fact, "none", up.hernia > 6, None))
        elif fact.key == "free-air":
            found.append((fact, "right", up.free > 5, None))
    return found


def _break_mask(item: Break, *, thorax: Thorax, beam: Beam) -> Mask:
    """A disk over a fracture."""
    if item.bone == "rib":
        line = rib_line(thorax, number=item.number, side=item.side)
        point, radius = line[int(item.place * (len(line) - 1))], 11.0
    elif item.bone == "clavicle":
        line = clavicle_line(thorax, side=item.side)
        point, radius = line[int(0.55 * (len(line) - 1))], 13.0
    else:
        point, radius = vertebra_center(thorax, number=item.number), 19.0
    column, row, magnified = beam.project(point[None])
    y, x = np.arange(beam.rows)[:, None] + 0.5 - row, np.arange(beam.columns)[None, :] + 0.5 - column
    mask = np.hypot(x, y) < radius * magnified
    side = "none" if item.bone == "vertebra" else _side_word(item.side)
    return item.fact, side, mask, (float(point[0]), float(point[1]), float(point[2]))
