"""What a slide may be asked to show."""

from __future__ import annotations

import math

import pytest

from osler.errors import RequestError
from osler.synth.histology import SlideSpec, TumorPlace


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"organ": "colom"}, "Did you mean 'colon'"),
        ({"key": -1}, "A slide key of -1"),
        ({"pixel_mm": 0.1}, "0.00025 is 40x"),
        ({"width_mm": math.nan}, "0.05 to 60 mm"),
        ({"inflammation": 99}, "0 to 10"),
    ],
)
def test_bad_slides_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        SlideSpec(**{"organ": "colon", "key": 1, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pattern": "colon-grade-9"}, "Unknown tissue pattern 'colon-grade-9'"),
        ({"half_mm": (0.0, 1.0)}, "half axes above 0"),
        ({"center_mm": (math.inf, 1.0)}, "Finite places"),
        ({"necrosis": 0.9}, "0 to 0.5"),
    ],
)
def test_bad_tumors_are_refused(change: dict[str, object], message: str) -> None:
    good = {"center_mm": (1.0, 1.0), "half_mm": (0.5, 0.5), "pattern": "colon-grade-1"}
    with pytest.raises(RequestError, match=message):
        TumorPlace(**{**good, **change})


def test_pixels_follow_from_the_size() -> None:
    assert SlideSpec(organ="lung", key=0, width_mm=1.0, height_mm=0.5, pixel_mm=0.00025).pixels == (4000, 2000)
