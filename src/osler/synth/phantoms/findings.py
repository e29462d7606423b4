"""Draws all visible findings of an exam: diffuse ones first, then lesions from large to small."""

from __future__ import annotations

import dataclasses

from osler.synth.facts import FindingFact
from osler.synth.phantoms.belly_findings import BELLY
from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.chest_findings import CHEST
from osler.synth.phantoms.lesions import LOOKS, axes_of, paint_lesion
from osler.synth.phantoms.overlays import ORGAN_CHANGES, tag_organs
from osler.synth.phantoms.state import Shown
from osler.synth.phantoms.torso import Torso

DIFFUSE = CHEST | BELLY
_OTHER_SIDE = {"left": "right", "right": "left"}


def in_body(fact: FindingFact, *, mirrored: bool) -> FindingFact:
    """The fact in the frame that is painted: that of the mirrored body if it is drawn mirrored."""
    if not mirrored:
        return fact
    center = fact.center_mm
    return dataclasses.replace(
        fact,
        side=_OTHER_SIDE.get(fact.side, fact.side),
        center_mm=None if center is None else (-center[0], center[1], center[2]),
    )


def paint_lesions(canvas: Canvas, *, state: Shown) -> dict[int, str]:
    """Paints the lesions that have a place, the largest first.

    Args:
        canvas: With the organs. state: Findings in the painted body's frame.

    Returns:
        Number to key of what was drawn.
    """
    placed = [f for f in state.findings if f.key in LOOKS and f.center_mm is not None]
    placed.sort(key=lambda f: (-max(axes_of(f, look=LOOKS[f.key])), f.lesion))
    for fact in placed:
        paint_lesion(canvas, fact, center=fact.center_mm)
    return {fact.lesion: fact.key for fact in placed}


def paint_trunk_findings(canvas: Canvas, torso: Torso, *, state: Shown) -> dict[int, str]:
    """Paints all findings of a chest or belly; returns number to key of what was drawn."""
    drawn = {}
    diffuse = [f for f in state.findings if f.key in DIFFUSE]
    order = sorted(diffuse, key=lambda f: (f.key in ("pleural-effusion", "empyema", "pneumothorax"), f.lesion))
    for fact in order:
        DIFFUSE[fact.key](canvas, torso, fact)
        drawn[fact.lesion] = fact.key
    drawn |= paint_lesions(canvas, state=state)
    for fact in state.findings:
        if fact.key in ORGAN_CHANGES and fact.lesion not in drawn:  # a measured one keeps its size
            tag_organs(canvas, fact)
            drawn[fact.lesion] = fact.key
    return drawn
