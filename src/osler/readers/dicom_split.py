"""Splits the frames of one Series UID into stacks that can each be a volume.

One series often holds several: planes of a localizer, echoes, b-values, time
points, Dixon parts, acquisitions. Orientation, spacing and size always split;
the softer marks split only where frames would otherwise lie on top of each
other, because some scanners count them up with every slice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from osler.readers.dicom_geometry import axes_of, is_even, places_of, split_at_gaps
from osler.readers.dicom_header import FrameHeader

SOFT_MARKS = (
    "stack",
    "temporal position",
    "b-value",
    "echo",
    "inversion time",
    "image type",
    "trigger time",
    "acquisition",
    "acquisition time",
    "content time",
)
_SAME_PLACE_MM = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Parallel frames at distinct positions, sorted along their normal.

    Args:
        frames: The frames.
        mark: What set them apart from the other stacks of the series, such as ``"echo 80"``.
        problems: What was noticed.
        dropped: Frames that share a place with one that was kept.
    """

    frames: tuple[FrameHeader, ...]
    mark: str = ""
    problems: tuple[str, ...] = ()
    dropped: tuple[FrameHeader, ...] = ()


def split_stacks(frames: Sequence[FrameHeader]) -> list[Stack]:
    """Splits frames that have a place into stacks.

    Args:
        frames: Frames of one series, each with position, orientation and pixel spacing.
    """
    stacks: list[Stack] = []
    for group in _by_plane(frames):
        for mark, part in _by_marks(group, mark=""):
            stacks.extend(_stacks(part, mark=mark))
    return stacks


def _by_plane(frames: Sequence[FrameHeader]) -> list[list[FrameHeader]]:
    """Groups frames of equal size, orientation and spacing.

    The Frame of Reference UID does not count: de-identification often gives each slice its own.
    """
    exact: dict[Hashable, list[FrameHeader]] = {}
    for frame in frames:
        file = frame.file
        key = (file.rows, file.columns, frame.orientation, frame.spacing)
        exact.setdefault(key, []).append(frame)
    groups: list[list[FrameHeader]] = []
    for members in exact.values():
        home = next((group for group in groups if _same_plane(group[0], members[0])), None)
        if home is None:
            groups.append(members)
        else:
            home.extend(members)
    return groups


def _same_plane(one: FrameHeader, two: FrameHeader) -> bool:
    a, b = one.file, two.file
    if (a.rows, a.columns) != (b.rows, b.columns):
        return False
    assert one.orientation is not None
    assert two.orientation is not None
    assert one.spacing is not None
    assert two.spacing is not None
    return bool(
        np.allclose(one.orientation, two.orientation, rtol=0, atol=2e-3)
        and np.allclose(one.spacing, two.spacing, rtol=1e-3, atol=0)
    )


def _levels(frames: Sequence[FrameHeader]) -> np.ndarray:
    return places_of(frames, axes=axes_of(frames[0]))[:, 2]


def _overlaps(frames: Sequence[FrameHeader]) -> int:
    """How many frames lie at the place of another one."""
    return int((np.diff(np.sort(_levels(frames))) < _SAME_PLACE_MM).sum())


def _by_marks(frames: list[FrameHeader], *, mark: str) -> list[tuple[str, list[FrameHeader]]]:
    overlaps = _overlaps(frames)
    tidy = overlaps == 0 and is_even(np.sort(_levels(frames)))
    if tidy:
        return [(mark, frames)]
    for name in SOFT_MARKS:
        parts = _grouped(frames, key=lambda frame, name=name: frame.mark(name))
        if len(parts) < 2 or not _is_better(list(parts.values()), overlaps=overlaps):
            continue
        return [
            result
            for value, part in parts.items()
            for result in _by_marks(part, mark=f"{mark}, {name} {value}".lstrip(", "))
        ]
    return [(mark, frames)]


def _grouped(
    frames: Sequence[FrameHeader], *, key: Callable[[FrameHeader], Hashable]
) -> dict[Hashable, list[FrameHeader]]:
    groups: dict[Hashable, list[FrameHeader]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    return groups


def _is_better(parts: list[list[FrameHeader]], *, overlaps: int) -> bool:
    """Whether a split tidies up, and does not just take a stack apart slice by slice."""
    if overlaps:
        left = [_overlaps(part) for part in parts]
        # A mark that rises with every slice would leave singles without overlap: no stacks at all.
        return sum(left) < overlaps and min(len(part) for part in parts) > 1
    return all(len(part) >= 3 and is_even(np.sort(_levels(part))) for part in parts)


def _stacks(frames: list[FrameHeader], *, mark: str) -> list[Stack]:
    """Sorts frames along the normal, deals with those at one place, and cuts at wide gaps."""
    levels = _levels(frames)
    number = [frame.file.instance_number or 0 for frame in frames]
    order = sorted(range(len(frames)), key=lambda index: (levels[index], number[index], frames[index].index))
    places: list[list[FrameHeader]] = []
    last = -np.inf
    for index in order:
        if levels[index] - last < _SAME_PLACE_MM:
            places[-1].append(frames[index])
        else:
            places.append([frames[index]])
            last = levels[index]
    return [cut for stack in _one_per_place(places, mark=mark) for cut in _cut(stack)]


def _one_per_place(places: list[list[FrameHeader]], *, mark: str) -> list[Stack]:
    counts = {len(place) for place in places}
    if counts == {1}:
        return [Stack(frames=tuple(place[0] for place in places), mark=mark)]
    if len(counts) == 1 and len(places) > 1:
        times = counts.pop()
        note = (
            f"{times} slices lie at each position and no tag tells them apart: "
            f"taken as {times} volumes by instance number."
        )
        ordered = [sorted(place, key=lambda frame: (frame.file.instance_number or 0, frame.index)) for place in places]
        return [
            Stack(
                frames=tuple(place[turn] for place in ordered),
                mark=f"{mark}, pass {turn + 1}".lstrip(", "),
                problems=(note,),
            )
            for turn in range(times)
        ]
    dropped = tuple(frame for place in places for frame in place[1:])
    note = (
        f"{len(dropped)} of {len(dropped) + len(places)} slices lie at the same position as another one "
        "and no tag tells them apart: the first at each position is used."
    )
    return [Stack(frames=tuple(place[0] for place in places), mark=mark, problems=(note,), dropped=dropped)]


def _cut(stack: Stack) -> list[Stack]:
    levels = _levels(stack.frames)
    cuts = split_at_gaps(levels)
    if len(cuts) == 1:
        return [stack]
    note = f"The series has {len(cuts) - 1} wide gap(s) along the normal: taken as {len(cuts)} volumes."
    parts = []
    for number, cut in enumerate(cuts):
        part = stack.frames[cut]
        parts.append(
            Stack(
                frames=part,
                mark=f"{stack.mark}, part {number + 1}".lstrip(", "),
                problems=(*stack.problems, note),
                dropped=stack.dropped if number == 0 else (),
            )
        )
    return parts
