"""Chooses what draws an exam: phantoms for CT and MR, projections for radiographs, tissue for slides."""

from __future__ import annotations

from functools import partial

from osler.errors import RequestError
from osler.synth.facts import Exam, PatientFacts
from osler.synth.rendered import LesionBox, Render, Rendered, RenderedField, RenderedImage, RenderedVolume, right_handed

_LEAST, _MOST = 64, 1024
_SLIDE_MATRICES = 16


def grid_name(*, matrix: int) -> str:
    """What a folder says of its pixel grid."""
    return f"at most {matrix} px a row"


def renderer(*, matrix: int) -> Render:
    """The function that draws exams.

    Args:
        matrix: Most pixels along a row or column of a volume: exams with more are drawn coarser, over the same
            region. Radiographs and fields of slides have up to twice as many, whole slides up to 16 times: a
            slide with more shows a smaller area, as its cells need their pixels.

    Raises:
        RequestError: If the matrix is out of range.
    """
    if not _LEAST <= matrix <= _MOST:
        raise RequestError(f"A matrix of {matrix} pixels.", allowed=f"{_LEAST} to {_MOST}.")
    return partial(_render, matrix=matrix)


def _render(patient: PatientFacts, exam: Exam, *, matrix: int) -> Rendered:
    if exam.modality in ("CT", "MR"):
        return _volume(patient, exam, matrix=matrix)
    if exam.modality == "DX":
        return _radiograph(patient, exam, matrix=matrix)
    return _field(patient, exam, matrix=matrix)


def _volume(patient: PatientFacts, exam: Exam, *, matrix: int) -> RenderedVolume:
    from osler.synth.phantoms import render_volume

    phantom = render_volume(patient, exam=exam.number, shape=volume_shape(exam, matrix=matrix))
    boxes = tuple(LesionBox(finding=shown.key, lesion=shown.lesion, box=shown.box) for shown in phantom.lesions)
    return right_handed(RenderedVolume(voxels=phantom.array, affine=phantom.affine, boxes=boxes))


def volume_shape(exam: Exam, *, matrix: int) -> tuple[int, int, int]:
    """Slices, rows and columns of a volume: the scanner's, or fewer if it has more than ``matrix`` a row.

    Slices that would be thinner than the coarser pixels become fewer, too.
    """
    acquisition = exam.acquisition
    share = min(1.0, matrix / max(acquisition.rows, acquisition.columns))
    pixel = acquisition.pixel_mm / share
    step = acquisition.spacing_mm or acquisition.slice_mm or pixel
    slices = acquisition.slices if share == 1 else acquisition.slices * min(1.0, step / pixel)
    return max(round(slices), 1), max(round(acquisition.rows * share), 1), max(round(acquisition.columns * share), 1)


def _radiograph(patient: PatientFacts, exam: Exam, *, matrix: int) -> RenderedImage:
    from osler.synth.xrays import render_xray

    image = render_xray(patient, exam=exam, size=min(max(exam.acquisition.rows, exam.acquisition.columns), 2 * matrix))
    return RenderedImage(
        pixels=image.pixels,
        spacing=(image.pixel_mm, image.pixel_mm),
        boxes=tuple(
            LesionBox(finding=shown.fact.key, lesion=shown.fact.lesion, box=shown.box) for shown in image.lesions
        ),
    )


def _field(patient: PatientFacts, exam: Exam, *, matrix: int) -> RenderedField:
    """A field of the slide around the middle of its tumor, or of the tissue."""
    from osler.synth.histology import render_tile, slide_spec

    side = 2 * matrix
    full = slide_spec(patient, exam=exam)
    most_mm = _SLIDE_MATRICES * matrix * full.pixel_mm
    spec = full if full.width_mm <= most_mm else slide_spec(patient, exam=exam, side_mm=most_mm)
    middle = spec.tumors[0].center_mm if spec.tumors else (spec.width_mm / 2, spec.height_mm / 2)
    column, row = (round(place / spec.pixel_mm) - side // 2 for place in middle)
    tile = render_tile(spec, column=column, row=row, width=side, height=side)
    return RenderedField(pixels=tile.pixels, pixel_um=spec.pixel_mm * 1000, spec=spec)
