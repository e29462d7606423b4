"""Tells label maps (segmentations, masks) from scans, by their values.

NIfTI has no sure sign for them. A label map holds whole numbers from zero up,
in patches of equal values; a scan, even one stored in whole numbers, has noise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from osler.errors import CapacityError, DataError
from osler.study import LeftOut, Series, Volume

_LOOKED_AT = 9
_LEAST_EQUAL = 0.7
_WHY = "a label map: patches of equal whole numbers, beside a scan; open it by itself to look at it"


def without_label_maps(series: Sequence[Series], *, beside: int = 0) -> tuple[list[Series], list[LeftOut]]:
    """Leaves out the label maps among loose volumes, where at least one scan stays, and what cannot be read.

    Args:
        series: As read from the files of a folder or archive.
        beside: Images of other kinds (DICOM) that lie in the same place.

    Returns:
        What is kept, in order, and what was left out.
    """
    volumes = [entry for entry in series if isinstance(entry, Volume)]
    if not volumes or (len(volumes) < 2 and not beside):
        return list(series), []
    unreadable: dict[int, str] = {}
    labels: list[Volume] = []
    for volume in volumes:
        try:
            if is_label_map(volume):
                labels.append(volume)
        except (DataError, CapacityError) as error:
            unreadable[id(volume)] = error.problem.removeprefix(volume.series).lstrip(": ").removeprefix("is ")
    if len(labels) + len(unreadable) == len(volumes) and not beside:
        labels = []
    reasons = unreadable | {id(volume): _WHY for volume in labels}
    kept = [entry for entry in series if id(entry) not in reasons]
    return kept, [LeftOut(what=volume.series, why=reasons[id(volume)]) for volume in volumes if id(volume) in reasons]


def is_label_map(volume: Volume) -> bool:
    """Whether a volume looks like a label map; reads up to nine of its slices.

    A mask has two values. In a map of several labels most neighbors along a row are equal, of those
    of which one is not zero.
    """
    if volume.units == "HU":
        return False
    count = volume.shape[0]
    picks = sorted({round(index) for index in np.linspace(0, count - 1, min(count, _LOOKED_AT))})
    values = volume.read(slices=picks)
    if values.ndim != 3 or values.min() < 0 or not np.array_equal(values, np.rint(values)):
        return False
    if values.min() == 0 and np.array_equal(values, values.max() * (values > 0)):
        return bool(values.any())
    left, right = values[..., :-1], values[..., 1:]
    inside = (left != 0) | (right != 0)
    return bool(inside.any()) and float((left == right)[inside].mean()) >= _LEAST_EQUAL
