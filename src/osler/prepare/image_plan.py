"""Which series of a study are shown, how much of each, and what is left out; no pixel is read."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from osler.errors import DataError, RequestError, UnsupportedError
from osler.prepare.contract import Preprocess
from osler.prepare.orientation import AS_STORED, radiological
from osler.prepare.resize import PixelMap, pixel_map
from osler.prepare.sampling import pick_slices, share_budget
from osler.prepare.slides import tile_map, tiles_left_out
from osler.prepare.tiles import TilePlan, plan_tiles
from osler.prepare.volume_slabs import SlabbedVolume, plan_volumes
from osler.study import Image, LeftOut, Series, Slide, Study, TimePoint, Volume

_MOST_PADDED = 2**28


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSeries:
    """A series with its time point and its share of the budget.

    Args:
        picks: Slices of a volume.
        plan: Of a slice or image, or of the first tile.
        tiles: Of a slide.
        slabs: Of a volume that is read as slabs.
    """

    series: Series
    timepoint: int
    date: dt.date | None
    picks: tuple[int, ...]
    plan: PixelMap
    tiles: TilePlan | None = None
    slabs: SlabbedVolume | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return series_name(self.series)

    @property
    def count(self) -> int:
        """Images that are read of it."""
        return len(self.tiles.tiles) if self.tiles is not None else len(self.picks) or 1


def plan_series(study: Study, *, preprocess: Preprocess) -> tuple[list[PlannedSeries], list[LeftOut]]:
    """Decides which images are shown, and says what is left out.

    Args:
        study: The study.
        preprocess: The contract.

    Raises:
        DataError: If a series has no pixels or is too large.
        RequestError: If the network takes no images, or there are fewer visual tokens than volumes.
    """
    found = [(index, point, series) for index, point in enumerate(study.timepoints) for series in point.series]
    if found and preprocess.image_size == 0:
        raise RequestError(
            "This model reads text only, and the study has images.",
            next_step="Ask without a study, or load a model with an image tower.",
        )
    slabbed = _slabbed(found, preprocess=preprocess)
    shares = _shares(found, preprocess=preprocess, slabbed=slabbed)
    entries: list[PlannedSeries] = []
    left_out: list[LeftOut] = []
    for place, ((index, point, series), share) in enumerate(zip(found, shares, strict=True)):
        if isinstance(series, Volume) and (slabs := slabbed.get(place)) is not None:
            if len(slabs.picks) < slabs.slices:
                left_out.append(_slab_slices_left_out(series, slabs))
            entry = PlannedSeries(
                series=series, timepoint=index, date=point.date, picks=slabs.picks, plan=slabs.pixel_map, slabs=slabs
            )
            entries.append(entry)
        elif share == 0:
            left_out.append(_series_left_out(series, preprocess=preprocess))
        elif isinstance(series, Slide):
            tiles = plan_tiles(series, sampling=preprocess.tiles, limit=share)
            left_out.extend(tiles_left_out(tiles, name=series_name(series)))
            plan = tile_map(tiles.tiles[0], preprocess=preprocess)
            entries.append(
                PlannedSeries(series=series, timepoint=index, date=point.date, picks=(), plan=plan, tiles=tiles)
            )
        else:
            count = _slices(series)
            picks = pick_slices(count, limit=share, sampling=preprocess.sampling) if count else ()
            if len(picks) < count:
                left_out.append(_slices_left_out(series, shown=len(picks), count=count, sampling=preprocess.sampling))
            plan = _fit_plan(series, preprocess=preprocess)
            entries.append(PlannedSeries(series=series, timepoint=index, date=point.date, picks=picks, plan=plan))
    return entries, left_out


def series_name(series: Series) -> str:
    """Returns what messages call a series: modality and description, or its identifier."""
    kind = {Volume: "volume", Image: "image", Slide: "slide"}[type(series)]
    return f"{series.modality} {kind} {series.description or series.series!r}".strip()


def parts_of(series: Series, *, tiles: TilePlan | None = None) -> int:
    """Counts slices of a volume, tissue tiles of a slide, 1 for an image."""
    if isinstance(series, Volume):
        return series.pixels.shape[0]
    return max(1, tiles.found) if tiles is not None else 1


def _slabbed(
    found: Sequence[tuple[int, TimePoint, Series]], *, preprocess: Preprocess
) -> dict[int, SlabbedVolume | None]:
    """How each volume is read as slabs, by its place; empty where volumes are read slice by slice."""
    if preprocess.visual_tokens == 0:
        return {}
    volumes = {place: series for place, (_, _, series) in enumerate(found) if isinstance(series, Volume)}
    for volume in volumes.values():
        _slices(volume)
    maps = [_fit_plan(volume, preprocess=preprocess) for volume in volumes.values()]
    plans = plan_volumes(tuple(volumes.values()), maps=maps, preprocess=preprocess)
    return dict(zip(volumes, plans, strict=True))


def _shares(
    found: Sequence[tuple[int, TimePoint, Series]],
    *,
    preprocess: Preprocess,
    slabbed: Mapping[int, SlabbedVolume | None],
) -> list[int]:
    """Images that each series may show: slices and images first, slides of what is left to ``max_tiles``."""
    shares = [0] * len(found)
    # Undated time points stand last in a study, but nothing says that they are the newest.
    ages = [-1 if point.date is None else index for index, point, _ in found]
    slides = [place for place, (_, _, series) in enumerate(found) if isinstance(series, Slide)]
    others = [place for place in range(len(found)) if place not in slides and place not in slabbed]
    counts = {place: _slices(found[place][2]) for place in others}
    tiles = dict.fromkeys(slides, preprocess.max_tiles)
    for group, most in ((counts, preprocess.max_slices), (tiles, preprocess.max_tiles)):
        places = most if group is counts else max(0, most - sum(shares))
        given = share_budget(list(group.values()), ages=[ages[place] for place in group], places=places)
        for place, share in zip(group, given, strict=True):
            shares[place] = share
    return shares


def _slices(series: Volume | Image) -> int:
    """Slices of a volume, 0 for an image; refuses a series without pixels."""
    if 0 in series.pixels.shape:
        raise DataError(
            f"{series_name(series)} has no pixels: its shape is {series.pixels.shape}.",
            allowed="At least one slice, row and column.",
        )
    return series.pixels.shape[0] if isinstance(series, Volume) else 0


def _fit_plan(series: Volume | Image, *, preprocess: Preprocess) -> PixelMap:
    shape = series.pixels.shape[1:] if isinstance(series, Volume) else series.pixels.shape
    turn = radiological(series.affine) if preprocess.orientation == "radiological" else AS_STORED
    plan = pixel_map(
        width=shape[1], height=shape[0], image_size=preprocess.image_size, aspect=preprocess.aspect, turn=turn
    )
    if plan.padded_width * plan.padded_height > _MOST_PADDED:
        raise UnsupportedError(
            f"{series_name(series)} is {plan.width}x{plan.height} px, too large to prepare as one image.",
            allowed=f"At most {_MOST_PADDED:,} px, padding to a square included.",
            next_step="Crop it, or make it smaller.",
        )
    return plan


def _series_left_out(series: Series, *, preprocess: Preprocess) -> LeftOut:
    limit = preprocess.max_tiles if isinstance(series, Slide) else preprocess.max_slices
    return LeftOut(
        what=series_name(series),
        why=f"a prompt holds at most {limit} images, and other series were shown first (newest study, most slices)",
        count=parts_of(series),
    )


def _slab_slices_left_out(series: Series, slabs: SlabbedVolume) -> LeftOut:
    return LeftOut(
        what=f"slices of {series_name(series)}",
        why=f"{len(slabs.picks)} of {slabs.slices} slices are read, evenly spread over {len(slabs.slabs)} slabs",
        count=slabs.slices - len(slabs.picks),
    )


def _slices_left_out(series: Volume | Image, *, shown: int, count: int, sampling: str) -> LeftOut:
    return LeftOut(
        what=f"slices of {series_name(series)}",
        why=f"{shown} of {count} slices are shown, evenly spread ({sampling} sampling)",
        count=count - shown,
    )
