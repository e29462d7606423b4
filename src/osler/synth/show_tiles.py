"""One picture of an exam: the slice through its largest lesion, or the radiograph, with boxes in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.study import Box2D, Box3D, Window
from osler.synth.documents.phrases import finding_name
from osler.synth.facts import Exam
from osler.synth.ontology import load_ontology
from osler.synth.rendered import LesionBox, Rendered, RenderedImage, RenderedVolume

Plane = Literal["axial", "coronal", "sagittal"]
# Voxel axes (column 0, row 1, slice 2): along the normal, across the picture, down it.
_AXES: dict[Plane, tuple[int, int, int]] = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}
_LUNG, _SOFT, _BRAIN = Window(low=-1350, high=150), Window(low=-160, high=240), Window(low=0, high=80)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExamTile:
    """A picture of an exam.

    Args:
        exam: Which.
        pixels: uint8, ``(row, column)``.
        caption: Such as ``"CT, slice 41 of 96"``.
        aspect: Height over width of a pixel.
        boxes: Label and box, in pixels.
    """

    exam: Exam
    pixels: np.ndarray
    caption: str
    aspect: float
    boxes: tuple[tuple[str, Box2D], ...]


def exam_tiles(rendered: Rendered | None, *, exam: Exam, planes: Sequence[Plane] = ("axial",)) -> tuple[ExamTile, ...]:
    """Picks what to show of an exam: planes of a volume through its largest lesion, or the radiograph.

    Args:
        rendered: The exam's pixels, if it has any.
        exam: Which exam.
        planes: Of an axial volume: stored slices ("axial"), and cuts across them. Others show stored slices only.
    """
    if isinstance(rendered, RenderedVolume):
        axial = rendered.affine.plane == "axial"
        return tuple(_plane_tile(rendered, exam=exam, plane=plane) for plane in planes if axial or plane == "axial")
    if isinstance(rendered, RenderedImage):
        return (_image_tile(rendered, exam=exam),)
    return ()


def _image_tile(image: RenderedImage, *, exam: Exam) -> ExamTile:
    window = Window(low=float(image.pixels.min()), high=float(image.pixels.max()) + 1e-3)
    return ExamTile(
        exam=exam,
        pixels=window.apply(image.pixels).astype(np.uint8),
        caption=f"X-ray {exam.acquisition.view or ''}".strip(),
        aspect=image.spacing[1] / image.spacing[0],
        boxes=tuple((_label(one, exam=exam), one.box) for one in image.boxes if isinstance(one.box, Box2D)),
    )


def _plane_tile(volume: RenderedVolume, *, exam: Exam, plane: Plane) -> ExamTile:
    """Cuts a volume along one of its array axes; cuts across the slices are turned head up."""
    normal, across, down = _AXES[plane]
    placed = [(one, one.box.to_voxel(volume.affine)) for one in volume.boxes if isinstance(one.box, Box3D)]
    size = volume.voxels.shape[::-1]
    index = size[normal] // 2
    if placed:
        largest = max((box for _, box in placed), key=lambda box: float(np.prod(np.subtract(box.high, box.low))))
        index = int(np.clip((largest.low[normal] + largest.high[normal]) / 2, 0, size[normal] - 1))
    cut = np.take(volume.voxels, index, axis=2 - normal)
    boxes = []
    for one, box in placed:
        if box.low[normal] >= index + 1 or box.high[normal] <= index:
            continue
        y0, y1 = box.low[down], box.high[down]
        if plane != "axial":
            y0, y1 = size[down] - y1, size[down] - y0
        boxes.append((_label(one, exam=exam), Box2D(x0=box.low[across], y0=y0, x1=box.high[across], y1=y1)))
    window = _window(volume, exam=exam, shown=bool(boxes))
    spacing = volume.affine.spacing
    name = f"slice {index + 1} of {size[normal]}" if plane == "axial" else plane
    return ExamTile(
        exam=exam,
        pixels=window.apply(cut if plane == "axial" else cut[::-1]).astype(np.uint8),
        caption=f"{exam.modality}, {name}",
        aspect=spacing[down] / spacing[across],
        boxes=tuple(boxes),
    )


def _window(volume: RenderedVolume, *, exam: Exam, shown: bool) -> Window:
    """The window in which the exam's lesions are seen: lung, soft tissue or brain in CT; nearly all values in MR."""
    if exam.modality != "CT":
        low, high = np.percentile(volume.voxels, (1, 99.7))
        return Window(low=float(low), high=float(max(high, low + 1)))
    if exam.region == "head":
        return _BRAIN
    organs = {site.key: site.organ for site in load_ontology().sites}
    measured = [fact for fact in exam.findings if fact.size_mm is not None and fact.certainty != "absent"]
    largest = max(measured, key=lambda fact: fact.size_mm or 0, default=None)
    in_lung = largest is not None and "lung" in organs.get(largest.site, "")
    return _LUNG if exam.region == "chest" and (in_lung or not shown) else _SOFT


def _label(one: LesionBox, *, exam: Exam) -> str:
    fact = next((fact for fact in exam.findings if (fact.key, fact.lesion) == (one.finding, one.lesion)), None)
    size = "" if fact is None or fact.size_mm is None else f" {fact.size_mm} mm"
    return f"{finding_name(one.finding)}{size}"
