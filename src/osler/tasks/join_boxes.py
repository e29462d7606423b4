"""From boxes on single slices to boxes in the volume.

The rule: along the slices that were looked at, a box continues the box of the same label whose overlap
(intersection over union) with it is greatest and at least 0.1; one slice that was looked at may lie between
without a box. A chain becomes the 3D box that encloses it, in depth from half-way to the slice looked at before
its first to half-way to the one after its last. Its score is the sum of the scores of its slices over the number
of slices looked at from its first to its last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from osler.study import Affine, Box2D, Box3D

_LEAST_OVERLAP = 0.1
_MOST_STEPS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceBox:
    """A box on one slice.

    Args:
        place: Number of the slice among those looked at.
        box: In pixels of the series.
        score: 0 to 1.
    """

    place: int
    box: Box2D
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedBox:
    """A box in the volume and the slices behind it."""

    patient: Box3D
    score: float
    slices: tuple[SliceBox, ...]


@dataclass(slots=True)
class _Chain:
    boxes: list[SliceBox] = field(default_factory=list)


def join_boxes(
    boxes: Sequence[SliceBox], *, looked_at: Sequence[int], depth: int, affine: Affine
) -> tuple[JoinedBox, ...]:
    """Joins the boxes of one label, highest score first.

    Args:
        boxes: Of one label.
        looked_at: Slice indices, rising.
        depth: Slices of the volume.
        affine: Voxel to patient.
    """
    chains: list[_Chain] = []
    for box in sorted(boxes, key=lambda entry: entry.place):
        near = [chain for chain in chains if 0 < box.place - chain.boxes[-1].place <= _MOST_STEPS]
        best = max(near, key=lambda chain: box.box.iou(chain.boxes[-1].box), default=None)
        if best is not None and box.box.iou(best.boxes[-1].box) >= _LEAST_OVERLAP:
            best.boxes.append(box)
        else:
            chains.append(_Chain([box]))
    joined = (_joined(chain.boxes, looked_at=looked_at, depth=depth, affine=affine) for chain in chains)
    return tuple(sorted(joined, key=lambda entry: -entry.score))


def _joined(boxes: list[SliceBox], *, looked_at: Sequence[int], depth: int, affine: Affine) -> JoinedBox:
    first, last = boxes[0].place, boxes[-1].place
    voxel = Box3D(
        low=(
            min(entry.box.x0 for entry in boxes),
            min(entry.box.y0 for entry in boxes),
            _edge(looked_at, place=first, towards=-1, depth=depth),
        ),
        high=(
            max(entry.box.x1 for entry in boxes),
            max(entry.box.y1 for entry in boxes),
            _edge(looked_at, place=last, towards=1, depth=depth),
        ),
        frame="voxel",
    )
    score = sum(entry.score for entry in boxes) / (last - first + 1)
    return JoinedBox(patient=voxel.to_patient(affine), score=score, slices=tuple(boxes))


def _edge(looked_at: Sequence[int], *, place: int, towards: int, depth: int) -> float:
    """Half-way to the neighboring slice looked at, as an edge (centers are at + 0.5); never beyond the volume."""
    center = looked_at[place] + 0.5
    beyond = place + towards
    neighbor = looked_at[beyond] + 0.5 if 0 <= beyond < len(looked_at) else None
    if neighbor is None:
        # The last one reaches as far outward as it does inward.
        inward = place - towards
        step = abs(looked_at[inward] - looked_at[place]) if 0 <= inward < len(looked_at) else 1
        neighbor = center + towards * step
    return min(max((center + neighbor) / 2, 0.0), float(depth))
