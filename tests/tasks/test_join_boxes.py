"""Boxes of slices joined along the volume by the stated rule."""

from __future__ import annotations

import numpy as np
import pytest

from osler.study import Affine, Box2D
from osler.tasks.join_boxes import SliceBox, join_boxes

_AFFINE = Affine(np.diag([1.0, 1.0, 2.0, 1.0]))


def at(place: int, x0: float = 10, *, score: float = 1.0) -> SliceBox:
    return SliceBox(place=place, box=Box2D(x0=x0, y0=5, x1=x0 + 10, y1=25), score=score)


def test_a_chain_reaches_half_way_to_the_next_slice_looked_at() -> None:
    (joined,) = join_boxes([at(1), at(2)], looked_at=[0, 4, 8, 12], depth=20, affine=_AFFINE)
    # Slices 4 and 8: edges at 2.5 and 10.5 slices; whole numbers of the affine are centers.
    assert joined.patient.low == pytest.approx((9.5, 4.5, (2.5 - 0.5) * 2))
    assert joined.patient.high == pytest.approx((19.5, 24.5, (10.5 - 0.5) * 2))


def test_the_ends_never_leave_the_volume() -> None:
    (joined,) = join_boxes([at(0), at(1)], looked_at=[0, 9], depth=10, affine=_AFFINE)
    assert (joined.patient.low[2], joined.patient.high[2]) == (-1.0, 19.0)
    (single,) = join_boxes([at(0)], looked_at=[3], depth=10, affine=_AFFINE)
    assert single.patient.size[2] == 2.0


def test_one_gap_is_bridged_and_lowers_the_score_and_two_part() -> None:
    (bridged,) = join_boxes([at(0), at(2)], looked_at=range(6), depth=6, affine=_AFFINE)
    assert bridged.score == pytest.approx(2 / 3)
    assert len(join_boxes([at(0), at(3)], looked_at=range(6), depth=6, affine=_AFFINE)) == 2


def test_two_lesions_stay_two() -> None:
    boxes = [at(0, 10), at(0, 60), at(1, 61), at(1, 11, score=0.5)]
    first, second = join_boxes(boxes, looked_at=range(3), depth=3, affine=_AFFINE)
    assert (first.patient.low[0], first.score) == (pytest.approx(59.5), 1.0)
    assert (second.patient.low[0], second.score) == (pytest.approx(9.5), 0.75)


def test_nothing_joins_to_nothing() -> None:
    assert join_boxes([], looked_at=[0, 1], depth=2, affine=_AFFINE) == ()
