from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import GeometryError
from osler.prepare import PixelBatches, Preprocess, ShownImage
from osler.prepare.resize import pixel_map
from osler.study import Affine, Box2D, SliceOrigin

CONTRACT = Preprocess(image_size=64, image_tokens=4)


def batches_of(count: int) -> PixelBatches:
    rgb = np.random.RandomState(0).randint(0, 256, (count, 64, 64, 3)).astype(np.uint8)
    return PixelBatches(rgb=rgb, preprocess=CONTRACT)


def shown(*, affine: Affine | None, slice_index: int | None = 3, width: int = 40, height: int = 30) -> ShownImage:
    return ShownImage(
        series="1.2",
        modality="CT",
        timepoint=0,
        slice=slice_index,
        number=1,
        origin=None,
        pixel_map=pixel_map(width=width, height=height, image_size=64, aspect="pad-square"),
        affine=affine,
    )


@pytest.mark.parametrize(("count", "size", "lengths"), [(5, 2, [2, 2, 1]), (4, 8, [4]), (0, 3, [])])
def test_batches_are_the_whole_array_in_order(count, size, lengths):
    pixels = batches_of(count)
    parts = list(pixels.batches(size=size))
    assert [len(part) for part in parts] == lengths
    assert pixels.shape == (count, 3, 64, 64) == pixels.array().shape
    if parts:
        np.testing.assert_array_equal(np.concatenate(parts), pixels.array())
        assert all(part.dtype == np.float32 and part.flags.c_contiguous for part in parts)


def test_channels_and_values():
    pixels = batches_of(2)
    expected = (pixels.rgb.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.5
    np.testing.assert_allclose(pixels.array(), expected, atol=1e-6)
    assert pixels.array().min() == -1
    assert pixels.array().max() == 1


def test_batches_never_hold_the_whole_array():
    pixels = batches_of(40)
    tracemalloc.start()
    for _ in pixels.batches(size=2):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 3 * 64 * 64 * 4 / 4


def test_digests_tell_images_apart():
    pixels = batches_of(3)
    assert len(set(pixels.digests())) == 3
    changed = pixels.rgb.copy()
    changed[1, 0, 0, 0] ^= 1
    other = PixelBatches(rgb=changed, preprocess=CONTRACT).digests()
    assert [a == b for a, b in zip(pixels.digests(), other, strict=True)] == [True, False, True]


spacings = st.floats(0.2, 6)


@st.composite
def affines(draw):
    rotation, _ = np.linalg.qr(np.array(draw(st.lists(st.floats(-1, 1), min_size=9, max_size=9))).reshape(3, 3) * 0.2
                               + np.eye(3)[list(draw(st.permutations(range(3))))])  # fmt: skip
    signs = np.array(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    return Affine.from_parts(
        spacing=draw(st.tuples(spacings, spacings, spacings)),
        direction=rotation * signs,
        origin=draw(st.tuples(*[st.floats(-500, 500)] * 3)),
    )


@given(affine=affines(), data=st.data())
def test_a_point_comes_back_from_the_patient(affine, data):
    """Network px -> file px -> patient mm -> network px, for points, at any obliquity."""
    image = shown(affine=affine)
    inside = image.to_model(Box2D(x0=0, y0=0, x1=40, y1=30))
    x = data.draw(st.floats(inside.x0, inside.x1))
    y = data.draw(st.floats(inside.y0, inside.y1))
    file = image.to_file(Box2D(x0=x, y0=y, x1=x, y1=y))
    mm = affine.apply((file.x0 - 0.5, file.y0 - 0.5, 3))
    column, row, index = affine.inverse.apply(mm).tolist()
    assert index == pytest.approx(3, abs=1e-6)
    back = image.to_model(Box2D(x0=column + 0.5, y0=row + 0.5, x1=column + 0.5, y1=row + 0.5))
    assert (back.x0, back.y0) == pytest.approx((x, y), abs=1e-5)


@given(
    axes=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    spacing=st.tuples(spacings, spacings, spacings),
    data=st.data(),
)
def test_a_box_comes_back_from_the_patient(axes, signs, spacing, data):
    affine = Affine.from_parts(spacing=spacing, direction=np.eye(3)[list(axes)] * np.array(signs), origin=(9, -7, 3))
    image = shown(affine=affine)
    x0, x1 = sorted(data.draw(st.tuples(st.floats(0, 40), st.floats(0, 40))))
    y0, y1 = sorted(data.draw(st.tuples(st.floats(0, 30), st.floats(0, 30))))
    box = image.to_model(Box2D(x0=x0, y0=y0, x1=x1, y1=y1))
    patient = image.to_patient(box)
    assert patient.frame == "LPS"
    assert sorted(patient.size) == pytest.approx(
        sorted(((x1 - x0) * spacing[0], (y1 - y0) * spacing[1], spacing[2])), abs=1e-6
    )
    back = image.from_patient(patient)
    assert (back.x0, back.y0, back.x1, back.y1) == pytest.approx((box.x0, box.y0, box.x1, box.y1), abs=1e-5)


def test_an_image_without_a_place_says_so():
    image = shown(affine=None, slice_index=None)
    with pytest.raises(GeometryError, match=r"'1\.2' has no place in the patient.*file pixels"):
        image.to_patient(Box2D(x0=0, y0=0, x1=1, y1=1))


def test_a_single_image_with_an_affine_is_slice_zero():
    image = shown(affine=Affine.from_parts(spacing=(1, 1, 4)), slice_index=None)
    patient = image.to_patient(image.to_model(Box2D(x0=0, y0=0, x1=2, y1=2)))
    assert (patient.low[2], patient.high[2]) == (-2, 2)


def test_straightened_slice_has_its_box_in_the_files_own_pixels():
    """The patient's place follows the series; the file's pixels lie ``shift`` away."""
    affine = Affine.from_parts(spacing=(1, 1, 4))
    plain = shown(affine=affine)
    moved = replace(plain, origin=SliceOrigin(file="a.dcm", shift=(2.5, -4.0)))
    box = plain.to_model(Box2D(x0=5, y0=6, x1=15, y1=20))
    assert moved.to_patient(box) == plain.to_patient(box)
    file = moved.to_file(box)
    assert (file.x0, file.y0, file.x1, file.y1) == pytest.approx((7.5, 2, 17.5, 16))
    back = moved.to_model(file)
    assert (back.x0, back.y0, back.x1, back.y1) == pytest.approx((box.x0, box.y0, box.x1, box.y1))
