"""The published text of boxes, there and back, for any image and any way of storing it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.prepare import ShownImage
from osler.prepare.orientation import radiological
from osler.prepare.resize import pixel_map
from osler.study import Affine, Box2D
from osler.tasks.box_text import (
    BOX_SCALE,
    TextBox,
    box_prompt,
    check_labels,
    from_square,
    read_box_text,
    same_label,
    to_square,
    write_box_text,
)


@st.composite
def oriented(draw: st.DrawFn) -> Affine:
    """Any of the 48 ways to store a volume, with uneven spacing and a place."""
    order = draw(st.permutations([0, 1, 2]))
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for axis, place in enumerate(order):
        matrix[place, axis] = draw(st.sampled_from([-1, 1])) * draw(st.sampled_from([0.5, 1.0, 3.25]))
    matrix[:3, 3] = draw(st.tuples(*[st.integers(-200, 200)] * 3))
    return Affine(matrix)


@st.composite
def shown(draw: st.DrawFn) -> ShownImage:
    """An image of any size, padded to the square of any network, in any orientation or without a place."""
    affine = draw(st.none() | oriented())
    plan = pixel_map(
        width=draw(st.integers(4, 700)),
        height=draw(st.integers(4, 700)),
        image_size=draw(st.sampled_from([32, 256, 896])),
        aspect="pad-square",
        turn=radiological(affine),
    )
    return ShownImage(
        series="s", modality="CT", timepoint=0, slice=3, number=4, origin=None, pixel_map=plan, affine=affine
    )


@given(shown(), st.tuples(*[st.floats(0, 1)] * 4))
def test_a_box_survives_text_and_square(image: ShownImage, edges: tuple[float, ...]) -> None:
    width, height = image.size
    x0, x1 = sorted((edges[0] * width, edges[1] * width))
    y0, y1 = sorted((edges[2] * height, edges[3] * height))
    side = max(width, height)
    assume(x1 - x0 > side / BOX_SCALE * 2 and y1 - y0 > side / BOX_SCALE * 2)
    box = Box2D(x0=x0, y0=y0, x1=x1, y1=y1)
    written = write_box_text([TextBox(label="liver", box=to_square(box, image=image))])
    (read,) = read_box_text(written).boxes
    pixel, patient = from_square(read.box, image=image)
    rounding = side / BOX_SCALE / 2 + 1e-6
    for edge in ("x0", "y0", "x1", "y1"):
        assert abs(getattr(pixel, edge) - getattr(box, edge)) <= rounding
    if image.affine is None:
        assert patient is None
        return
    truth = box.to_box3d(affine=image.affine, slice_index=3)
    allowed = rounding * max(image.affine.spacing) + 1e-6
    assert np.allclose(patient.low, truth.low, atol=allowed)
    assert np.allclose(patient.high, truth.high, atol=allowed)


@given(st.integers(4, 600), st.integers(4, 600), st.tuples(*[st.integers(0, BOX_SCALE)] * 4))
def test_a_mirrored_box_on_a_mirrored_image_is_the_mirrored_box(
    width: int, height: int, edges: tuple[int, ...]
) -> None:
    assume((max(width, height) - width) % 2 == 0)  # odd padding has one column more behind
    plan = pixel_map(width=width, height=height, image_size=896, aspect="pad-square")
    image = ShownImage(
        series="s", modality="CR", timepoint=0, slice=None, number=None, origin=None, pixel_map=plan, affine=None
    )
    (x0, x1), (y0, y1) = sorted(edges[:2]), sorted(edges[2:])
    unit = Box2D(x0=x0 / BOX_SCALE, y0=y0 / BOX_SCALE, x1=x1 / BOX_SCALE, y1=y1 / BOX_SCALE, frame="unit")
    plain, _ = from_square(unit, image=image)
    turned, _ = from_square(unit.mirrored(width=1), image=image)
    expected = plain.mirrored(width=width)
    assert np.allclose([turned.x0, turned.x1], [expected.x0, expected.x1])


def test_padding_of_the_notebook_is_taken_off() -> None:
    plan = pixel_map(width=200, height=101, image_size=896, aspect="pad-square")  # 49 rows above, 50 below
    image = ShownImage(
        series="s", modality="CR", timepoint=0, slice=None, number=None, origin=None, pixel_map=plan, affine=None
    )
    text = 'Final Answer: ```json[{"box_2d": [245, 0, 750, 500], "label": "right clavicle"}]```'
    (read,) = read_box_text(text).boxes
    pixel, _ = from_square(read.box, image=image)
    assert (pixel.x0, pixel.y0, pixel.x1, pixel.y1) == pytest.approx((0, 0, 100, 101))


def test_the_last_list_counts_and_both_scales_are_read() -> None:
    text = (
        'First I thought [{"box_2d": [1, 2, 3, 4], "label": "wrong"}]. <b>Final Answer:</b> ```json\n'
        '[{"box_2d": [0.1, 0.2, 0.3, 0.45], "label": "heart"}]\n```'
    )
    (read,) = read_box_text(text).boxes
    assert read == TextBox(label="heart", box=Box2D(x0=0.2, y0=0.1, x1=0.45, y1=0.3, frame="unit"))
    (tiny,) = read_box_text('[{"box_2d": [0, 0, 1, 1], "label": "dot"}]').boxes
    assert tiny.box.x1 == 1 / BOX_SCALE


def test_no_box_is_an_answer() -> None:
    assert read_box_text("Final Answer: ```json[]```").boxes == ()
    assert read_box_text("Final Answer: ```json[]```").problem == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no JSON list"),
        ("The heart is in the middle.", "no JSON list"),
        ('Final Answer: [{"box_2d": [1, 2, 3, 4], "label": "cut', "no JSON list"),
        ("[" * 5000, "no JSON list"),
        ('[{"box_2d": [1, 2, 3], "label": "x"}]', "not four numbers"),
        ('[{"box_2d": [1, 2, 3, "4"], "label": "x"}]', "not four numbers"),
        ('[{"box_2d": [true, 2, 3, 4], "label": "x"}]', "not four numbers"),
        ('[{"box_2d": [1, 2, NaN, 4], "label": "x"}]', "not four numbers"),
        ('[{"label": "x"}]', "not four numbers"),
        ('[{"box_2d": [1, 2, 3, 4]}]', "no label"),
        ('[{"box_2d": [1, 2, 3, 1004], "label": "x"}]', "outside 0 to 1000"),
        ('[{"box_2d": [-1, 2, 3, 4], "label": "x"}]', "outside 0 to 1000"),
        ('[{"box_2d": [30, 2, 3, 4], "label": "x"}]', "ends before it begins"),
        ('[{"box_2d": [1, 4, 3, 4], "label": "x"}]', "ends before it begins"),
        ('[{"box_2d": [1, 2, 3, 4], "label": "x"}, {"box_2d": [9, 2, 3, 4], "label": "x"}]', "ends before it begins"),
    ],
)
def test_malformed_text_gives_no_box(text: str, problem: str) -> None:
    read = read_box_text(text)
    assert read.boxes == ()
    assert problem in read.problem


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    read = read_box_text(text)
    assert not (read.boxes and read.problem)


def test_left_and_right_are_never_the_same_label() -> None:
    assert same_label("Right_Lung", " right  lung")
    assert not same_label("left lung", "right lung")


def test_labels_are_tidied_and_checked() -> None:
    assert check_labels([" right  lung", "right lung", "heart"]) == ("right lung", "heart")
    assert "Where is the right lung? Don't" in box_prompt("right lung")
    for labels in ([], [" "], ["heart", ""]):
        with pytest.raises(RequestError, match="no label, or an empty one"):
            check_labels(labels)
    with pytest.raises(RequestError, match="A label of 300 characters"):
        check_labels(["x" * 300])


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(RequestError, match="A box in pixels"):
        write_box_text([TextBox(label="x", box=Box2D(x0=1, y0=1, x1=5, y1=5))])
    with pytest.raises(RequestError, match="thinner than a thousandth"):
        write_box_text([TextBox(label="x", box=Box2D(x0=0.1, y0=0.1, x1=0.1001, y1=0.5, frame="unit"))])
    plan = pixel_map(width=20, height=10, image_size=32, aspect="stretch")
    image = ShownImage(
        series="s", modality="CR", timepoint=0, slice=None, number=None, origin=None, pixel_map=plan, affine=None
    )
    with pytest.raises(RequestError, match="stretched to the square"):
        to_square(Box2D(x0=1, y0=1, x1=5, y1=5), image=image)
    square = dataclasses.replace(image, pixel_map=pixel_map(width=20, height=10, image_size=32, aspect="pad-square"))
    assert to_square(Box2D(x0=0, y0=0, x1=20, y1=10), image=square).y0 == 0.25
