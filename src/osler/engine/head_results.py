"""What a trained head returns: see `osler.tasks.heads` for what a head must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from osler.study import Box2D, Box3D, Change


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadBox:
    """A box that a head found: on one image of the prepared study, or in the patient.

    Args:
        label: One of the labels asked for.
        series: Series identifier.
        score: Probability that the label is there and its box fits, 0 to 1.
        image: Number of the image among those of ``session.prepare(study)``, for ``box``.
        box: In the network's pixels of that image.
        patient: In patient LPS mm, instead of ``image`` and ``box``.
    """

    label: str
    series: str
    score: float
    image: int | None = None
    box: Box2D | None = None
    patient: Box3D | None = None


Known = Literal["nothing", "there"]
"""What is known of findings before a progression head is asked: nothing, or that each is there at one date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadChange:
    """What a progression head makes of one finding, with the probability of it."""

    finding: str
    change: Change
    probability: float
