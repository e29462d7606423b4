from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import GeometryError
from osler.study import Affine, Box2D, Box3D

edges = st.floats(-100, 400)


@st.composite
def boxes2d(draw: st.DrawFn) -> Box2D:
    x0, x1 = sorted((draw(edges), draw(edges)))
    y0, y1 = sorted((draw(edges), draw(edges)))
    return Box2D(x0=x0, y0=y0, x1=x1, y1=y1)


@st.composite
def boxes3d(draw: st.DrawFn, frame: str = "voxel") -> Box3D:
    pairs = [sorted((draw(edges), draw(edges))) for _ in range(3)]
    return Box3D(low=tuple(pair[0] for pair in pairs), high=tuple(pair[1] for pair in pairs), frame=frame)


def numbers(box: Box2D) -> tuple[float, ...]:
    return box.x0, box.y0, box.x1, box.y1


@given(data=st.data(), box=boxes3d())
def test_straight_box_to_patient_and_back(data, box, draw):
    affine = data.draw(draw.affines(axes=draw.straight_axes()))
    patient = box.to_patient(affine)
    assert (patient.frame, patient.units) == ("LPS", "mm")
    back = patient.to_voxel(affine)
    assert (back.frame, back.units) == ("voxel", "voxel")
    assert (*back.low, *back.high) == pytest.approx((*box.low, *box.high), abs=1e-6)
    volume = box.volume * np.prod(affine.spacing)
    assert patient.volume == pytest.approx(volume, rel=1e-6, abs=1e-4)


@given(data=st.data(), box=boxes3d())
def test_oblique_box_is_enclosed(data, box, draw):
    affine = data.draw(draw.affines())
    patient = box.to_patient(affine)
    corners = affine.apply(np.array([box.low, box.high]) - 0.5)
    assert (corners >= np.array(patient.low) - 1e-6).all()
    assert (corners <= np.array(patient.high) + 1e-6).all()
    back = patient.to_voxel(affine)
    assert (np.array(back.low) <= np.array(box.low) + 1e-6).all()
    assert (np.array(back.high) >= np.array(box.high) - 1e-6).all()


@given(data=st.data(), box=boxes2d(), slice_index=st.integers(0, 400))
def test_slice_box_to_patient_and_back(data, box, slice_index, draw):
    affine = data.draw(draw.affines(axes=draw.straight_axes()))
    voxel = box.to_box3d(affine=affine, slice_index=slice_index).to_voxel(affine)
    assert (voxel.low[0], voxel.low[1], voxel.high[0], voxel.high[1]) == pytest.approx(numbers(box), abs=1e-6)
    assert (voxel.low[2], voxel.high[2]) == pytest.approx((slice_index, slice_index + 1), abs=1e-6)


def test_pixel_zero_covers_half_a_pixel_around_its_center():
    box = Box2D(x0=0, y0=0, x1=1, y1=1).to_box3d(affine=Affine.from_parts(spacing=(2, 4, 6)), slice_index=0)
    assert (box.low, box.high) == ((-1, -2, -3), (1, 2, 3))


@given(box=boxes2d(), width=st.integers(1, 4000), height=st.integers(1, 4000))
def test_pixels_to_fractions_and_back(box, width, height):
    unit = box.to_unit(width=width, height=height)
    assert (unit.frame, unit.units, box.units) == ("unit", "fraction", "px")
    assert numbers(unit.to_pixel(width=width, height=height)) == pytest.approx(numbers(box))
    assert unit.to_unit(width=1, height=1) is unit
    assert box.to_pixel(width=1, height=1) is box


@given(box=boxes2d(), width=st.integers(1, 4000))
def test_mirror_twice_is_nothing_and_keeps_size(box, width):
    mirrored = box.mirrored(width=width)
    assert mirrored.area == pytest.approx(box.area, abs=1e-6)
    assert numbers(mirrored.mirrored(width=width)) == pytest.approx(numbers(box), abs=1e-9)


def test_mirrored_box_holds_the_mirrored_pixels():
    picture = np.zeros((6, 10))
    picture[1:3, 2:5] = 1
    box = Box2D(x0=2, y0=1, x1=5, y1=3).mirrored(width=10)
    rows, columns = np.nonzero(picture[:, ::-1])
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == numbers(box)


@given(a=boxes2d(), b=boxes2d())
def test_iou_2d_is_symmetric_and_bounded(a, b):
    assert a.iou(b) == b.iou(a)
    assert 0 <= a.iou(b) <= 1 + 1e-9
    if a.area > 1e-6:
        assert a.iou(a) == pytest.approx(1)


@given(a=boxes3d(frame="LPS"), b=boxes3d(frame="LPS"))
def test_iou_3d_is_symmetric_and_bounded(a, b):
    assert a.iou(b) == pytest.approx(b.iou(a))
    assert 0 <= a.iou(b) <= 1 + 1e-9
    if min(a.size) > 1e-3:
        assert a.iou(a) == pytest.approx(1)


def test_iou_by_hand():
    a = Box2D(x0=0, y0=0, x1=2, y1=2)
    assert a.iou(Box2D(x0=1, y0=1, x1=3, y1=3)) == pytest.approx(1 / 7)
    b = Box3D(low=(0, 0, 0), high=(2, 2, 2))
    assert b.iou(Box3D(low=(1, 1, 1), high=(3, 3, 3))) == pytest.approx(1 / 15)
    assert b.iou(Box3D(low=(2, 0, 0), high=(3, 2, 2))) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box2D(x0=5, y0=0, x1=1, y1=1), "is above its high corner"),
        (lambda: Box2D(x0=float("nan"), y0=0, x1=1, y1=1), "NaN or infinite"),
        (lambda: Box3D(low=(0, 0, 2), high=(1, 1, 1)), "Low must not exceed high"),
        (lambda: Box3D(low=(0, 0, 0), high=(1, 1, float("inf"))), "NaN or infinite"),
        (lambda: Box2D(x0=0, y0=0, x1=1, y1=1).iou(Box2D(x0=0, y0=0, x1=1, y1=1, frame="unit")), "'pixel' box with"),
        (lambda: Box3D(low=(0, 0, 0), high=(1, 1, 1)).iou(Box3D(low=(0, 0, 0), high=(1, 1, 1), frame="voxel")),
         "'LPS' box with a 'voxel' box"),
        (lambda: Box2D(x0=0, y0=0, x1=1, y1=1, frame="unit").to_box3d(affine=Affine.from_parts(), slice_index=0),
         "Call to_pixel first"),
    ],
)  # fmt: skip
def test_impossible_boxes_are_refused(make, message):
    with pytest.raises(GeometryError, match=message):
        make()


def test_a_box_on_a_slide_is_in_mm_and_has_no_pixels_by_itself():
    box = Box2D(x0=1.5, y0=2, x1=3, y1=4, frame="slide")
    assert box.units == "mm"
    for convert in (box.to_unit, box.to_pixel):
        with pytest.raises(GeometryError, match="mm on a slide has no size in pixels"):
            convert(width=10, height=10)
    with pytest.raises(GeometryError, match="IoU of a 'slide' box with a 'pixel' box"):
        box.iou(Box2D(x0=0, y0=0, x1=1, y1=1))
