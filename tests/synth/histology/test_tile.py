"""Tiles: consistent anywhere, deterministic, with counts and boxes that agree with the pixels."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from osler.errors import RequestError
from osler.synth.histology import ORGANS, PATTERNS, SlideSpec, Stain, TumorPlace, mask_boxes, render_tile
from osler.synth.histology.nuclei import KINDS


def spec(organ: str = "colon", *, key: int = 5, pattern: str = "", pixel_mm: float = 0.0005) -> SlideSpec:
    tumors = (TumorPlace(center_mm=(1.2, 1.0), half_mm=(0.5, 0.4), pattern=pattern, necrosis=0.2),) if pattern else ()
    return SlideSpec(organ=organ, key=key, pixel_mm=pixel_mm, tumors=tumors)


@settings(max_examples=8)
@given(
    organ=st.sampled_from(ORGANS),
    key=st.integers(0, 2**64 - 1),
    column=st.integers(-200, 4000),
    row=st.integers(-200, 4000),
    at=st.tuples(st.integers(0, 90), st.integers(0, 90)),
)
def test_a_pixel_is_the_same_in_every_tile(organ: str, key: int, column: int, row: int, at: tuple[int, int]) -> None:
    slide = spec(organ, key=key, pattern=next(name for name in PATTERNS if name.startswith(organ + "-g")))
    whole = render_tile(slide, column=column, row=row, width=160, height=160)
    part = render_tile(slide, column=column + at[0], row=row + at[1], width=70, height=70)
    inner = np.s_[at[1] : at[1] + 70, at[0] : at[0] + 70]
    assert np.array_equal(part.pixels, whole.pixels[inner])
    assert np.array_equal(part.tumor_mask, whole.tumor_mask[inner])


def test_the_counts_of_four_quarters_add_up() -> None:
    slide = spec("breast", pattern="breast-grade-3")
    whole = render_tile(slide, column=2100, row=1800, width=400, height=300)
    parts = [
        render_tile(slide, column=2100 + x, row=1800 + y, width=200, height=150) for x in (0, 200) for y in (0, 150)
    ]
    assert whole.counts == {kind: sum(part.counts[kind] for part in parts) for kind in KINDS}
    assert whole.counts["tumor"] > 20


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 0.95))
def test_boxes_enclose_their_mask_and_touch_it(seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((30, 40)) > share
    covered = np.zeros_like(mask)
    for box in mask_boxes(mask):
        inside = mask[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)]
        assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
        covered[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)] = True
    assert not (mask & ~covered).any()


def test_tumor_boxes_lie_on_the_tumor() -> None:
    slide = spec("lung", pattern="lung-grade-2")
    edge = render_tile(slide, column=1200, row=1900, width=512, height=256)
    assert len(edge.tumor_boxes) >= 1
    assert 0.1 < edge.tumor_mask.mean() < 0.9
    outside = render_tile(slide, column=300, row=300)
    assert outside.tumor_boxes == ()
    assert outside.counts["tumor"] == outside.counts["mitosis"] == 0


@pytest.mark.parametrize("name", [name for name in PATTERNS if "-g" in name])
def test_every_tumor_pattern_shows_its_cells(name: str) -> None:
    tile = render_tile(spec(name.split("-")[0], pattern=name), column=2200, row=1800, width=384, height=384)
    assert tile.counts["tumor"] > 15
    assert tile.pixels.std() > 20


def test_a_higher_grade_is_denser_and_divides_more() -> None:
    low, high = (
        render_tile(spec("breast", pattern=f"breast-grade-{grade}"), column=1900, row=1500, width=1000, height=1000)
        for grade in (1, 3)
    )
    assert high.counts["tumor"] > 1.3 * low.counts["tumor"]
    assert high.counts["mitosis"] > low.counts["mitosis"]
    assert high.pixels.mean() < low.pixels.mean()


def test_inflammation_adds_lymphocytes() -> None:
    calm = render_tile(SlideSpec(organ="colon", key=3), column=1500, row=1500, width=400)
    inflamed = render_tile(SlideSpec(organ="colon", key=3, inflammation=4), column=1500, row=1500, width=400)
    assert inflamed.counts["lymphocyte"] > 1.4 * calm.counts["lymphocyte"]
    assert inflamed.counts["epithelium"] >= 0.9 * calm.counts["epithelium"]


def test_glass_beside_the_section_is_white() -> None:
    tile = render_tile(spec(), column=-300, row=-300, width=200, height=200)
    assert tile.pixels.min() > 225
    assert sum(tile.counts.values()) == 0


def test_nuclei_are_drawn_where_they_are_counted() -> None:
    place = TumorPlace(center_mm=(1.2, 1.0), half_mm=(0.5, 0.4), pattern="colon-grade-3")
    slide = SlideSpec(organ="colon", key=5, tumors=(place,), stain=Stain())
    tile = render_tile(slide, column=2300, row=1900, width=300, height=300)
    dark = (tile.pixels[..., 0] < 150).mean()
    cells = sum(tile.counts.values())
    # 300 px are 150 µm; a nucleus of this grade covers 50 to 110 square µm.
    assert 40 < dark * 150 * 150 / cells < 120


def test_a_jpeg_is_near_the_pixels() -> None:
    tile = render_tile(spec(), column=1500, row=1500)
    back = np.asarray(Image.open(BytesIO(tile.jpeg(quality=90))))
    assert back.shape == tile.pixels.shape
    assert np.abs(back.astype(int) - tile.pixels).mean() < 6


@pytest.mark.parametrize(("size", "message"), [(0, "1 to 4096 px"), (5000, "A tile of 5000 x 256 px")])
def test_absurd_sizes_are_refused(size: int, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        render_tile(spec(), column=0, row=0, width=size)
