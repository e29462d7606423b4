from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import GeometryError
from osler.study import Affine

points = st.lists(st.tuples(*[st.floats(-600, 600)] * 3), min_size=1, max_size=5)


@given(data=st.data())
def test_parts_come_back(data, draw):
    spacing = data.draw(st.tuples(*[st.floats(0.05, 20)] * 3))
    direction = data.draw(draw.rotations())
    origin = data.draw(st.tuples(*[st.floats(-2000, 2000)] * 3))
    affine = Affine.from_parts(spacing=spacing, direction=direction, origin=origin)
    assert affine.spacing == pytest.approx(spacing)
    assert affine.origin == origin
    np.testing.assert_allclose(affine.direction, direction, atol=1e-12)


@given(data=st.data(), voxels=points)
def test_voxel_to_patient_and_back(data, draw, voxels):
    affine = data.draw(draw.affines())
    np.testing.assert_allclose(affine.inverse.apply(affine.apply(voxels)), voxels, atol=1e-6)
    assert affine.inverse.inverse.isclose(affine, mm=1e-6)


@given(data=st.data(), voxels=points)
def test_composition_is_one_after_the_other(data, draw, voxels):
    mild = st.floats(0.5, 5)  # three extreme spacings in a row make axes that are rightly refused as flat
    a, b, c = (data.draw(draw.affines(spacing=mild)) for _ in range(3))
    size = np.abs(a.apply(b.apply(voxels))).max() + 1
    np.testing.assert_allclose((a @ b).apply(voxels), a.apply(b.apply(voxels)), atol=1e-9 * size)
    np.testing.assert_allclose(((a @ b) @ c).matrix, (a @ (b @ c)).matrix, rtol=1e-9, atol=1e-3)
    np.testing.assert_allclose((a @ a.inverse).matrix, np.eye(4), atol=1e-7)


@given(data=st.data())
def test_ras_and_back(data, draw):
    affine = data.draw(draw.affines())
    assert Affine.from_ras(affine.to_ras()) == affine
    np.testing.assert_array_equal(affine.to_ras()[2], affine.matrix[2])
    np.testing.assert_array_equal(affine.to_ras()[:2], -affine.matrix[:2])


def test_nifti_identity_grows_to_the_right_and_front():
    assert Affine.from_ras(np.eye(4)).orientation == "RAS"
    assert Affine.from_parts().orientation == "LPS"


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((-1.0, 1.0), repeat=3)))
def test_all_48_straight_orientations_have_their_letters(order, signs):
    direction = np.eye(3)[:, list(order)] * np.array(signs)
    affine = Affine.from_parts(spacing=(0.5, 2, 3), direction=direction)
    letters = [("RL", "AP", "IS")[axis][sign > 0] for axis, sign in zip(order, signs, strict=True)]
    assert affine.orientation == "".join(letters)
    assert affine.plane == ("sagittal", "coronal", "axial")[order[2]]
    assert affine.obliquity == pytest.approx(0, abs=1e-5)


@given(data=st.data())
def test_oblique_letters_are_one_of_each_axis(data, draw):
    letters = data.draw(draw.affines()).orientation
    assert sorted("LRAPSI".index(letter) // 2 for letter in letters) == [0, 1, 2]


@given(data=st.data(), degrees=st.floats(-40, 40), axis=st.integers(0, 1))
def test_small_tilt_keeps_letters_and_is_measured(data, draw, degrees, axis):
    straight = data.draw(draw.affines(axes=draw.straight_axes()))
    angle = np.radians(degrees)
    turn = np.eye(3)
    keep = [i for i in range(3) if i != int(np.argmax(np.abs(straight.direction[:, axis])))]
    turn[np.ix_(keep, keep)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted = Affine.from_parts(spacing=straight.spacing, direction=turn @ straight.direction)
    assert tilted.orientation == straight.orientation
    assert tilted.plane == straight.plane
    assert tilted.obliquity == pytest.approx(abs(degrees), abs=1e-4)


@given(data=st.data())
def test_normal_is_orthogonal_to_the_slice(data, draw):
    affine = data.draw(draw.affines())
    assert np.linalg.norm(affine.normal) == pytest.approx(1)
    np.testing.assert_allclose(affine.normal @ affine.direction[:, :2], 0, atol=1e-9)
    assert abs(affine.normal @ affine.direction[:, 2]) == pytest.approx(1)


@given(data=st.data(), shape=st.tuples(*[st.integers(1, 64)] * 3), target=st.tuples(*[st.integers(1, 64)] * 3))
def test_resampled_grid_keeps_its_outer_edges(data, draw, shape, target):
    affine = data.draw(draw.affines())
    scale = tuple(a / b for a, b in zip(shape, target, strict=True))
    resampled = affine.resampled(scale=scale)
    np.testing.assert_allclose(resampled.apply((-0.5, -0.5, -0.5)), affine.apply((-0.5, -0.5, -0.5)), atol=1e-6)
    far, new_far = np.array(shape) - 0.5, np.array(target) - 0.5
    np.testing.assert_allclose(resampled.apply(new_far), affine.apply(far), atol=1e-6)
    assert resampled.orientation == affine.orientation


@given(data=st.data(), shape=st.tuples(*[st.integers(2, 40)] * 3), target=st.tuples(*[st.integers(2, 40)] * 3))
def test_resample_and_map_back_stays_within_half_a_voxel(data, draw, shape, target):
    """A voxel goes to the nearest voxel of the new grid and back: off by half a voxel of the coarser grid."""
    affine = data.draw(draw.affines())
    scale = tuple(a / b for a, b in zip(shape, target, strict=True))
    resampled = affine.resampled(scale=scale)
    voxel = np.array([data.draw(st.integers(0, size - 1)) for size in shape], dtype=float)
    there = resampled.inverse.apply(affine.apply(voxel))
    nearest = np.round(there)
    assert (nearest >= 0).all()
    assert (nearest <= np.array(target) - 1 + 1e-9).all()
    back = affine.inverse.apply(resampled.apply(nearest))
    coarser = np.maximum(np.array(scale), 1)
    assert (np.abs(back - voxel) <= 0.5 * coarser + 1e-6).all()


def test_very_unequal_spacing_has_an_inverse():
    """Found by the property above: the inverse's columns are nearly parallel, and it is not flat."""
    affine = Affine(
        np.array(
            [
                [-7.56423228, -0.04425459 * 2 / 15, -9.09297427, 0],
                [0, -0.03376889 * 2 / 15, 16.8294197, 0],
                [11.78059379, -0.02841554 * 2 / 15, -5.83853163, 0],
                [0, 0, 0, 1],
            ]
        )
    )
    np.testing.assert_allclose((affine.inverse @ affine).matrix, np.eye(4), atol=1e-9)


@pytest.mark.parametrize("scale", [(1.5, 1.5, 1.5), (2.0, 1.0, 3.0), (0.5, 0.25, 1.0)])
def test_resampled_pixels_lie_where_the_affine_says(scale):
    """A linear ramp, resampled by averaging, has the value of its new place."""
    affine = Affine.from_parts(spacing=(0.7, 0.8, 2.5), origin=(-30, 12, 5))
    resampled = affine.resampled(scale=scale)
    ramp = lambda mm: 3 * mm[..., 0] - 2 * mm[..., 1] + mm[..., 2]  # noqa: E731
    new = np.array([4.0, 5.0, 2.0])
    old = (new + 0.5) * np.array(scale) - 0.5
    assert ramp(resampled.apply(new)) == pytest.approx(ramp(affine.apply(old)))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), r"affine of shape \(3, 3\)\. It must be 4x4"),
        (np.diag([1, np.nan, 1, 1]), "NaN or infinite"),
        (np.diag([1, 0, 1, 1]), "affine that is flat"),
        (np.ones((4, 4)), r"last row is"),
        (np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "Three independent axes"),
    ],
)
def test_impossible_affines_are_refused(matrix, message):
    with pytest.raises(GeometryError, match=message):
        Affine(matrix)


def test_affines_do_not_change_and_compare_by_value():
    given_ = np.eye(4)
    affine = Affine(given_)
    given_[0, 3] = 99
    assert affine.origin == (0, 0, 0)
    with pytest.raises(ValueError, match="read-only"):
        affine.matrix[0, 0] = 2
    assert affine == Affine(np.eye(4))
    assert hash(affine) == hash(Affine(np.eye(4)))
    assert affine != "eye"
