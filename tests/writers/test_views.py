"""The picture shows what the network sees: right image, right place, right letters."""

from __future__ import annotations

import datetime as dt
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

from osler.prepare import PreparedImages, Preprocess, prepare_images
from osler.study import Affine, ArrayPixels, Box2D, FoundBox, Image, Study, TimePoint, Volume
from osler.writers.picture import EdgeLetters
from osler.writers.views import draw_answer, draw_view, view_tiles
from tests.writers.answers import least_answer

CONTRACT = Preprocess(image_size=32, image_tokens=4, sampling="equidistant")


def study() -> Study:
    """A CT of six slices, twice as wide as high in mm, and an X-ray without a place."""
    rng = np.random.default_rng(0)
    volume = Volume(
        series="1.2.3",
        pixels=ArrayPixels(rng.integers(-1000, 1000, (6, 20, 20)).astype(np.int16)),
        affine=Affine.from_parts(spacing=(2.0, 1.0, 3.0)),
        modality="CT",
        units="HU",
    )
    image = Image(series="x.png", pixels=ArrayPixels(rng.integers(0, 255, (20, 10), dtype=np.uint8)), modality="DX")
    return Study(timepoints=(TimePoint(series=(volume, image)),))


@pytest.fixture
def prepared() -> PreparedImages:
    return prepare_images(study(), preprocess=CONTRACT)


def test_each_tile_is_the_image_that_the_network_sees(prepared: PreparedImages) -> None:
    tiles = view_tiles(prepared, study=study())
    assert len(tiles) == 7
    for tile, rgb in zip(tiles, prepared.pixels.rgb, strict=True):
        np.testing.assert_array_equal(tile.pixels, rgb)
    assert [tile.caption for tile in tiles] == [f"CT slice {n} of 6" for n in range(1, 7)] + ["DX"]
    assert [tile.aspect for tile in tiles] == [2.0] * 6 + [0.5]
    assert tiles[0].letters == EdgeLetters(left="R", right="L", top="A", bottom="P")
    assert tiles[6].letters is None


def test_a_series_of_the_same_name_in_another_study_keeps_its_own_caption() -> None:
    def one(slices: int) -> TimePoint:
        voxels = np.random.default_rng(slices).integers(-1000, 1000, (slices, 20, 20)).astype(np.int16)
        affine = Affine.from_parts(spacing=(1.0, 1.0, 3.0))
        return TimePoint(
            series=(Volume(series="1.2", pixels=ArrayPixels(voxels), affine=affine, modality="CT", units="HU"),)
        )

    twice = Study(timepoints=(one(2), one(3)))
    tiles = view_tiles(prepare_images(twice, preprocess=CONTRACT), study=twice)
    assert [tile.caption for tile in tiles] == [
        *(f"study 1 slice {n} of 2" for n in (1, 2)),
        *(f"study 2 slice {n} of 3" for n in (1, 2, 3)),
    ]
    dated = replace(twice, timepoints=(replace(twice.timepoints[0], date=dt.date(2024, 5, 1)), twice.timepoints[1]))
    first, *_, last = view_tiles(prepare_images(dated, preprocess=CONTRACT), study=dated)
    assert (first.caption, last.caption) == ("2024-05-01: 1 of 2", "study 2 slice 3 of 3")


def test_a_box_is_drawn_on_its_slice_only(prepared: PreparedImages) -> None:
    box = FoundBox(label="node", series="1.2.3", score=0.5, slice=2, pixel=Box2D(x0=5, y0=10, x1=10, y1=20))
    tiles = view_tiles(prepared, study=study(), boxes=(box,))
    assert [len(tile.boxes) for tile in tiles] == [0, 0, 1, 0, 0, 0, 0]
    (label, drawn) = tiles[2].boxes[0]
    assert label == "node 50%"
    assert (drawn.x0, drawn.y0, drawn.x1, drawn.y1, drawn.frame) == (0.25, 0.5, 0.5, 1.0, "unit")


def test_a_box_without_a_slice_is_drawn_on_every_slice(prepared: PreparedImages) -> None:
    box = FoundBox(label="lung", series="1.2.3", score=1.0, pixel=Box2D(x0=0, y0=0, x1=5, y1=5))
    assert [len(tile.boxes) for tile in view_tiles(prepared, study=study(), boxes=(box,))] == [1] * 6 + [0]


def test_pictures_are_whole_files(prepared: PreparedImages) -> None:
    answer = draw_answer(prepared, study=study(), question="What is it?", answer=least_answer())
    view = draw_view(prepared, study=study(), model="osler-mini")
    for data in (answer, view):
        picture = Picture.open(io.BytesIO(data))
        picture.load()
        assert picture.format == "PNG"


def test_a_question_without_an_image_has_a_picture_too() -> None:
    empty = Study(timepoints=())
    data = draw_answer(prepare_images(empty, preprocess=CONTRACT), study=empty, question="Why?", answer=least_answer())
    assert Picture.open(io.BytesIO(data)).width >= 720
