"""Sizes that no slide has are refused before memory is spent."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from osler.errors import CapacityError, FileFormatError
from osler.readers.slide_region import check_levels, check_piece, quiet, read_inside
from osler.study import SlideLevel


@pytest.mark.parametrize(("width", "height"), [(0, 5), (9_000_000, 1), (2_000_000, 2_000_000)])
def test_absurd_levels(width: int, height: int) -> None:
    with pytest.raises(FileFormatError, match=f"a slide of {width} x {height} px"):
        check_levels("a.svs", levels=(SlideLevel(width=width, height=height, downsample=1.0),))


def test_a_large_slide_is_fine() -> None:
    check_levels("a.svs", levels=(SlideLevel(width=400_000, height=250_000, downsample=1.0),))
    with pytest.raises(FileFormatError, match="a slide of 0 x 0 px"):
        check_levels("a.svs", levels=())


def test_pieces() -> None:
    check_piece("a.svs", need=2**28)
    with pytest.raises(CapacityError, match=r"a\.svs is stored in pieces of 1\.0 GiB"):
        check_piece("a.svs", need=2**30)


def test_what_a_library_raises_becomes_one_error() -> None:
    def broken(x: int, y: int, width: int, height: int) -> np.ndarray:
        raise RuntimeError("Patient DOE")

    level = SlideLevel(width=10, height=10, downsample=1.0)
    with pytest.raises(
        FileFormatError, match=r"a\.svs is damaged: level 0 cannot be read at 0, 2 \(RuntimeError\)"
    ) as e:
        read_inside((level,), level=0, x=-3, y=2, width=5, height=5, read=broken, name="a.svs")
    assert "DOE" not in str(e.value)


def test_outside_the_slide_nothing_is_read() -> None:
    level = SlideLevel(width=10, height=10, downsample=1.0)
    pixels = read_inside((level,), level=0, x=20, y=-9, width=4, height=3, read=lambda *_: 1 / 0, name="a")
    assert pixels.shape == (3, 4, 3)
    assert (pixels == 255).all()


def test_libraries_do_not_write_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    quiet("osler-test-library")
    quiet("osler-test-library")
    logger = logging.getLogger("osler-test-library")
    logger.propagate = False
    logger.error("name of the patient")
    assert capsys.readouterr().err == ""
    assert len(logger.handlers) == 1
