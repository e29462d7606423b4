"""Marks and paints changes of organs: which voxels a finding has in the lesion map."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from osler.synth.elementary import cosine, sine
from osler.synth.facts import FindingFact
from osler.synth.phantoms.canvas import Bounds, Box, Canvas, Patch, tight_box
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.synth.phantoms.state import GRADES
from osler.synth.phantoms.torso import SIDES, Torso
from osler.synth.phantoms.tubes import Tubes, tubes

Draw = Callable[[Canvas, Torso, FindingFact], None]

ORGAN_CHANGES: dict[str, tuple[str, ...]] = {
    "cardiomegaly": ("heart",),
    "pericardial-effusion": ("pericardium",),
    "right-heart-strain": ("heart",),
    "thoracic-aortic-aneurysm": ("aorta",),
    "pulmonary-artery-enlargement": ("pulmonary-artery",),
    "abdominal-aortic-aneurysm": ("aorta",),
    "hepatic-steatosis": ("liver",),
    "hepatomegaly": ("liver",),
    "cirrhotic-liver-morphology": ("liver",),
    "splenomegaly": ("spleen",),
    "acute-cholecystitis": ("gallbladder",),
    "acute-pancreatitis": ("pancreas",),
    "hydronephrosis": ("kidney",),
    "renal-atrophy": ("kidney",),
    "bladder-wall-thickening": ("bladder",),
    "small-bowel-obstruction": ("small-bowel",),
    "prostate-enlargement": ("prostate",),
    "vertebral-compression-fracture": ("spine",),
    "degenerative-spine-disease": ("spine",),
    "osteopenia": ("spine", "ribs"),
    "hip-fracture": ("femora",),
    "biliary-dilatation": ("bile-ducts",),
    "cerebral-atrophy": ("csf",),
    "hydrocephalus": ("ventricles",),
    "hippocampal-atrophy": ("hippocampus",),
}
"""Findings that are drawn with the organ itself; its voxels carry them where no other lesion lies."""


def of_sides(fact: FindingFact) -> list[tuple[str, float]]:
    """The sides a finding is on."""
    return [(name, side) for name, side in SIDES if fact.side in (name, "both", "none", "midline")]


def tag(canvas: Canvas, cover: np.ndarray, box: Box | None, *, fact: FindingFact) -> None:
    """Marks what a finding covers (bool, or share); in the lesion map, where no other lies."""
    if box is None:
        box = tight_box(cover)
        if box is None:
            return
        cover = cover[box]
    canvas.mark(fact, cover, box=box)
    target = canvas.lesion[box]
    target[(cover >= 0.5) & (target == 0)] = fact.lesion


def overlay(
    canvas: Canvas,
    fact: FindingFact,
    depth: Callable[[Patch], np.ndarray],
    *,
    tissue: str | float,
    bounds: Bounds,
    over: tuple[str, ...],
    strength: float = 1.0,
    organ: str | None = None,
    edge: float | None = None,
) -> None:
    """Paints a change of an organ and marks it."""
    for whole in canvas.patches(bounds):
        found = canvas.about(whole, organs=over)
        if found is None:
            continue
        p, allowed = found
        inside = canvas.share(depth, p, width=canvas.edge) if canvas.rays != "none" else depth(p) >= 0
        tag(canvas, inside * allowed, p.box, fact=fact)
    canvas.paint(depth, tissue=tissue, bounds=bounds, over=over, strength=strength, organ=organ, edge=edge)


def tag_tube(canvas: Canvas, tube: Tubes, *, fact: FindingFact, over: tuple[str, ...] = ()) -> None:
    """Marks the voxels of tubes."""
    index, share = tube.cover()
    if over:
        keep = np.isin(canvas.label.reshape(-1)[index], [ORGAN_CODES[name] for name in over])
        index, share = index[keep], share[keep]
    if not len(index):
        return
    places = np.unravel_index(index, canvas.label.shape)
    low = [int(place.min()) for place in places]
    shape = [int(place.max()) + 1 - start for place, start in zip(places, low, strict=True)]
    cover = np.zeros(shape, dtype=np.float32 if canvas.rays != "none" else bool)
    cover[tuple(place - start for place, start in zip(places, low, strict=True))] = (
        share if canvas.rays != "none" else share >= 0.5
    )
    box = tuple(slice(start, start + count) for start, count in zip(low, shape, strict=True))
    tag(canvas, cover, box, fact=fact)


def wall_chips(canvas: Canvas, line: np.ndarray, *, radius: float, fact: FindingFact, key: str) -> None:
    """Flecks of calcium along a vessel's wall."""
    grade = round(GRADES[fact.severity])
    rng = np.random.Generator(np.random.SFC64(canvas.shape % 2**60 + len(key)))
    count = (6, 16, 36)[grade - 1]
    spots = line[rng.integers(0, len(line), count)]
    angle = rng.uniform(0, 2 * np.pi, count)
    spots = spots + radius * np.stack([cosine(angle), sine(angle), 0 * angle], axis=1)
    chips = tubes(canvas)
    chips.add(spots, rng.uniform(1.0, 1.8 + 0.4 * grade, count))
    chips.paint(canvas, tissue="calcium", organ=None)
    tag_tube(canvas, chips, fact=fact)


def tag_organs(canvas: Canvas, fact: FindingFact) -> None:
    """Marks the organ that a finding changes as a whole."""
    for organ in ORGAN_CHANGES[fact.key]:
        names = [f"{name}-kidney" for name, _ in of_sides(fact)] if organ == "kidney" else [organ]
        for name in names:
            where = canvas.label == ORGAN_CODES[name]
            if fact.center_mm is not None:
                reach = max(25.0, (fact.size_mm or 0) * 1.2)
                where = where & (np.abs(canvas.axes.z - np.float32(fact.center_mm[2])) < reach)[:, None, None]
            tag(canvas, where, None, fact=fact)
