"""From a study to the images that the network sees.

Slices are read, shown as 8-bit color and resized a few at a time, in threads,
into one uint8 array.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from osler.prepare.contract import Preprocess
from osler.prepare.image_plan import PlannedSeries, parts_of, plan_series
from osler.prepare.pixels import PixelBatches, ShownImage
from osler.prepare.prompt import ShownSeries, slice_numbers
from osler.prepare.resize import fit
from osler.prepare.slides import read_tiles, shown_tile, slide_notes, tile_map, tiles_in_words
from osler.prepare.tiles import TilePlan
from osler.prepare.volume_slabs import SlabbedVolume
from osler.prepare.windows import (
    FiniteRange,
    color_to_rgb,
    ct_to_rgb,
    fill,
    grey_range,
    range_to_rgb,
    require_numbers,
)
from osler.progress import Progress
from osler.study import Image, LeftOut, Slide, Study, UsedSeries, Volume

# Readers decode over all cores within one call, so a call asks for much: 128 slices of 512x512.
_READ_VOXELS = 2**25
_WHOLE_VOXELS = 2**26
_LEAST_SIDE = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedImages:
    """The images of a study, ready for a prompt.

    Args:
        pixels: What the network sees.
        images: One entry an image, in the same order.
        series: What the prompt says of each series.
        used: What was shown of each series.
        left_out: What was not shown, and why.
        warnings: What the user should know, one sentence each.
        volumes: Those that are read as slabs, by the number of their first image; their other images follow it.
    """

    pixels: PixelBatches
    images: tuple[ShownImage, ...]
    series: tuple[ShownSeries, ...]
    used: tuple[UsedSeries, ...]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]
    volumes: Mapping[int, SlabbedVolume] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """Images in the prompt; a group of slabs is one."""
        return sum(series.images for series in self.series)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the images of a series go, and whom to tell."""

    out: np.ndarray
    start: int
    total: int
    report: Progress
    pool: ThreadPoolExecutor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tone:
    """How the values of a series become colors."""

    view: str
    to_rgb: Callable[[np.ndarray], np.ndarray]
    low: float
    high: float


def prepare_images(study: Study, *, preprocess: Preprocess, progress: Progress | None = None) -> PreparedImages:
    """Picks, windows and resizes the images of a study.

    Args:
        study: The study; without series it gives no image.
        preprocess: The contract.
        progress: Called with ``"images"``, images done and images in all.

    Raises:
        DataError: If pixels cannot be read or mean nothing.
        RequestError: If the network takes no images.
    """
    entries, left_out = plan_series(study, preprocess=preprocess)
    total = sum(entry.count for entry in entries)
    size = preprocess.image_size
    rgb = np.empty((total, size, size, 3), dtype=np.uint8)
    used: list[UsedSeries] = []
    volumes: dict[int, SlabbedVolume] = {}
    warnings: list[str] = list(study.problems)
    start = 0
    report = progress or (lambda stage, done, total: None)
    if total:
        report("images", 0, total)
    with ThreadPoolExecutor(max_workers=_workers()) as pool:
        for entry in entries:
            place = _Place(out=rgb[start : start + entry.count], start=start, total=total, report=report, pool=pool)
            tone, notes = _render(entry, place, preprocess=preprocess)
            if entry.slabs is not None:
                volumes[start] = entry.slabs
            start += entry.count
            warnings.extend(notes)
            used.append(_used(entry, view=tone.view, preprocess=preprocess))
    shown = _shown_series(entries)
    return PreparedImages(
        pixels=PixelBatches(rgb=rgb, preprocess=preprocess),
        images=tuple(
            _shown_images(entries, numbers=slice_numbers(shown, style=preprocess.prompt), preprocess=preprocess)
        ),
        series=shown,
        used=tuple(used),
        left_out=(*study.left_out, *left_out),
        warnings=tuple(dict.fromkeys(warnings)),
        volumes=volumes,
    )


def _workers() -> int:
    return max(1, min(8, os.cpu_count() or 1))


def _render(entry: PlannedSeries, place: _Place, *, preprocess: Preprocess) -> tuple[_Tone, list[str]]:
    """Fills a place with the images of one series; returns how they were shown and what to say."""
    if isinstance(entry.series, Slide) and entry.tiles is not None:
        return _render_slide(entry, entry.series, entry.tiles, place, preprocess=preprocess)
    notes = [f"{entry.name}: {problem}" for problem in entry.series.problems]
    if isinstance(entry.series, Volume):
        tone, extent = _render_volume(entry, entry.series, place, preprocess=preprocess)
    else:
        tone, extent = _render_image(entry, entry.series, place, preprocess=preprocess)
    if extent.bad:
        notes.append(
            f"{entry.name}: {extent.bad} of {extent.values} values are NaN or infinite; "
            "they are shown as the lowest or highest value."
        )
    if extent.low == extent.high:
        notes.append(f"{entry.name} is constant: every value read is {extent.low:g}.")
    if min(entry.plan.width, entry.plan.height) < _LEAST_SIDE:
        notes.append(f"{entry.name} is only {entry.plan.width}x{entry.plan.height} px; little can be seen.")
    return tone, notes


def _render_slide(
    entry: PlannedSeries, slide: Slide, plan: TilePlan, place: _Place, *, preprocess: Preprocess
) -> tuple[_Tone, list[str]]:
    read_tiles(
        slide,
        plan.tiles,
        preprocess=preprocess,
        out=place.out,
        pool=place.pool,
        report=lambda done: place.report("images", place.start + done, place.total),
    )
    tone = _Tone(view=tiles_in_words(plan, preprocess=preprocess), to_rgb=color_to_rgb, low=0, high=255)
    return tone, [f"{entry.name}: {note}" for note in slide_notes(slide, plan)]


def _render_volume(
    entry: PlannedSeries, volume: Volume, place: _Place, *, preprocess: Preprocess
) -> tuple[_Tone, FiniteRange]:
    extent = FiniteRange()
    if len(volume.pixels.shape) == 4:
        tone = _Tone(view="color", to_rgb=color_to_rgb, low=0, high=255)
        extent = _show(_chunks(volume, entry.picks), place, entry=entry, tone=tone)
    elif volume.units == "HU":
        tone = _ct_tone(preprocess)
        extent = _show(_chunks(volume, entry.picks), place, entry=entry, tone=tone)
    else:
        whole = volume.read() if int(np.prod(volume.pixels.shape)) <= _WHOLE_VOXELS else None
        everything = range(volume.pixels.shape[0])
        for _, chunk in _chunks(volume, everything) if whole is None else ((0, whole),):
            require_numbers(chunk, name=entry.name)
            extent = extent.including(chunk)
        extent.require_some(entry.name)
        tone = _range_tone(extent.low, extent.high, view="min-max")
        chunks = _chunks(volume, entry.picks, whole=whole)
        _show(chunks, place, entry=entry, tone=tone)
    extent.require_some(entry.name)
    return tone, extent


def _render_image(
    entry: PlannedSeries, image: Image, place: _Place, *, preprocess: Preprocess
) -> tuple[_Tone, FiniteRange]:
    values = image.read()
    require_numbers(values, name=entry.name)
    extent = FiniteRange().including(values)
    extent.require_some(entry.name)
    if values.ndim == 3:
        tone = _Tone(view="color", to_rgb=color_to_rgb, low=0, high=255)
    elif image.units == "HU":
        tone = _ct_tone(preprocess)
    elif image.modality == "MR":
        tone = _range_tone(extent.low, extent.high, view="min-max")
    else:
        filled = fill(values, low=extent.low, high=extent.high)
        low, high, view = grey_range(filled, image=image, preprocess=preprocess)
        tone = _range_tone(low, high, view=view)
    fit(tone.to_rgb(fill(values, low=tone.low, high=tone.high)), plan=entry.plan, out=place.out[0])
    place.report("images", place.start + 1, place.total)
    return tone, extent


def _ct_tone(preprocess: Preprocess) -> _Tone:
    windows = preprocess.ct_windows
    return _Tone(
        view="CT windows",
        to_rgb=lambda values: ct_to_rgb(values, windows=windows),
        low=min(window.low for window in windows),
        high=max(window.high for window in windows),
    )


def _range_tone(low: float, high: float, *, view: str) -> _Tone:
    return _Tone(view=view, to_rgb=lambda values: range_to_rgb(values, low=low, high=high), low=low, high=high)


def _chunks(
    volume: Volume, picks: Sequence[int], *, whole: np.ndarray | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields where a chunk of slices starts among ``picks``, and the chunk."""
    at_once = max(1, _READ_VOXELS // int(np.prod(volume.pixels.shape[1:])))
    for start in range(0, len(picks), at_once):
        some = list(picks[start : start + at_once])
        yield start, volume.read(slices=some) if whole is None else whole[some]


def _show(chunks: Iterator[tuple[int, np.ndarray]], place: _Place, *, entry: PlannedSeries, tone: _Tone) -> FiniteRange:
    """Shows and resizes chunks of slices; returns the range of what was read."""

    def one(index: int, values: np.ndarray) -> None:
        fit(tone.to_rgb(fill(values, low=tone.low, high=tone.high)), plan=entry.plan, out=place.out[index])

    extent = FiniteRange()
    for start, chunk in chunks:
        require_numbers(chunk, name=entry.name)
        extent = extent.including(chunk)
        shown = place.pool.map(one, range(start, start + len(chunk)), chunk)
        for done, _ in enumerate(shown, start=place.start + start + 1):
            place.report("images", done, place.total)
    return extent


def _shown_series(entries: Sequence[PlannedSeries]) -> tuple[ShownSeries, ...]:
    """Numbers time points among those shown."""
    ranks = {point: rank for rank, point in enumerate(sorted({entry.timepoint for entry in entries}))}
    return tuple(
        ShownSeries(
            timepoint=ranks[entry.timepoint],
            date=entry.date,
            images=entry.count if entry.slabs is None else entry.slabs.grid.groups,
            kind=_shown_kind(entry),
            tokens=0 if entry.slabs is None else entry.slabs.grid.in_plane,
            labels=() if entry.slabs is None else entry.slabs.labels,
            caption=entry.series.caption if isinstance(entry.series, Image) else "",
        )
        for entry in entries
    )


def _shown_kind(entry: PlannedSeries) -> str:
    if entry.slabs is not None:
        return "slabs"
    return "volume" if entry.picks else "slide" if entry.tiles is not None else "image"


def _shown_images(
    entries: Sequence[PlannedSeries], *, numbers: Sequence[int | None], preprocess: Preprocess
) -> Iterator[ShownImage]:
    number = iter(numbers)
    for entry in entries:
        series = entry.series
        if isinstance(series, Slide):
            for count, tile in enumerate(entry.tiles.tiles if entry.tiles is not None else (), start=1):
                yield ShownImage(
                    series=series.series,
                    modality=series.modality,
                    timepoint=entry.timepoint,
                    slice=None,
                    number=next(number),
                    origin=series.origins[0] if series.origins else None,
                    pixel_map=tile_map(tile, preprocess=preprocess),
                    affine=None,
                    tile=shown_tile(series, tile, number=count),
                )
            continue
        for index in entry.picks or (None,):
            place = index or 0
            yield ShownImage(
                series=series.series,
                modality=series.modality,
                timepoint=entry.timepoint,
                slice=index,
                number=next(number) if entry.slabs is None else place + 1,
                origin=series.origins[place] if place < len(series.origins) else None,
                pixel_map=entry.plan,
                affine=series.affine,
            )


def _used(entry: PlannedSeries, *, view: str, preprocess: Preprocess) -> UsedSeries:
    series, slabs = entry.series, entry.slabs
    return UsedSeries(
        series=series.series,
        modality=series.modality,
        description=series.description,
        slices=entry.picks,
        of=parts_of(entry.series, tiles=entry.tiles),
        view=view if slabs is None else f"{view}, {slabs.in_words()}",
        tokens=entry.count * preprocess.image_tokens if slabs is None else slabs.grid.tokens,
    )
