"""Renders one exam of a patient as a volume with its masks and boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.errors import RequestError
from osler.study import Affine, Box3D
from osler.synth.anatomy import unit_mm
from osler.synth.facts import Exam, FindingFact, PatientFacts, Region
from osler.synth.phantoms.canvas import Canvas, Grid
from osler.synth.phantoms.ct import add_noise, dose_factor, to_hu
from osler.synth.phantoms.head import SHAPED as HEAD_SHAPED
from osler.synth.phantoms.head import STATES as HEAD_STATES
from osler.synth.phantoms.head import head_shape, paint_head, paint_head_states
from osler.synth.phantoms.knee import STATES as KNEE_STATES
from osler.synth.phantoms.knee import paint_knee
from osler.synth.phantoms.lesions import paint_lesions
from osler.synth.phantoms.looks import LOOKS
from osler.synth.phantoms.lung_states import STATES as LUNG_STATES
from osler.synth.phantoms.lung_states import paint_lung_states
from osler.synth.phantoms.mr import finish_mr, mr_palette
from osler.synth.phantoms.states import PALETTE_STATES, SHAPED, STATES, change_palette, paint_states, trunk_shape
from osler.synth.phantoms.tissues import LABELS, ct_palette
from osler.synth.phantoms.trunk import paint_trunk

# Extents in unit coordinates: (x, y, z) from low to high.
FIELDS: dict[Region, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "chest": ((-1.28, 1.28), (-1.28, 1.20), (-0.14, 0.32)),
    "abdomen": ((-1.28, 1.28), (-1.28, 1.20), (-0.74, 0.03)),
    "head": ((-1.45, 1.45), (-1.40, 1.40), (-1.35, 1.35)),
    "knee": ((-1.0, 1.0), (-1.0, 1.0), (-0.95, 0.95)),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """A rendered volume and the truth about it.

    Args:
        array: (slice, row, column): int16 HU for CT, uint16 for MR; slices run toward the head,
            rows to the back, columns to the patient's left.
        affine: Voxel to body frame, LPS mm.
        modality: ``"CT"`` or ``"MR"``. region: What it shows.
        organs: Labels like ``array``, names in ``osler.synth.phantoms.LABELS``.
        lesions: Numbers of the lesions like ``array``, 0 elsewhere.
        boxes: Box of each lesion's mask (LPS mm) by its number.
        not_drawn: Findings of the exam without a correlate in this volume.
    """

    array: np.ndarray
    affine: Affine
    modality: str
    region: Region
    organs: np.ndarray
    lesions: np.ndarray
    boxes: dict[int, Box3D]
    not_drawn: tuple[str, ...]

    def organ_boxes(self) -> dict[str, Box3D]:
        """Box of each organ's label (LPS mm)."""
        found = boxes_of(self.organs, affine=self.affine)
        return {name: found[number] for name, number in LABELS.items() if number and number in found}


def boxes_of(labels: np.ndarray, *, affine: Affine) -> dict[int, Box3D]:
    """The tight box (LPS mm) around each label other than 0."""
    boxes = {}
    for number in np.flatnonzero(np.bincount(labels.ravel())[1:]) + 1:
        mask = labels == number
        spans = []
        for axis in range(3):
            along = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            spans.append((float(along[0]), float(along[-1] + 1)))
        low = (spans[2][0], spans[1][0], spans[0][0])
        high = (spans[2][1], spans[1][1], spans[0][1])
        boxes[int(number)] = Box3D(low=low, high=high, frame="voxel").to_patient(affine)
    return boxes


def grid_for(
    region: Region,
    *,
    patient: PatientFacts,
    shape: tuple[int, int, int] | None,
    spacing_mm: tuple[float, float, float] | None,
) -> Grid:
    """The grid over a region's field, by number of voxels or by spacing (column, row, slice; mm)."""
    unit = unit_mm(region, anatomy=patient.anatomy)
    spans = [((high - low) * s, low * s) for (low, high), s in zip(FIELDS[region], unit, strict=True)]
    if shape is not None:
        counts = shape[::-1]
        pixel = max(spans[0][0] / counts[0], spans[1][0] / counts[1])
        spacing = (pixel, pixel, spans[2][0] / counts[2])
    else:
        spacing = spacing_mm or (1.5, 1.5, 3.0)
        if not all(0.05 <= s <= 50 for s in spacing):
            raise RequestError(f"A spacing of {spacing!r} mm.", allowed="0.05 to 50 mm along each axis.")
        counts = tuple(max(1, round(span / s)) for (span, _), s in zip(spans, spacing, strict=True))
    voxels = counts[0] * counts[1] * counts[2]
    if min(counts) < 1 or voxels > 600_000_000:
        raise RequestError(
            f"A volume of {counts[2]} x {counts[1]} x {counts[0]} voxels.",
            allowed="1 to 600 million voxels.",
            next_step="Choose a wider spacing.",
        )
    origin = tuple(low + (span - s * n) / 2 + s / 2 for (span, low), s, n in zip(spans, spacing, counts, strict=True))
    return Grid(shape=(counts[2], counts[1], counts[0]), spacing=spacing, origin=origin)  # type: ignore[arg-type]


def render_volume(
    patient: PatientFacts,
    *,
    exam: int,
    shape: tuple[int, int, int] | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
) -> Phantom:
    """Renders a CT or MR exam.

    Args:
        patient: The facts.
        exam: Number of the exam.
        shape: (slices, rows, columns); or
        spacing_mm: (column, row, slice); 1.5 x 1.5 x 3 mm if neither is given.

    Raises:
        RequestError: If the patient has no such exam, the exam is no CT or MR, or the grid is absurd.
    """
    made = _find(patient, exam=exam)
    grid = grid_for(made.region, patient=patient, shape=shape, spacing_mm=spacing_mm)
    findings = drawn_findings(made)
    palette = ct_palette(made.acquisition.contrast) if made.modality == "CT" else mr_palette(made.acquisition)
    if made.modality == "CT":
        change_palette(palette, findings=findings)
    canvas = Canvas.blank(
        grid,
        unit=unit_mm(made.region, anatomy=patient.anatomy),
        palette=palette,
        labels=LABELS,
        warp_seed=_seed(patient),
        warp_mm={"knee": 1.5, "head": 2.0}.get(made.region, 3.0),
    )
    _paint(canvas, patient=patient, exam=made, findings=findings)
    missed = paint_lesions(canvas, exam=made, anatomy=patient.anatomy)
    affine = Affine.from_parts(spacing=grid.spacing, direction=np.eye(3), origin=grid.origin)
    return Phantom(
        array=_image(canvas, patient=patient, exam=made),
        affine=affine,
        modality=made.modality,
        region=made.region,
        organs=canvas.organs,
        lesions=canvas.lesions,
        boxes=boxes_of(canvas.lesions, affine=affine),
        not_drawn=_not_drawn(findings, missed=missed),
    )


def _seed(patient: PatientFacts) -> int:
    return patient.anatomy.shape % (2**31)


def _paint(canvas: Canvas, *, patient: PatientFacts, exam: Exam, findings: list[FindingFact]) -> None:
    """Paints organs and the findings that are states of organs."""
    seed = _seed(patient)
    if exam.region == "head":
        paint_head(canvas, shape=head_shape(findings, age=patient.age), seed=seed)
        paint_head_states(canvas, findings=findings)
    elif exam.region == "knee":
        paint_knee(canvas, findings=findings)
    else:
        paint_trunk(canvas, patient=patient, shape=trunk_shape(findings))
        paint_lung_states(canvas, findings=findings, seed=seed)
        paint_states(canvas, findings=findings)


def _image(canvas: Canvas, *, patient: PatientFacts, exam: Exam) -> np.ndarray:
    """The finished image: int16 HU or uint16 signal."""
    made, seed, grid = exam.acquisition, _seed(patient) + 1000 + exam.number, canvas.grid
    if exam.modality == "MR":
        return finish_mr(canvas.value, grid=grid, seed=seed, snr=28.0 if (made.field_t or 1.5) < 2.5 else 42.0)
    factor = dose_factor(mas=made.mas or 100, kvp=made.kvp or 120, slice_mm=grid.spacing[2])
    kernel = made.kernel or "soft"
    if exam.region == "head":
        factor *= 0.35  # heads are scanned with more dose and weaken the beam less
    add_noise(canvas.value, grid=grid, kernel=kernel, factor=factor, seed=seed)
    return to_hu(canvas.value)


def _find(patient: PatientFacts, *, exam: int) -> Exam:
    for made in patient.exams:
        if made.number == exam:
            if made.modality in ("CT", "MR"):
                return made
            raise RequestError(f"Exam {exam} of this patient is {made.modality}.", allowed="CT or MR.")
    raise RequestError(f"The patient has no exam {exam!r}.", allowed=f"0 to {len(patient.exams) - 1}.")


def drawn_findings(exam: Exam) -> list[FindingFact]:
    """The findings of an exam that are there to be seen."""
    return [f for f in exam.findings if f.certainty != "absent" and f.change != "resolved"]


def _not_drawn(findings: list[FindingFact], *, missed: list[str]) -> tuple[str, ...]:
    known = {*LOOKS, *LUNG_STATES, *STATES, *PALETTE_STATES, *SHAPED, *HEAD_STATES, *HEAD_SHAPED, *KNEE_STATES}
    return tuple(sorted({f.key for f in findings if f.key not in known} | set(missed)))
