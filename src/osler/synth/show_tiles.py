"""One picture of an exam: the slice through its largest lesion, or the radiograph, with boxes in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from osler.study import Box2D, Box3D, Window
from osler.synth.documents.phrases import finding_name
from osler.synth.facts import Exam
from osler.synth.rendered import LesionBox, Rendered, RenderedField, RenderedImage, RenderedVolume

Plane = Literal["axial", "coronal", "sagittal"]
# Voxel axes (column 0, row 1, slice 2): along the normal, across the picture, down it.
_AXES: dict[Plane, tuple[int, int, int]] = {"axial": (2, 0, 1), "coronal": (1, 0, 2), "sagittal": (0, 1, 2)}
_LUNG, _SOFT, _BRAIN = Window(low=-1350, high=150), Window(low=-160, high=240), Window(low=0, high=80)
_WIDE = 0.2  # of the picture: boxes of diffuse findings, which tell little
_AROUND = 0.4  # of a lesion's box, on each side
_LUNG_HU = -400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExamTile:
    """A picture of an exam.

    Args:
        exam: Which.
        pixels: uint8, ``(row, column)``, of slides ``(row, column, 3)``.
        caption: Such as ``"CT, slice 41 of 96"``.
        aspect: Height over width of a pixel.
        boxes: Label and box, in pixels; the lesion that the picture goes through comes first.
    """

    exam: Exam
    pixels: np.ndarray
    caption: str
    aspect: float
    boxes: tuple[tuple[str, Box2D], ...]


def exam_tiles(
    rendered: Rendered | None,
    *,
    exam: Exam,
    planes: Sequence[Plane] = ("axial",),
    prefer: Sequence[tuple[str, int]] = (),
) -> tuple[ExamTile, ...]:
    """Picks what to show of an exam: planes of a volume through its largest lesion, or the radiograph.

    Args:
        rendered: The exam's pixels, if it has any.
        exam: Which exam.
        planes: Of an axial volume: stored slices ("axial"), and cuts across them. Others show stored slices only.
        prefer: Findings and numbers of lesions to go through, the first one that is there; else the largest lesion.
    """
    if isinstance(rendered, RenderedVolume):
        axial = rendered.affine.plane == "axial"
        return tuple(
            _plane_tile(rendered, exam=exam, plane=plane, prefer=prefer)
            for plane in planes
            if axial or plane == "axial"
        )
    if isinstance(rendered, RenderedImage):
        return (_image_tile(rendered, exam=exam),)
    if isinstance(rendered, RenderedField):
        caption = f"{len(rendered.pixels) * rendered.pixel_um / 1000:.2f} mm of the slide"
        return (ExamTile(exam=exam, pixels=rendered.pixels, caption=caption, aspect=1.0, boxes=()),)
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


def _plane_tile(volume: RenderedVolume, *, exam: Exam, plane: Plane, prefer: Sequence[tuple[str, int]]) -> ExamTile:
    """Cuts a volume along one of its array axes; cuts across the slices are turned head up.

    Beside a measured lesion, boxes of findings that are not measured are left out.
    """
    normal, across, down = _AXES[plane]
    placed = [(one, one.box.to_voxel(volume.affine)) for one in volume.boxes if isinstance(one.box, Box3D)]
    size = volume.voxels.shape[::-1]
    chief = _chief([one for one, _ in placed], exam=exam, prefer=prefer)
    index = size[normal] // 2
    if chief is not None:
        middle = (placed[chief][1].low[normal] + placed[chief][1].high[normal]) / 2
        index = int(np.clip(middle, 0, size[normal] - 1))
    cut = np.take(volume.voxels, index, axis=2 - normal)
    boxes = []
    for place, (one, box) in enumerate(placed):
        if box.low[normal] >= index + 1 or box.high[normal] <= index:
            continue
        y0, y1 = box.low[down], box.high[down]
        if plane != "axial":
            y0, y1 = size[down] - y1, size[down] - y0
        flat = Box2D(x0=box.low[across], y0=y0, x1=box.high[across], y1=y1)
        measured = chief is None or _size_mm(one, exam=exam) >= min(_size_mm(placed[chief][0], exam=exam), 1)
        if place == chief or (measured and flat.area < _WIDE * size[across] * size[down]):
            boxes.append((place != chief, _label(one, exam=exam), flat))
    boxes.sort(key=lambda entry: entry[0])
    window = _window(volume, exam=exam, box=None if chief is None else placed[chief][1])
    spacing = volume.affine.spacing
    name = f"slice {index + 1} of {size[normal]}" if plane == "axial" else plane
    return ExamTile(
        exam=exam,
        pixels=window.apply(cut if plane == "axial" else cut[::-1]).astype(np.uint8),
        caption=f"{exam.modality}, {name}",
        aspect=spacing[down] / spacing[across],
        boxes=tuple((label, flat) for _, label, flat in boxes),
    )


def _chief(boxes: Sequence[LesionBox], *, exam: Exam, prefer: Sequence[tuple[str, int]]) -> int | None:
    """Which lesion to show: a preferred one, else the largest measured one, else the largest one, if any."""
    order = list(prefer)

    def rank(place: int) -> tuple[int, int, float]:
        one = boxes[place]
        key = (one.finding, one.lesion)
        extent = float(np.prod(np.subtract(one.box.high, one.box.low))) if isinstance(one.box, Box3D) else one.box.area
        return -order.index(key) if key in order else -len(order), _size_mm(one, exam=exam), extent

    return max(range(len(boxes)), key=rank, default=None)


def _size_mm(one: LesionBox, *, exam: Exam) -> int:
    sizes = [fact.size_mm for fact in exam.findings if (fact.key, fact.lesion) == (one.finding, one.lesion)]
    return sizes[0] or 0 if sizes else 0


def _window(volume: RenderedVolume, *, exam: Exam, box: Box3D | None) -> Window:
    """The window in which a lesion is seen: nearly all values in MR; in CT by what lies around it."""
    if exam.modality != "CT":
        low, high = np.percentile(volume.voxels, (1, 99.7))
        return Window(low=float(low), high=float(max(high, low + 1)))
    if exam.region == "head":
        return _BRAIN
    if box is None:
        return _LUNG if exam.region == "chest" else _SOFT
    low, high = np.array(box.low)[::-1], np.array(box.high)[::-1]
    room = np.maximum((high - low) * _AROUND, 1)
    start = np.clip(np.floor(low - room), 0, np.array(volume.voxels.shape) - 1).astype(int)
    stop = np.clip(np.ceil(high + room), start + 1, volume.voxels.shape).astype(int)
    around = volume.voxels[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    return _LUNG if np.median(around) < _LUNG_HU else _SOFT


def _label(one: LesionBox, *, exam: Exam) -> str:
    fact = next((fact for fact in exam.findings if (fact.key, fact.lesion) == (one.finding, one.lesion)), None)
    size = "" if fact is None or fact.size_mm is None else f" {fact.size_mm} mm"
    return f"{finding_name(one.finding)}{size}"
