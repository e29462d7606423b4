"""Builds volumes and images from the frames of DICOM series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from osler.errors import GeometryError
from osler.readers.dicom_geometry import Grid, axes_of, fit_grid
from osler.readers.dicom_header import FileHeader, FrameHeader
from osler.readers.dicom_pixels import DicomImagePixels, DicomVolumePixels
from osler.readers.dicom_split import Stack, split_stacks
from osler.study import Affine, Image, LeftOut, Series, SliceOrigin, Volume, Window
from osler.study.pixels import Units

# Projections and photographs: each file is a picture of its own.
_PROJECTIONS = {"CR", "DX", "MG", "IO", "PX", "XA", "RF", "RG", "US", "XC", "GM", "ES", "OP", "SC", "OT", "HC"}
_FEW_SLICES, _FEW_PIXELS = 5, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What became of a series."""

    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...] = ()


def build_series(frames: Sequence[FrameHeader]) -> Built:
    """Builds volumes and images from all frames of one Series Instance UID.

    Args:
        frames: The frames, in any order.
    """
    unique, left_out = _without_copies(frames)
    placed = [frame for frame in unique if _has_place(frame)]
    rest = [frame for frame in unique if not _has_place(frame)]
    found: list[Series] = []
    for stack in split_stacks(placed) if placed else []:
        try:
            found.append(_from_stack(stack))
        except GeometryError as error:
            left_out.append(_left_out(stack.frames, why=str(error)))
        if stack.dropped:
            left_out.append(_left_out(stack.dropped, why="at the same position as another slice of its series"))
    images, more = _without_place(rest)
    return Built(series=_numbered([*found, *images]), left_out=(*left_out, *more))


def _without_copies(frames: Sequence[FrameHeader]) -> tuple[list[FrameHeader], list[LeftOut]]:
    seen: set[tuple[str, int]] = set()
    unique, copies = [], []
    for frame in frames:
        key = (frame.file.sop_uid, frame.index)
        (copies if frame.file.sop_uid and key in seen else unique).append(frame)
        seen.add(key)
    return unique, [_left_out(copies, why="a copy of an image that was read already")] if copies else []


def _has_place(frame: FrameHeader) -> bool:
    file = frame.file
    if file.modality in _PROJECTIONS or file.samples != 1 or file.photometric == "PALETTE COLOR":
        return False
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        return False
    axes = np.asarray(frame.orientation).reshape(2, 3)
    lengths = np.linalg.norm(axes, axis=1)
    return bool(np.abs(lengths - 1).max() < 0.05 and abs(axes[0] @ axes[1]) < 0.05)


def _left_out(frames: Sequence[FrameHeader], *, why: str) -> LeftOut:
    return LeftOut(what=frames[0].file.blob.name, why=why, count=len(frames))


def _numbered(series: list[Series]) -> tuple[Series, ...]:
    """Gives each part of a series that fell apart its own identifier, and says so."""
    if len(series) < 2:
        return tuple(series)
    return tuple(replace(part, series=f"{part.series}#{number + 1}") for number, part in enumerate(series))


def _from_stack(stack: Stack) -> Series:
    first = stack.frames[0]
    if len(stack.frames) == 1:
        return _image(first, problems=(*stack.problems, *_single_problems(first)), mark=stack.mark)
    grid = fit_grid(stack.frames)
    units, unit_problems = units_of(stack.frames)
    file = first.file
    source = DicomVolumePixels(frames=stack.frames, units=units, resampling=grid.resampling)
    return Volume(
        series=file.series_uid or file.blob.name,
        pixels=source,
        affine=grid.affine,
        modality=file.modality,
        units=units,
        origins=_origins(stack.frames, grid=grid),
        description=_description(file, mark=stack.mark),
        body_part=file.body_part,
        study_uid=file.study_uid,
        frame_of_reference=_frame_of_reference(stack.frames),
        window=_shown_window(stack.frames[len(stack.frames) // 2], units=units),
        problems=(
            *stack.problems,
            *grid.problems,
            *unit_problems,
            *_value_problems(stack.frames),
            *_size_problems(file, slices=len(stack.frames)),
        ),
    )


def _description(file: FileHeader, *, mark: str) -> str:
    return f"{file.series_description} ({mark})".strip() if mark else file.series_description


def _frame_of_reference(frames: Sequence[FrameHeader]) -> str:
    """The one Frame of Reference UID; empty if slices name different ones."""
    names = {frame.file.frame_of_reference for frame in frames}
    return names.pop() if len(names) == 1 else ""


def _origin(frame: FrameHeader, *, share: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> SliceOrigin:
    file = frame.file
    return SliceOrigin(
        file=file.blob.name,
        frame=frame.index,
        frames=file.frames,
        sop_uid=file.sop_uid,
        instance_number=file.instance_number,
        share=share,
        shift=shift,
    )


def _origins(frames: Sequence[FrameHeader], *, grid: Grid) -> tuple[SliceOrigin, ...]:
    plan = grid.resampling
    if plan is None:
        return tuple(_origin(frame) for frame in frames)
    shifts = plan.shift.tolist()
    origins = []
    for index in range(len(plan.below)):
        source = plan.nearest(index)
        column, row = shifts[source]
        origins.append(_origin(frames[source], share=plan.share(index), shift=(column, row)))
    return tuple(origins)


def units_of(frames: Sequence[FrameHeader]) -> tuple[Units, tuple[str, ...]]:
    """Names the units of a series' values, and what is doubtful about them."""
    file = frames[0].file
    if file.samples == 3 or file.photometric == "PALETTE COLOR":
        return "RGB", ()
    if file.modality != "CT":
        return "arbitrary", ()
    if "LOCALIZER" in [part.upper() for part in file.image_type]:
        return "arbitrary", ("A CT localizer (scout): its values are not Hounsfield units.",)
    if file.rescale_type not in ("", "HU", "US"):
        return "arbitrary", (f"The rescale type of this CT is {file.rescale_type!r}, so its values are not in HU.",)
    if not file.has_lut and all(frame.slope is None for frame in frames):
        return "arbitrary", ("This CT has no rescale slope and intercept, so its values are not in HU.",)
    return "HU", ()


def _shown_window(frame: FrameHeader, *, units: Units) -> Window | None:
    """The window for the values as they are read: mirrored where they are."""
    window = frame.window
    if window is None or frame.file.photometric != "MONOCHROME1" or units == "HU":
        return window
    slope, intercept = frame.slope or 1.0, frame.intercept or 0.0
    total = slope * (-1 if frame.file.signed else 2**frame.file.bits_stored - 1) + 2 * intercept
    return Window(low=total - window.high, high=total - window.low)


def _size_problems(file: FileHeader, *, slices: int) -> tuple[str, ...]:
    problems = []
    if slices < _FEW_SLICES:
        problems.append(f"Only {slices} slices: hardly a volume.")
    if min(file.rows, file.columns) < _FEW_PIXELS:
        problems.append(f"Only {file.columns} x {file.rows} pixels a slice: too coarse for a diagnosis.")
    return tuple(problems)


def _value_problems(frames: Sequence[FrameHeader]) -> tuple[str, ...]:
    count = sum({id(frame.file): frame.file.not_finite for frame in frames}.values())
    return (f"{count:,} voxels are NaN or infinite: they are read as the least value of their slice.",) if count else ()


def _single_problems(frame: FrameHeader) -> tuple[str, ...]:
    if frame.file.modality in ("CT", "MR", "PT"):
        return (f"A single {frame.file.modality} slice, not a volume.",)
    return ()


def _image(frame: FrameHeader, *, problems: tuple[str, ...] = (), mark: str = "") -> Image:
    file = frame.file
    units, unit_problems = units_of([frame])
    spacing = frame.spacing or file.pixel_spacing
    small = min(file.rows, file.columns) < _FEW_PIXELS
    size = (f"Only {file.columns} x {file.rows} pixels: too coarse for a diagnosis.",) if small else ()
    return Image(
        series=file.series_uid or file.blob.name,
        pixels=DicomImagePixels(frame=frame, units=units),
        modality=file.modality,
        units=units,
        spacing=None if spacing is None else (spacing[1], spacing[0]),
        affine=_image_affine(frame),
        origins=(_origin(frame),),
        description=_description(file, mark=mark),
        body_part=file.body_part,
        view=file.view,
        study_uid=file.study_uid,
        frame_of_reference=file.frame_of_reference,
        window=_shown_window(frame, units=units),
        problems=(*problems, *unit_problems, *_value_problems([frame]), *size),
    )


def _image_affine(frame: FrameHeader) -> Affine | None:
    if not _has_place(frame) or frame.spacing is None:
        return None
    axes = axes_of(frame)
    thickness = frame.file.thickness
    depth = thickness if thickness is not None and thickness > 0 else 1.0
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = (
        axes[0] * frame.spacing[1],
        axes[1] * frame.spacing[0],
        axes[2] * depth,
    )
    matrix[:3, 3] = frame.position
    return Affine(matrix)


def _without_place(frames: Sequence[FrameHeader]) -> tuple[list[Series], list[LeftOut]]:
    """Takes frames that lie nowhere as pictures: one a file, and no scan whose slices cannot be ordered."""
    by_file: dict[int, list[FrameHeader]] = {}
    for frame in frames:
        by_file.setdefault(id(frame.file), []).append(frame)
    first = [members[0] for members in by_file.values()]
    slices = [frame for frame in first if frame.file.modality in ("CT", "MR", "PT") and frame.file.samples == 1]
    left_out: list[LeftOut] = []
    if len(slices) > 1:
        left_out.append(
            _left_out(
                slices,
                why="slices without Image Position, Image Orientation or Pixel Spacing cannot be put in order; "
                "export the series with its geometry",
            )
        )
        refused = {id(frame) for frame in slices}
        first = [frame for frame in first if id(frame) not in refused]
    images: list[Series] = []
    for frame in first:
        others = by_file[id(frame.file)][1:]
        problems = _single_problems(frame) if frame.file.samples == 1 else ()
        if others:
            text = f"{len(others) + 1} frames without positions, like a film: only the first is used."
            problems = (text,)
            left_out.append(_left_out(others, why="frames after the first of a film (frames without positions)"))
        images.append(_image(frame, problems=problems))
    return images, left_out
