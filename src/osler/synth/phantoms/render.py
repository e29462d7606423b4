"""From facts to a volume: paints the body of a region, then its lesions, then acquires it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from osler.errors import RequestError
from osler.study import Affine, ArrayPixels, Box3D, Volume
from osler.synth.facts import Exam, PatientFacts, Region
from osler.synth.phantoms import acquire
from osler.synth.phantoms.canvas import Canvas, tight_box, union
from osler.synth.phantoms.findings import in_body
from osler.synth.phantoms.grid import Grid, grid_of
from osler.synth.phantoms.organs import ORGAN_CODES, ORGANS
from osler.synth.phantoms.pose import CT_POSE, Pose
from osler.synth.phantoms.regions import paint_region
from osler.synth.phantoms.state import Shown, shown
from osler.synth.phantoms.tissues import palette_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """What a phantom shows of one finding.

    Args:
        key: Finding. lesion: Number in the facts and in the lesion map.
        box: Encloses its own mask (LPS mm). voxels: How many that has.
        mask: (slice, row, column) bool, the part of the volume about it. start: First slice, row, column of that part.
    """

    key: str
    lesion: int
    box: Box3D
    voxels: int
    mask: np.ndarray = field(repr=False, compare=False)
    start: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Phantom:
    """A rendered exam.

    Args:
        array: (slice, row, column) int16: HU of a CT, signal of an MR.
        affine: Voxel (column, row, slice) to patient LPS mm.
        organs: uint8, numbers of `organs.ORGANS`.
        lesions_map: uint16, numbers of lesions; 0 elsewhere.
        lesions: What was drawn, with boxes. not_drawn: Keys of visible findings without voxels here.
        modality: "CT" or "MR".
    """

    array: np.ndarray
    affine: Affine
    organs: np.ndarray
    lesions_map: np.ndarray
    lesions: tuple[Lesion, ...]
    not_drawn: tuple[str, ...]
    modality: str
    series_uid: str = ""
    study_uid: str = ""

    def mask(self, lesion: int) -> np.ndarray:
        """A lesion's own mask, (slice, row, column) bool, whatever smaller ones lie in it."""
        whole = np.zeros(self.array.shape, dtype=bool)
        for shown_ in self.lesions:
            if shown_.lesion == lesion:
                parts = zip(shown_.start, shown_.mask.shape, strict=True)
                whole[tuple(slice(start, start + count) for start, count in parts)] |= shown_.mask
        return whole

    @property
    def boxes(self) -> dict[int, Box3D]:
        """The box (LPS mm) of each lesion by its number."""
        return {lesion.lesion: lesion.box for lesion in self.lesions}

    def organ_boxes(self) -> dict[str, Box3D]:
        """The box (LPS mm) of each organ that is in the volume."""
        found = {}
        for code in np.flatnonzero(np.bincount(self.organs.ravel(), minlength=len(ORGANS))).tolist():
            if code:
                found[ORGANS[code]] = mask_box(self.organs == code, affine=self.affine)
        return found

    def volume(self) -> Volume:
        """The pixels as a study's volume."""
        return Volume(
            series=self.series_uid or "phantom",
            pixels=ArrayPixels(self.array),
            affine=self.affine,
            modality=self.modality,
            units="HU" if self.modality == "CT" else "arbitrary",
            study_uid=self.study_uid,
        )


def mask_box(mask: np.ndarray, *, affine: Affine) -> Box3D:
    """The tight box (LPS mm) of a mask (slice, row, column) that is not empty."""
    low, high = [], []
    for axis in (2, 1, 0):
        used = np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis)))
        low.append(float(used[0])), high.append(float(used[-1] + 1))
    return Box3D(low=tuple(low), high=tuple(high), frame="voxel").to_patient(affine)


def render_volume(
    patient: PatientFacts,
    *,
    exam: int,
    shape: tuple[int, int, int] | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    axes: str | None = None,
    region: Region | None = None,
) -> Phantom:
    """Renders an exam of a patient as a volume.

    Args:
        patient: The facts.
        exam: Number of the exam.
        shape: (slices, rows, columns); the exam's own matrix if neither shape nor spacing is given.
        spacing_mm: mm between columns, rows, slices.
        axes: Where columns, rows, slices grow, for example "LPS" (the default, axial) or "PIL".
        region: Must be the exam's, if given.

    Raises:
        RequestError: If there is no such exam, it is not CT or MR, or the grid is out of range.
    """
    chosen = _exam(patient, number=exam, region=region)
    grid = grid_of(patient, exam=chosen, shape=shape, spacing_mm=spacing_mm, axes=axes)
    return render_grid(patient, exam=chosen, grid=grid)


def _exam(patient: PatientFacts, *, number: int, region: Region | None) -> Exam:
    if not 0 <= number < len(patient.exams):
        raise RequestError(
            f"Exam {number!r} of a patient with {len(patient.exams)}.", allowed=f"0 to {len(patient.exams) - 1}."
        )
    exam = patient.exams[number]
    if exam.modality not in ("CT", "MR"):
        raise RequestError(
            f"Exam {number} is {exam.modality!r} ({exam.protocol}).",
            allowed="Volumes are drawn of CT and MR.",
            next_step="Use the radiograph or slide renderer for it.",
        )
    if region is not None and region != exam.region:
        raise RequestError(f"Region {region!r} of an exam of the {exam.region}.", allowed=f"{exam.region!r}.")
    return exam


def mirrored_body(patient: PatientFacts, *, exam: Exam) -> bool:
    """Whether the body is drawn as the mirror image of the table's: a left knee, or a mirrored patient."""
    return exam.side == "left" if exam.region == "knee" else patient.anatomy.shape < 0


def render_grid(patient: PatientFacts, *, exam: Exam, grid: Grid, pose: Pose = CT_POSE) -> Phantom:
    """Renders an exam on a given grid, in a given pose."""
    mirrored = mirrored_body(patient, exam=exam)
    axes = grid.body_axes(mirrored=mirrored)
    palette = palette_of(exam.acquisition, modality=exam.modality)
    canvas = Canvas(axes=axes, palette=palette, shape=abs(patient.anatomy.shape))
    state = Shown(findings=tuple(in_body(fact, mirrored=mirrored) for fact in shown(exam).findings))
    drawn = paint_region(canvas, patient, exam=exam, state=state, pose=pose)
    _acquire(canvas, patient, exam=exam)
    top = 3071 if exam.modality == "CT" else 4095
    whole = np.empty(canvas.value.shape, np.int16)
    for plane, numbers in zip(canvas.value, whole, strict=True):  # a slice at a time stays in the cache
        np.clip(plane, -1024 if exam.modality == "CT" else 0, top, out=plane)
        np.rint(plane, out=plane)
        numbers[:] = plane
    voxels = grid.arrange(whole, mirrored=mirrored)
    lesions_map = grid.arrange(canvas.lesion, mirrored=mirrored)
    lesions = _lesions(canvas, drawn, grid=grid, mirrored=mirrored)
    known = {lesion.lesion for lesion in lesions}
    return Phantom(
        array=voxels,
        affine=grid.affine,
        organs=grid.arrange(canvas.label, mirrored=mirrored),
        lesions_map=lesions_map,
        lesions=lesions,
        not_drawn=tuple(sorted(f.key for f in state.findings if f.lesion not in known)),
        modality=exam.modality,
        series_uid=exam.acquisition.series_uid,
        study_uid=exam.acquisition.study_uid,
    )


def _lesions(canvas: Canvas, drawn: dict[int, str], *, grid: Grid, mirrored: bool) -> tuple[Lesion, ...]:
    """The box and the size of each lesion's own mask."""
    found = []
    for fact, marks in canvas.marks.items():
        mask, low = union(marks)
        inner = tight_box(mask)
        if fact.lesion not in drawn or inner is None:
            continue
        mask = mask[inner]
        first = np.array(low) + [part.start for part in inner]
        box = grid.voxel_box(first, first + mask.shape, mirrored=mirrored)
        found.append(
            Lesion(
                key=drawn[fact.lesion],
                lesion=fact.lesion,
                box=box.to_patient(grid.affine),
                voxels=int(np.count_nonzero(mask)),
                mask=grid.arrange(mask, mirrored=mirrored),
                start=tuple(int(edge) for edge in reversed(box.low)),
            )
        )
    return tuple(sorted(found, key=lambda lesion: lesion.lesion))


def _acquire(canvas: Canvas, patient: PatientFacts, *, exam: Exam) -> None:
    key = int(exam.acquisition.series_uid.rpartition(".")[2] or exam.number) + patient.number
    a = exam.acquisition
    if exam.modality == "MR":
        acquire.mr_ghosts(canvas.value, region=exam.region, axes=canvas.axes, key=key)
        shading = canvas.wave(140, key="coil", box=tuple(slice(0, count) for count in canvas.axes.shape))
        acquire.mr_finish(canvas.value, acquisition=a, axes=canvas.axes, key=key, shading=shading)
        return
    acquire.ct_motion(canvas.value, region=exam.region, axes=canvas.axes, key=key)
    metal = 1.3 * canvas.palette["cortex"]
    if float(canvas.value.max()) > metal:
        # Thin wires have no voxel of their own: what is denser than any bone is metal too.
        devices = (canvas.label == ORGAN_CODES["devices"]) | (canvas.value > metal)
        acquire.streaks(canvas.value, devices=devices, axes=canvas.axes, key=key)
    reach = patient.anatomy.head_mm[0] * 1.7 if exam.region == "head" else patient.anatomy.half_width_mm
    acquire.ct_noise(canvas.value, acquisition=a, axes=canvas.axes, key=key, reach=reach)
