from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.prepare import contact_sheet, edge_letters, prepare_images, tile_picture
from osler.prepare.view import _GAP, _MARGIN
from osler.study import Affine, Study


def test_letters_of_a_usual_axial_slice():
    letters = edge_letters(Affine.from_parts())
    assert (letters.left, letters.right, letters.top, letters.bottom) == ("R", "L", "A", "P")


def test_letters_of_a_mirrored_slice_are_mirrored():
    letters = edge_letters(Affine.from_parts(direction=np.diag([-1.0, 1.0, 1.0])))
    assert (letters.left, letters.right) == ("L", "R")


def test_letters_of_a_coronal_slice():
    direction = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    letters = edge_letters(Affine.from_parts(direction=direction))
    assert (letters.left, letters.right, letters.top, letters.bottom) == ("R", "L", "S", "I")


@given(axes=st.permutations(range(3)), signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))
def test_letters_agree_with_positions(axes, signs):
    """A point moved to the right edge moves to the side that the right letter names."""
    affine = Affine.from_parts(direction=np.eye(3)[list(axes)] * np.array(signs))
    letters = edge_letters(affine)
    sides = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    for letter, step in ((letters.right, (1, 0, 0)), (letters.left, (-1, 0, 0)), (letters.bottom, (0, 1, 0))):
        axis, sign = sides[letter]
        assert (affine.apply(step) - affine.apply((0, 0, 0)))[axis] == pytest.approx(sign)


def test_sheet_shows_the_pixels_of_every_image(make, contract):
    array = np.zeros((5, 64, 64), dtype=np.uint8)
    array[:] = np.array([20, 70, 120, 170, 220])[:, None, None]
    volume = make.volume(array, modality="MR", units="arbitrary")
    prepared = prepare_images(make.study(volume), preprocess=contract)
    sheet = np.asarray(contact_sheet(prepared, title="somewhere", columns=3, tile=64))
    top = _MARGIN + 36 + 56
    shown = [
        sheet[top + place // 3 * (64 + 22 + _GAP) + 20, _MARGIN + place % 3 * (64 + _GAP) + 20].tolist()
        for place in range(5)
    ]
    assert shown == [[value] * 3 for value in (0, 64, 128, 191, 255)]


def test_sheet_marks_sides_only_where_they_are_known(make, contract):
    grey = np.zeros((64, 64), dtype=np.uint8)
    known = prepare_images(make.study(make.volume(np.stack([grey] * 5))), preprocess=contract)
    unknown = prepare_images(make.study(make.image(grey)), preprocess=contract)
    yellow = (255, 214, 90)
    assert (np.asarray(tile_picture(known, index=4)) == yellow).all(axis=-1).any()
    assert not (np.asarray(tile_picture(unknown, index=0)) == yellow).all(axis=-1).any()


@pytest.mark.parametrize("count", [1, 4, 30, 85])
def test_sheet_has_a_reasonable_size(make, contract, count):
    volume = make.volume(make.ct_pixels(slices=count, rows=16, columns=16))
    sheet = contact_sheet(prepare_images(make.study(volume), preprocess=contract), title="x" * 500)
    assert 560 <= sheet.width <= 1700
    assert sheet.height <= 2000


def test_nothing_to_draw_is_refused(contract, make):
    empty = prepare_images(Study(timepoints=()), preprocess=contract)
    with pytest.raises(RequestError, match="no image to draw"):
        contact_sheet(empty)
    one = prepare_images(make.study(make.image(make.xray_pixels())), preprocess=contract)
    with pytest.raises(RequestError, match=r"Image 1 was asked for\. 0 to 0"):
        tile_picture(one, index=1)
