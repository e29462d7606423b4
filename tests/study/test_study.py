from __future__ import annotations

import datetime as dt
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from osler.study import Affine, ArrayPixels, ClinicalEvent, Image, ReferenceRange, Study, TimePoint, Volume


def test_series_come_oldest_first_and_by_kind():
    image = Image(series="x", pixels=ArrayPixels(np.zeros((2, 2))))
    volume = Volume(series="v", pixels=ArrayPixels(np.zeros((3, 2, 2))), affine=Affine.from_parts(), modality="CT")
    study = Study(
        timepoints=(
            TimePoint(series=(image,), date=dt.date(2020, 1, 1)),
            TimePoint(series=(volume, image), date=dt.date(2021, 1, 1)),
        )
    )
    assert [series.series for series in study.series()] == ["x", "v", "x"]
    assert study.volumes() == (volume,)
    assert study.images() == (image, image)


def test_types_are_frozen():
    event = ClinicalEvent(kind="observation", name="CRP", value=12.0, unit="mg/L", reference=ReferenceRange(high=5.0))
    with pytest.raises(FrozenInstanceError):
        event.name = "other"
    with pytest.raises(FrozenInstanceError):
        Study(timepoints=()).patient = "other"
