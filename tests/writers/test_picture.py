"""Pictures show each image where it belongs, the right way round."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osler.errors import RequestError
from osler.study import Affine, Box2D
from osler.writers.picture import EdgeLetters, Tile, check_picture, draw_sheet, edge_letters, encode_png, is_own_picture

_RED, _GREEN, _BLUE, _WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters() -> np.ndarray:
    """Red top left, green top right, blue bottom left, white bottom right."""
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:4, :4], pixels[:4, 4:], pixels[4:, :4], pixels[4:, 4:] = _RED, _GREEN, _BLUE, _WHITE
    return pixels


def extent(sheet: Image.Image, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """First and last column and row that have a color."""
    rows, columns = np.nonzero((np.asarray(sheet) == color).all(axis=-1))
    return columns.min(), columns.max(), rows.min(), rows.max()


def test_pixels_are_neither_mirrored_nor_turned() -> None:
    sheet = draw_sheet([Tile(pixels=quarters())], title="")
    red, green, blue = (extent(sheet, color) for color in (_RED, _GREEN, _BLUE))
    assert red[1] < green[0], "red is left of green"
    assert red[3] < blue[2], "red is above blue"


@pytest.mark.parametrize("aspect", [0.5, 1.0, 2.0])
def test_proportions_are_those_of_the_patient(aspect: float) -> None:
    flat = np.full((8, 8, 3), _RED, dtype=np.uint8)
    left, right, top, bottom = extent(draw_sheet([Tile(pixels=flat, aspect=aspect)], title=""), _RED)
    assert (right - left + 1) / (bottom - top + 1) == pytest.approx(aspect, rel=0.01)


def test_a_box_lies_where_its_fractions_say() -> None:
    black = np.zeros((8, 8), dtype=np.uint8)
    box = Box2D(x0=0.25, y0=0.5, x1=0.75, y1=1.0, frame="unit")
    plain = draw_sheet([Tile(pixels=black)], title="")
    boxed = draw_sheet([Tile(pixels=black, boxes=(("", box),))], title="")
    change = (np.asarray(plain) != np.asarray(boxed)).any(axis=-1)
    rows, columns = np.nonzero(change)
    left, right, top, bottom = extent(draw_sheet([Tile(pixels=np.full((8, 8, 3), _RED, np.uint8))], title=""), _RED)
    width, height = right - left + 1, bottom - top + 1
    assert (columns.min() - left) / width == pytest.approx(0.25, abs=0.01)
    assert (columns.max() - left) / width == pytest.approx(0.75, abs=0.01)
    assert (rows.min() - top) / height == pytest.approx(0.5, abs=0.01)
    assert (rows.max() - top) / height == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        (np.eye(3), EdgeLetters(left="R", right="L", top="A", bottom="P")),
        (np.diag([-1, 1, 1]), EdgeLetters(left="L", right="R", top="A", bottom="P")),
        # coronal: columns to the left, rows to the feet
        (np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]), EdgeLetters(left="R", right="L", top="H", bottom="F")),
        # sagittal: columns to posterior, rows to the feet
        (np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]]), EdgeLetters(left="A", right="P", top="H", bottom="F")),
    ],
)
def test_letters_name_the_side_that_each_edge_faces(direction: np.ndarray, letters: EdgeLetters) -> None:
    assert edge_letters(Affine.from_parts(direction=direction.astype(float))) == letters


@pytest.mark.parametrize("count", [0, 1, 2, 7, 31, 85])
def test_every_image_is_on_the_sheet(count: int) -> None:
    tiles = [Tile(pixels=np.full((4, 4, 3), (200, number, 255 - number), np.uint8)) for number in range(count)]
    sheet = np.asarray(draw_sheet(tiles, title="What is shown?", body="A scan.", footer="model"))
    for number in range(count):
        assert (sheet == (200, number, 255 - number)).all(axis=-1).any()


def test_long_and_odd_texts_stay_inside() -> None:
    tile = Tile(pixels=quarters(), caption="word" * 200)
    sheet = draw_sheet([tile], title="long " * 4000, body="x" * 5000 + "\x1b[2J", footer="心臓")
    assert sheet.width < 1000
    assert sheet.height < 4000


def test_only_own_pictures_are_known_as_own(tmp_path: Path) -> None:
    own, foreign, broken = tmp_path / "own.png", tmp_path / "foreign.png", tmp_path / "broken.png"
    data = encode_png(draw_sheet([Tile(pixels=quarters())], title="secret question"))
    own.write_bytes(data)
    Image.new("L", (2, 2)).save(foreign)
    broken.write_bytes(b"Software Osler")
    assert is_own_picture(own)
    assert not is_own_picture(foreign)
    assert not is_own_picture(broken)
    assert not is_own_picture(tmp_path)
    assert Image.open(io.BytesIO(data)).info == {"Software": "Osler"}


def test_a_picture_must_be_named_png_and_other_files_stay(tmp_path: Path) -> None:
    assert check_picture(tmp_path / "Page.PNG") == tmp_path / "Page.PNG"
    with pytest.raises(RequestError, match=r"'.*x\.txt' would not end in '\.png'.*Name it x\.png"):
        check_picture(tmp_path / "x.txt", replace="any")
    (tmp_path / "mine.png").write_text("mine")
    with pytest.raises(RequestError, match="exists, which Osler did not write"):
        check_picture(tmp_path / "mine.png")
    assert check_picture(tmp_path / "mine.png", replace="any") == tmp_path / "mine.png"
