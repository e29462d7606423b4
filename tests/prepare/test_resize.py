from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import GeometryError
from osler.prepare.resize import fit, pixel_map
from osler.study import Box2D

sides = st.integers(1, 700)
aspects = st.sampled_from(["stretch", "pad-square"])


def stretch(rgb: np.ndarray, size: int) -> np.ndarray:
    return fit(rgb, plan=pixel_map(width=rgb.shape[1], height=rgb.shape[0], image_size=size, aspect="stretch"))


def test_padding_is_centered_zeros_with_the_smaller_half_before():
    plan = pixel_map(width=3, height=6, image_size=6, aspect="pad-square")
    assert (plan.left, plan.top, plan.padded_width) == (1, 0, 6)
    out = fit(np.full((6, 3, 3), 200, dtype=np.uint8), plan=plan)
    assert out[0, :, 0].tolist() == [0, 200, 200, 200, 0, 0]


def test_fit_fills_the_given_array():
    plan = pixel_map(width=5, height=4, image_size=8, aspect="stretch")
    rgb = np.random.RandomState(0).randint(0, 256, (4, 5, 3)).astype(np.uint8)
    out = np.zeros((8, 8, 3), dtype=np.uint8)
    assert fit(rgb, plan=plan, out=out) is out
    np.testing.assert_array_equal(out, fit(rgb, plan=plan))


@pytest.mark.parametrize("size", [16, 64, 112])
@pytest.mark.parametrize("shape", [(64, 64), (64, 50), (31, 77)])
def test_mirrored_image_gives_mirrored_pixels(shape, size):
    rgb = np.random.RandomState(1).randint(0, 256, (*shape, 3)).astype(np.uint8)
    plain, mirrored = stretch(rgb, size), stretch(rgb[:, ::-1], size)
    # One grey level: the filter's weights are rounded to fixed point, not quite alike at both ends.
    assert np.abs(plain[:, ::-1].astype(int) - mirrored.astype(int)).max() <= 1


def test_a_stroke_on_the_left_stays_on_the_left():
    rgb = np.zeros((40, 60, 3), dtype=np.uint8)
    rgb[:, :10] = 255
    out = stretch(rgb, 32)
    assert out[:, :4].min() == 255
    assert out[:, 8:].max() == 0


@given(width=sides, height=sides, size=st.integers(8, 900), aspect=aspects, data=st.data())
def test_boxes_come_back_from_the_network(width, height, size, aspect, data):
    plan = pixel_map(width=width, height=height, image_size=size, aspect=aspect)
    x0, x1 = sorted(data.draw(st.tuples(st.floats(0, width), st.floats(0, width))))
    y0, y1 = sorted(data.draw(st.tuples(st.floats(0, height), st.floats(0, height))))
    box = Box2D(x0=x0, y0=y0, x1=x1, y1=y1)
    inside = plan.to_model(box)
    assert 0 <= inside.x0 <= inside.x1 <= size + 1e-9
    assert 0 <= inside.y0 <= inside.y1 <= size + 1e-9
    back = plan.to_file(inside)
    assert (back.x0, back.y0, back.x1, back.y1) == pytest.approx((x0, y0, x1, y1), abs=1e-6)


@given(width=sides, height=sides, aspect=aspects)
def test_box_of_the_whole_square_is_the_whole_image(width, height, aspect):
    plan = pixel_map(width=width, height=height, image_size=896, aspect=aspect)
    back = plan.to_file(Box2D(x0=0, y0=0, x1=896, y1=896))
    assert (back.x0, back.y0, back.x1, back.y1) == pytest.approx((0, 0, width, height))


@pytest.mark.parametrize("aspect", ["stretch", "pad-square"])
def test_a_bright_block_lies_where_its_box_says(aspect):
    rgb = np.zeros((90, 60, 3), dtype=np.uint8)
    rgb[30:60, 10:40] = 255
    plan = pixel_map(width=60, height=90, image_size=180, aspect=aspect)
    box = plan.to_model(Box2D(x0=10, y0=30, x1=40, y1=60))
    rows, columns = np.nonzero(fit(rgb, plan=plan)[..., 0] > 127)
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert found == pytest.approx((box.x0, box.y0, box.x1, box.y1), abs=1)


def test_unit_boxes_are_refused():
    plan = pixel_map(width=2, height=2, image_size=2, aspect="stretch")
    with pytest.raises(GeometryError, match="'unit' box where pixels are needed"):
        plan.to_model(Box2D(x0=0, y0=0, x1=1, y1=1, frame="unit"))


def test_torchvision_backend_differs_by_one_grey_level_at_most():
    """The other backend of the reference resizes uint8 tensors with this function."""
    torch = pytest.importorskip("torch")
    rgb = np.random.RandomState(3).randint(0, 256, (300, 256, 3)).astype(np.uint8)
    tensor = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    other = torch.nn.functional.interpolate(tensor, size=(896, 896), mode="bilinear", antialias=True)
    difference = np.abs(other[0].permute(1, 2, 0).numpy().astype(int) - stretch(rgb, 896))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.1
