"""The map of a slide shows each tile that the network sees, where it lies; label and macro are never drawn."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from osler.prepare import Preprocess, prepare_images
from osler.readers import open_study
from osler.study import Box2D, FoundBox
from osler.writers.tile_map import MOST_TILES, tile_caption, tile_maps, tiles_on_sheet
from osler.writers.views import draw_answer, draw_view, view_tiles
from tests.prepare.slides_in_memory import slide_of, stained_cells, study_of
from tests.readers import make_slide
from tests.writers.answers import least_answer

CONTRACT = Preprocess(image_size=32, image_tokens=4)


def test_each_tile_is_drawn_where_it_lies() -> None:
    mask = np.array([[True, False], [False, True], [True, True]])
    study = study_of(slide_of(stained_cells(mask, side=896), steps=(8,), microns=1.0))
    prepared = prepare_images(study, preprocess=CONTRACT)
    (lead,) = tile_maps(prepared, study=study)
    assert [label for label, _ in lead.boxes] == ["1", "2", "3", "4"]
    assert lead.boxes[1][1] == Box2D(x0=0.5, y0=1 / 3, x1=1, y1=2 / 3, frame="unit")
    assert lead.aspect == pytest.approx(2 / 3)
    assert lead.caption == "s: 1.8 x 2.7 mm, 4 tiles"
    for _, box in lead.boxes:
        height, width = lead.pixels.shape[:2]
        y0, y1, x0, x1 = (round(v) for v in (box.y0 * height, box.y1 * height, box.x0 * width, box.x1 * width))
        assert np.ptp(lead.pixels[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2].astype(int), axis=-1).min() > 20


def test_captions_say_where() -> None:
    slide = slide_of(stained_cells(np.array([[False, True]]), side=896), microns=1.0)
    (image,) = prepare_images(study_of(slide), preprocess=CONTRACT).images
    assert tile_caption(image) == "1: 0.90, 0.00 mm, 10x"
    silent = slide_of(stained_cells(np.array([[False, True]]), side=1792), microns=None)
    (image,) = prepare_images(study_of(silent), preprocess=CONTRACT).images
    assert tile_caption(image) == "1: 1792, 0 px, 10x"


def test_a_sheet_of_many_tiles_shows_some_and_says_so() -> None:
    study = study_of(slide_of(stained_cells(np.ones((6, 7), bool), side=896), steps=(8,), microns=1.0))
    prepared = prepare_images(study, preprocess=CONTRACT)
    (numbers,) = tiles_on_sheet(prepared).values()
    assert len(numbers) == MOST_TILES == len(view_tiles(prepared, study=study))
    assert {1, 42} <= numbers
    (lead,) = tile_maps(prepared, study=study)
    assert len(lead.boxes) == 42
    assert lead.caption.endswith("42 tiles; 30 of them below")


def test_boxes_of_an_answer_are_drawn_on_the_slide() -> None:
    study = study_of(slide_of(stained_cells(np.ones((2, 2), bool), side=896), steps=(8,), microns=1.0))
    prepared = prepare_images(study, preprocess=CONTRACT)
    box = FoundBox(label="tumor", series="s", score=0.9, pixel=Box2D(x0=0, y0=0, x1=896, y1=1792))
    (lead,) = tile_maps(prepared, study=study, boxes=(box,))
    assert lead.boxes[-1] == ("tumor", Box2D(x0=0, y0=0, x1=0.5, y1=1, frame="unit"))


def magenta(png: bytes) -> int:
    pixels = np.asarray(Picture.open(io.BytesIO(png)).convert("RGB")).astype(int)
    return int((np.abs(pixels - make_slide.MAGENTA).max(axis=-1) < 40).sum())


@pytest.mark.parametrize("write", [make_slide.write_svs, make_slide.write_ndpi, make_slide.write_dicom_slide])
@pytest.mark.parametrize("tiles", ["published", "spread"])
def test_label_and_macro_reach_neither_prompt_nor_picture(tmp_path: Path, write, tiles: str) -> None:
    pixels = make_slide.tissue_pixels(width=2000, height=1900, blobs=((0.4, 0.4, 0.3),))
    write(tmp_path / "slide", pixels)
    study = open_study(tmp_path / "slide")
    prepared = prepare_images(study, preprocess=Preprocess(image_size=64, image_tokens=4, tiles=tiles))
    assert len(prepared.series) == 1
    shown = prepared.pixels.rgb.astype(int)
    assert not (np.abs(shown - make_slide.MAGENTA).max(axis=-1) < 60).any()
    assert magenta(draw_view(prepared, study=study, model="m")) == 0
    assert magenta(draw_answer(prepared, study=study, question="q", answer=least_answer())) == 0
    planted = np.full((9, 9, 3), make_slide.MAGENTA, dtype=np.uint8)
    out = io.BytesIO()
    Picture.fromarray(planted).save(out, format="PNG")
    assert magenta(out.getvalue()) == 81  # the search finds what it is after
