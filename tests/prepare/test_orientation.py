from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.prepare import Preprocess, prepare_images
from osler.prepare.orientation import AS_STORED, Reorientation, radiological
from osler.study import Affine, ArrayPixels, Box2D, Study, TimePoint, Volume

AXES = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
ALL_48 = ["".join(p) for signs in product("LR", "PA", "SI") for p in permutations(signs)]
SHOWN = {"axial": ("L", "P"), "coronal": ("L", "I"), "sagittal": ("P", "I")}
turns = st.builds(Reorientation, transposed=st.booleans(), columns_flipped=st.booleans(), rows_flipped=st.booleans())


def affine_for(letters: str) -> Affine:
    direction = np.zeros((3, 3))
    for index, letter in enumerate(letters):
        axis, sign = AXES[letter]
        direction[axis, index] = sign
    return Affine.from_parts(spacing=(1.5, 2.0, 3.0), direction=direction, origin=(5, -7, 11))


@pytest.mark.parametrize("letters", ALL_48)
def test_every_orientation_is_shown_as_radiologists_look_at_it(letters):
    affine = affine_for(letters)
    assert radiological(affine).axes(affine) == SHOWN[affine.plane]


@pytest.mark.parametrize("letters", ["LPS", "LPI"])
def test_the_usual_axial_slice_stays_as_it_is(letters):
    assert radiological(affine_for(letters)) == AS_STORED


def test_without_a_place_in_the_patient_nothing_is_turned():
    assert radiological(None) == AS_STORED


@given(turn=turns, width=st.integers(1, 40), height=st.integers(1, 40), data=st.data())
def test_boxes_turn_with_the_pixels(turn, width, height, data):
    x0 = data.draw(st.integers(0, width - 1))
    y0 = data.draw(st.integers(0, height - 1))
    x1 = data.draw(st.integers(x0 + 1, width))
    y1 = data.draw(st.integers(y0 + 1, height))
    stored = np.zeros((height, width))
    stored[y0:y1, x0:x1] = 1
    shown = turn.apply(stored)
    assert shown.shape[::-1] == turn.size(width=width, height=height)
    box = Box2D(x0=x0, y0=y0, x1=x1, y1=y1)
    turned = turn.to_shown(box, width=width, height=height)
    rows, columns = np.nonzero(shown)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert found == (turned.x0, turned.y0, turned.x1, turned.y1)
    assert turn.to_stored(turned, width=width, height=height) == box


@pytest.mark.parametrize("letters", ALL_48)
def test_a_mark_at_the_front_left_is_shown_at_its_place_and_found_again(letters):
    """The same patient stored in any of 48 ways gives the same picture and the same box in mm."""
    affine = affine_for(letters)
    array = np.zeros((6, 24, 36), dtype=np.float32)
    array[2, 3:9, 20:28] = 100
    volume = Volume(series="1", pixels=ArrayPixels(array), affine=affine, modality="MR")
    study = Study(timepoints=(TimePoint(series=(volume,)),))
    prepared = prepare_images(study, preprocess=Preprocess(image_size=144, image_tokens=4, sampling="equidistant"))
    image = prepared.images[2]
    rows, columns = np.nonzero(prepared.pixels.rgb[2, ..., 0] > 127)
    box = Box2D(x0=columns.min(), y0=rows.min(), x1=columns.max() + 1, y1=rows.max() + 1)
    truth = Box2D(x0=20, y0=3, x1=28, y1=9)
    patient = truth.to_box3d(affine=affine, slice_index=2)
    assert (*image.to_patient(box).low, *image.to_patient(box).high) == pytest.approx(
        (*patient.low, *patient.high), abs=1.0
    )
    stored = image.to_file(box)
    assert (stored.x0, stored.y0, stored.x1, stored.y1) == pytest.approx((20, 3, 28, 9), abs=0.5)
    # Left of the patient is right in the picture, front is up.
    center = np.array(patient.low) / 2 + np.array(patient.high) / 2
    middle = affine.apply(((36 - 1) / 2, (24 - 1) / 2, 2.0))
    if affine.plane == "axial":
        assert ((box.x0 + box.x1) / 2 > 72) == (center[0] > middle[0])
        assert ((box.y0 + box.y1) / 2 > 72) == (center[1] > middle[1])


def test_as_stored_leaves_the_file_order():
    affine = affine_for("RAS")
    array = np.arange(4 * 4, dtype=np.float32).reshape(1, 4, 4)
    volume = Volume(series="1", pixels=ArrayPixels(array), affine=affine, modality="MR")
    study = Study(timepoints=(TimePoint(series=(volume,)),))
    rgb = {
        orientation: prepare_images(
            study, preprocess=Preprocess(image_size=4, image_tokens=1, orientation=orientation)
        ).pixels.rgb[0]
        for orientation in ("as-stored", "radiological")
    }
    assert rgb["as-stored"][0, 0, 0] == 0
    np.testing.assert_array_equal(rgb["radiological"], rgb["as-stored"][::-1, ::-1])
