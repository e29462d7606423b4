"""X-rays made of noise, with what a file may say of them."""

from __future__ import annotations

import datetime as dt

import numpy as np

from osler.study import Affine, ArrayPixels, ClinicalEvent, Image, ReferenceRange, Study, TimePoint, Volume


def film(seed: int, *, modality: str = "DX", view: str = "PA", shape: tuple[int, int] = (60, 40)) -> Image:
    """A single picture."""
    pixels = np.random.default_rng(seed).normal(500, 100, shape).astype(np.float32)
    return Image(series=f"film-{seed}", pixels=ArrayPixels(pixels), modality=modality, view=view)


def film_study(*dates: dt.date | None, events: tuple[ClinicalEvent, ...] = ()) -> Study:
    """One film a date."""
    points = tuple(TimePoint(series=(film(number),), date=date) for number, date in enumerate(dates))
    return Study(timepoints=points, events=events)


def lab(name: str, value: float, *, date: dt.date | None, high: float | None = 10.0) -> ClinicalEvent:
    """A laboratory value."""
    return ClinicalEvent(
        kind="observation", name=name, value=value, unit="mg", date=date, reference=ReferenceRange(low=2.0, high=high)
    )


def noise_volume(*, affine: Affine, shape: tuple[int, int, int] = (10, 30, 20)) -> Volume:
    """A CT of noise."""
    voxels = np.random.default_rng(3).normal(0, 200, shape).astype(np.float32)
    return Volume(series="v", pixels=ArrayPixels(voxels), affine=affine, modality="CT", units="HU")
