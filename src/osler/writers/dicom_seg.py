"""Boxes and masks as a DICOM segmentation: one segment each, on the grid of their series."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy, deepcopy
from typing import Any

import numpy as np
from pydicom.sr.codedict import codes

from osler import __version__
from osler.errors import CapacityError, RequestError
from osler.extras import import_extra
from osler.readers.dicom_source import instance_headers
from osler.study import Answer, Image, Mask, Study, Volume
from osler.writers.dicom_about import (
    RESEARCH_NOTE,
    equipment,
    finish,
    identification,
    model_parameters,
    place_box,
    require_valid,
    series_of,
    without_warnings,
)
from osler.writers.dicom_codes import code_for, short_text
from osler.writers.filled import filled_box

_MOST_BYTES = 4 << 30


def answer_masks(answer: Answer, *, study: Study) -> tuple[Mask, ...]:
    """Returns the boxes of an answer as the voxels that they fill."""
    require_valid(answer)
    return tuple(filled_box(place_box(box, study=study)) for box in answer.boxes)


@without_warnings
def write_segs(answer: Answer, *, study: Study, masks: Sequence[Mask] = ()) -> tuple[bytes, ...]:
    """Returns the bytes of DICOM SEG files, one for each series with boxes or masks.

    Args:
        answer: Its boxes are filled and come first.
        study: What it is about.
        masks: More segments, on the grids of their series.

    Raises:
        RequestError: If there is nothing to segment, the extra ``dicom`` is missing, or a mask does not fit its series.
        UnsupportedError: If the images are not from DICOM files.
        GeometryError: If a box lies outside of its image.
        FileFormatError: If the files are gone.
    """
    import_extra("highdicom", extra="dicom")
    every = (*answer_masks(answer, study=study), *masks)
    require_some(every)
    by_series: dict[str, list[Mask]] = {}
    for mask in every:
        by_series.setdefault(mask.series, []).append(mask)
    return tuple(_write(group, series=series_of(study, name), answer=answer) for name, group in by_series.items())


def require_some(masks: Sequence[Mask]) -> None:
    """Refuses to write a segmentation of nothing."""
    if not any(mask.voxels.any() for mask in masks):
        raise RequestError(
            "The answer has no boxes or masks, so there is nothing to segment.",
            allowed="A segmentation holds at least one voxel.",
            next_step="Leave --seg out, or ask for boxes.",
        )


def _write(masks: Sequence[Mask], *, series: Volume | Image, answer: Answer) -> bytes:
    hd = import_extra("highdicom", extra="dicom")
    grids = [_grid(mask, series=series) for mask in masks]
    slices = np.flatnonzero(np.any([grid.any(axis=(1, 2)) for grid in grids], axis=0))
    origins = [series.origins[index] for index in slices] if series.origins else list(series.origins)
    headers = instance_headers(series, origins=origins)
    sources = _completed(series, sources=list(headers.values()))
    geometry = _geometry(series, slices=slices)
    if origins[0].frames > 1 and geometry:
        sources = [_with_shared_geometry(source, geometry=geometry) for source in sources]
    rows, columns = grids[0].shape[1:]
    if len(slices) * rows * columns * len(grids) > _MOST_BYTES:
        raise CapacityError(
            f"{len(grids)} segments of {len(slices)} x {rows} x {columns} voxels do not fit in memory at once.",
            allowed=f"At most {_MOST_BYTES >> 30} GiB.",
            next_step="Write fewer boxes to one file.",
        )
    pixels = np.stack([grid[slices] for grid in grids], axis=-1).astype(np.uint8)
    segmentation = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=_descriptions(masks, answer=answer),
        content_label="OSLER",
        content_description=short_text(RESEARCH_NOTE),
        content_creator_name="Osler^",
        **identification(answer, kind="SEG"),
        **equipment(answer),
        **geometry,
    )
    if series.affine is None and "PatientOrientation" not in segmentation:
        segmentation.PatientOrientation = sources[0].get("PatientOrientation")
    return finish(segmentation, description=f"Osler {answer.task} (research)")


def _grid(mask: Mask, *, series: Volume | Image) -> np.ndarray:
    wanted = series.shape if isinstance(series, Volume) else (series.size[1], series.size[0])
    if mask.voxels.shape != wanted:
        raise RequestError(
            f"The mask {short_text(mask.label)!r} has the shape {mask.voxels.shape}.",
            allowed=f"The shape of its series, {wanted}.",
            next_step="Resample it to the grid of the series.",
        )
    return mask.voxels if mask.voxels.ndim == 3 else mask.voxels[None]


def _geometry(series: Volume | Image, *, slices: np.ndarray) -> dict[str, Any]:
    """Where the planes lie, if not just where the sources say so, one each.

    The geometry is written out where frames of a multi-frame file are picked, and
    where a reader has straightened a stack, so that slices are not those of the files.
    """
    affine = series.affine
    own = any(origin.frames > 1 or origin.share < 1 or origin.shift != (0.0, 0.0) for origin in series.origins)
    if affine is None or not own:
        return {}
    hd = import_extra("highdicom", extra="dicom")
    column, row, depth = affine.spacing
    directions = affine.direction
    return {
        "pixel_measures": hd.PixelMeasuresSequence(pixel_spacing=(row, column), slice_thickness=depth),
        "plane_orientation": hd.PlaneOrientationSequence(
            "PATIENT", image_orientation=(*directions[:, 0].tolist(), *directions[:, 1].tolist())
        ),
        "plane_positions": [
            hd.PlanePositionSequence("PATIENT", image_position=affine.apply((0, 0, int(index))).tolist())
            for index in slices
        ],
    }


def _completed(series: Volume | Image, *, sources: list[Any]) -> list[Any]:
    """The sources with what the library asks of them: a slice thickness, and one frame of reference.

    Where they name none or several, the UID is new: nothing then claims to lie in a
    frame that some slices do not share, and the references to the source images hold.
    """
    if series.affine is None:
        return sources
    hd = import_extra("highdicom", extra="dicom")
    new, depth = hd.UID(), round(series.affine.spacing[2], 6)
    copies = []
    for source in sources:
        copied = copy(source)
        if not series.frame_of_reference:
            copied.FrameOfReferenceUID, copied.PositionReferenceIndicator = new, None
        if not copied.get("SliceThickness"):
            copied.SliceThickness = depth
        copies.append(copied)
    return copies


def _with_shared_geometry(source: Any, *, geometry: dict[str, Any]) -> Any:
    """A multi-frame header that says spacing and orientation once for all frames, as the library wants to read them."""
    if "SharedFunctionalGroupsSequence" not in source:
        return source
    copied, shared = copy(source), deepcopy(source.SharedFunctionalGroupsSequence[0])
    shared.PixelMeasuresSequence = geometry["pixel_measures"]
    shared.PlaneOrientationSequence = geometry["plane_orientation"]
    copied.SharedFunctionalGroupsSequence = [shared]
    return copied


def _descriptions(masks: Sequence[Mask], *, answer: Answer) -> list[Any]:
    hd = import_extra("highdicom", extra="dicom")
    algorithm = hd.AlgorithmIdentificationSequence(
        name=short_text(f"Osler {answer.model.name}"),
        family=codes.DCM.ArtificialIntelligence,
        version=__version__,
        source="Osler",
        parameters=dict(text.split("=", 1) for text in model_parameters(answer)),
    )
    return [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=short_text(mask.label) or "unnamed",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=code_for(mask.label, code=mask.code),
            algorithm_type="AUTOMATIC",
            algorithm_identification=algorithm,
            tracking_uid=hd.UID(),
            tracking_id=short_text(mask.label, limit=1024) or "unnamed",
        )
        for number, mask in enumerate(masks, start=1)
    ]
