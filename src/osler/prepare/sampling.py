"""Which slices of which series are shown, within one budget of images.

The rule, in order:

1. Every single image takes one place; if there are more images than places, the
   newest are kept; one without a date counts as older than any with one.
2. Volumes share the remaining places equally; what a short volume does not need
   goes to the others. If an equal share would fall under `MIN_SHARE` slices,
   only as many volumes are shown as get that share: the newest time point
   first, within it the volumes with most slices.
3. Within a volume, slices are picked by the contract's formula.
"""

from __future__ import annotations

from collections.abc import Sequence

from osler.errors import RequestError
from osler.prepare.contract import Sampling

MIN_SHARE = 12


def pick_slices(count: int, *, limit: int, sampling: Sampling) -> tuple[int, ...]:
    """Picks at most ``limit`` of ``count`` slices.

    Args:
        count: Slices in the volume.
        limit: Most slices to pick.
        sampling: ``"published"``: ``round(i / limit * (count - 1))`` for i from 1, as in the MedGemma 1.5
            CT notebook, which never takes index 0; ``"equidistant"``: first and last included.

    Returns:
        Indices (0-based), rising, each at most once.

    Raises:
        RequestError: If there is no slice, or no place.

    Example:
        >>> pick_slices(10, limit=3, sampling="published")
        (3, 6, 9)
        >>> pick_slices(10, limit=3, sampling="equidistant")
        (0, 4, 9)
    """
    if count < 1 or limit < 1:
        raise RequestError(f"{limit} of {count} slices were asked for.", allowed="At least one of at least one.")
    if count <= limit:
        return tuple(range(count))
    if sampling == "published":
        return tuple(round(i / limit * (count - 1)) for i in range(1, limit + 1))
    if limit == 1:
        return ((count - 1) // 2,)
    return tuple(round(i * (count - 1) / (limit - 1)) for i in range(limit))


def share_equally(counts: Sequence[int], *, places: int) -> tuple[int, ...]:
    """Shares places among volumes equally; what a short one leaves goes to the others.

    Args:
        counts: Slices of each volume.
        places: Places to share.

    Returns:
        Places of each volume, at most its count; cut volumes differ by one place at most, the longer
        ones having it.

    Example:
        >>> share_equally((10, 200, 300), places=85)
        (10, 37, 38)
    """
    shares = [0] * len(counts)
    for rank, index in enumerate(sorted(range(len(counts)), key=lambda index: counts[index])):
        shares[index] = min(counts[index], places // (len(counts) - rank))
        places -= shares[index]
    return tuple(shares)


def share_budget(counts: Sequence[int], *, ages: Sequence[int], places: int) -> tuple[int, ...]:
    """Shares places among series by the rule in the head of this file.

    Args:
        counts: Slices of each series; 0 for a single image.
        ages: Rank of the time point of each series, oldest first; -1 without a date.
        places: Places in all.

    Returns:
        Images that each series may show; 0 for a series that is left out.
    """
    shares = [0] * len(counts)
    images = [index for index, count in enumerate(counts) if count == 0]
    images.sort(key=lambda index: ages[index], reverse=True)
    for index in images[:places]:
        shares[index] = 1
    places -= min(len(images), places)
    volumes = [index for index, count in enumerate(counts) if count > 0]
    volumes.sort(key=lambda index: (-ages[index], -counts[index], index))
    shown = sorted(_fitting(volumes, counts=counts, places=places))
    for index, share in zip(shown, share_equally([counts[i] for i in shown], places=places), strict=True):
        shares[index] = share
    return tuple(shares)


def _fitting(ranked: Sequence[int], *, counts: Sequence[int], places: int) -> list[int]:
    """The first volumes in rank that each get `MIN_SHARE` slices or all they have."""
    shown: list[int] = []
    for index in ranked:
        trial = [*shown, index]
        shares = share_equally([counts[i] for i in trial], places=places)
        if shown and any(share < min(MIN_SHARE, counts[i]) for i, share in zip(trial, shares, strict=True)):
            continue
        if places > 0:
            shown = trial
    return shown
