"""A slide among the images of a request: pixels, places and words."""

from __future__ import annotations

import numpy as np
import pytest

from osler.prepare import Preprocess, prepare_images, prepare_inputs
from osler.prepare.slides import read_tile
from osler.prepare.tiles import Tile
from osler.study import Box2D, Study, TimePoint
from tests.prepare.slides_in_memory import slide_of, stained_cells, study_of

CONTRACT = Preprocess(image_size=896, image_tokens=4, tiles="published", prompt="published")


def two_patches() -> np.ndarray:
    """A slide of 3 x 1 patches at 10x: noise, glass, noise."""
    pixels = np.full((900, 2700, 3), 244, dtype=np.uint8)
    noise = np.random.RandomState(0).randint(60, 200, (900, 896, 3))
    pixels[:, :896] = noise
    pixels[:, 1792:2688] = noise[::-1]
    return pixels


def test_published_patches_reach_the_network_untouched() -> None:
    pixels = two_patches()
    prepared = prepare_images(study_of(slide_of(pixels, microns=1.0)), preprocess=CONTRACT)
    assert len(prepared.images) == 2
    assert np.array_equal(prepared.pixels.rgb[0], pixels[:896, :896])
    assert np.array_equal(prepared.pixels.rgb[1], pixels[:896, 1792:2688])


def test_places_in_pixels_and_mm() -> None:
    prepared = prepare_images(study_of(slide_of(two_patches(), microns=1.0)), preprocess=CONTRACT)
    tile = prepared.images[1].tile
    assert tile is not None
    assert tile.pixel == Box2D(x0=1792, y0=0, x1=2688, y1=896)
    assert tile.mm == Box2D(x0=1.792, y0=0, x1=2.688, y1=0.896, frame="slide")
    assert (tile.number, tile.level, tile.magnification) == (2, 0, 10.0)


@pytest.mark.parametrize("size", [896, 256])
def test_boxes_go_to_the_slide_and_back(size: int) -> None:
    contract = Preprocess(image_size=size, image_tokens=4)
    slide = slide_of(two_patches().repeat(2, axis=0).repeat(2, axis=1), steps=(16,), microns=0.5)
    image = prepare_images(study_of(slide), preprocess=contract).images[1]
    box = Box2D(x0=size * 0.25, y0=size * 0.5, x1=size * 0.5, y1=size)
    on_slide = image.to_file(box)
    assert (on_slide.x0, on_slide.y0, on_slide.x1, on_slide.y1) == (3584 + 448, 896, 3584 + 896, 1792)
    back = image.to_model(on_slide)
    assert (back.x0, back.y0, back.x1, back.y1) == pytest.approx((box.x0, box.y0, box.x1, box.y1))


def test_what_is_used_and_left_out_is_said() -> None:
    contract = Preprocess(image_size=64, image_tokens=4, max_tiles=5)
    mask = np.ones((4, 3), bool)
    slide = slide_of(stained_cells(mask, side=896), steps=(8,), microns=1.0)
    prepared = prepare_images(study_of(slide), preprocess=contract)
    (used,) = prepared.used
    assert used.view == "5 of 12 tissue tiles at 10x (published)"
    assert (used.of, used.tokens, used.modality) == (12, 20, "SM")
    (left,) = prepared.left_out
    assert (left.count, left.why) == (7, "5 of 12 tiles with tissue are shown, chosen over the whole slide")
    own = Preprocess(image_size=64, image_tokens=4, max_tiles=5, tiles="spread")
    (used,) = prepare_images(study_of(slide), preprocess=own).used
    assert used.view == "2 of 2 tissue tiles at 5x, and 3 at 10x (spread)"


def test_slides_and_other_series_share_the_budget(make) -> None:
    contract = Preprocess(image_size=32, image_tokens=4, max_slices=10, max_tiles=14)
    slides = [slide_of(stained_cells(np.ones((5, 5), bool), side=896), steps=(8,), microns=1.0, name=n) for n in "ab"]
    volume = make.volume(make.ct_pixels(slices=20))
    study = Study(timepoints=(TimePoint(series=(volume, *slides)),))
    prepared = prepare_images(study, preprocess=contract)
    assert [len(used.slices) for used in prepared.used] == [10, 0]
    assert sum(image.tile is not None for image in prepared.images) == 4
    assert any("a prompt holds at most 14 images" in entry.why for entry in prepared.left_out)


def test_without_a_pixel_size_there_are_no_mm() -> None:
    slide = slide_of(two_patches(), microns=None)
    prepared = prepare_images(study_of(slide), preprocess=Preprocess(image_size=64, image_tokens=4))
    assert all(image.tile is not None and image.tile.mm is None for image in prepared.images)
    assert any("Tiles are taken as if a pixel were 0.5 microns." in warning for warning in prepared.warnings)


def test_a_prompt_shows_the_tiles_and_then_asks(tokenizer, tokens) -> None:
    inputs = prepare_inputs(
        study_of(slide_of(two_patches(), microns=1.0)), "What tissue is it?", preprocess=CONTRACT, tokenizer=tokenizer,
        tokens=tokens,
    )  # fmt: skip
    ids = inputs.token_ids
    assert (ids == tokens.image).sum() == 8
    text = tokenizer.decode([int(token) for token in ids if token != tokens.image])
    assert "SLICE" not in text
    assert text.index("<end_of_image>") < text.index("What tissue is it?")


@pytest.mark.parametrize(
    ("question", "warning"),
    [
        ("What does this CT show?", "speaks of CT, but the data is pathology."),
        (
            "How many HU has it?",
            "speaks of Hounsfield units, which pathology does not have: only CT is measured in them.",
        ),
    ],
)
def test_a_question_that_does_not_fit_a_slide(question: str, warning: str, tokenizer, tokens) -> None:
    study = study_of(slide_of(two_patches(), microns=1.0))
    inputs = prepare_inputs(study, question, preprocess=CONTRACT, tokenizer=tokenizer, tokens=tokens)
    assert f"The question {warning}" in inputs.warnings


def test_a_very_large_tile_is_averaged_band_by_band() -> None:
    array = np.random.RandomState(1).randint(0, 256, (5376, 5376, 1)).astype(np.uint8).repeat(3, axis=2)
    slide = slide_of(array, microns=0.5)
    tile = Tile(level=0, x=0, y=0, side=5376, downsample=(1.0, 1.0), magnification=2.0)
    pixels = read_tile(slide, tile)
    assert pixels.shape == (896, 896, 3)
    expected = array.reshape(896, 6, 896, 6, 3).mean(axis=(1, 3))
    assert np.abs(pixels - expected).max() <= 1
    assert max(slide.pixels.reads) <= 4096**2


def test_no_images_for_a_text_model() -> None:
    with pytest.raises(Exception, match="reads text only"):
        prepare_images(study_of(slide_of(two_patches())), preprocess=Preprocess(image_size=0, image_tokens=0))
