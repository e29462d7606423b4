from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.study import Affine, ArrayPixels, Image, Volume, Window


@given(center=st.floats(-2000, 4000), width=st.floats(2, 5000), stored=st.integers(-3000, 6000))
def test_center_and_width_is_the_linear_function_of_dicom(center, width, stored):
    """PS3.3 C.11.2.1.2.1, with an output from 0 to 255."""
    window = Window.from_center_width(center=center, width=width)
    if stored <= center - 0.5 - (width - 1) / 2:
        expected = 0.0
    elif stored > center - 0.5 + (width - 1) / 2:
        expected = 255.0
    else:
        expected = ((stored - (center - 0.5)) / (width - 1) + 0.5) * 255
    assert window.apply(np.array(stored))[()] == pytest.approx(expected, abs=0.05)


def test_width_of_one_is_a_threshold():
    """PS3.3: with width 1, all up to center - 0.5 is black and all above is white."""
    window = Window.from_center_width(center=100, width=1)
    assert window.apply(np.array([99, 100])).tolist() == [0, 255]


@pytest.mark.parametrize(("low", "high"), [(3, 3), (4, 1), (0, float("nan"))])
def test_windows_without_extent_are_refused(low, high):
    with pytest.raises(RequestError, match="high end must be above the low end"):
        Window(low=low, high=high)


def test_window_does_not_change_its_input():
    pixels = np.array([-5.0, 5.0], dtype=np.float32)
    Window(low=0, high=1).apply(pixels)
    assert pixels.tolist() == [-5, 5]


@pytest.mark.parametrize("shape", [(4, 3, 2), (4, 3, 2, 3)])
def test_volume_reads_all_or_named_slices_in_the_order_given(shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    volume = Volume(series="1", pixels=ArrayPixels(array), affine=Affine.from_parts(spacing=(1, 2, 3)), modality="MR")
    assert volume.shape == (4, 3, 2)
    assert volume.spacing == (1, 2, 3)
    assert volume.plane == "axial"
    np.testing.assert_array_equal(volume.read(), array)
    np.testing.assert_array_equal(volume.read(slices=[2, 0]), array[[2, 0]])


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
def test_image_size_is_width_then_height(shape):
    image = Image(series="1", pixels=ArrayPixels(np.zeros(shape)))
    assert image.size == (5, 3)
    assert image.read().shape == shape
