"""Regions of slides are those of the library, whatever the level; broken files are said to be."""

from __future__ import annotations

import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import tiffslide
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from osler.errors import CapacityError, FileFormatError, OslerError, RequestError, UnsupportedError
from osler.readers import open_study
from osler.study import Slide
from osler.synth.histology.slide import write_slide
from osler.synth.histology.spec import SlideSpec, TumorPlace
from tests.readers import make_slide
from tests.shared_data import SHARED_DATA, needs_shared_data

PIXELS = make_slide.tissue_pixels(width=1501, height=1103, blobs=((0.3, 0.4, 0.2), (0.8, 0.6, 0.15)))
SVS = (SHARED_DATA or Path()) / "slides/cmu-1-small-region.svs"


def opened(path: Path) -> Slide:
    (slide,) = open_study(path).slides()
    return slide


@pytest.fixture(scope="module")
def pyramid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Slide, list[np.ndarray]]:
    path = tmp_path_factory.mktemp("slide") / "a.tif"
    made = make_slide.write_pyramid(path, PIXELS, levels=4)
    return opened(path), made


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_regions_are_the_pixels_written(pyramid: tuple[Slide, list[np.ndarray]], data: st.DataObject) -> None:
    slide, made = pyramid
    level = data.draw(st.integers(0, 3))
    height, width = made[level].shape[:2]
    x, y = data.draw(st.integers(-40, width + 20)), data.draw(st.integers(-40, height + 20))
    w, h = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    padded = np.pad(made[level], ((400, 400), (400, 400), (0, 0)), constant_values=255)
    expected = padded[y + 400 : y + 400 + h, x + 400 : x + 400 + w]
    expected = np.pad(expected, ((0, h - len(expected)), (0, w - expected.shape[1]), (0, 0)), constant_values=255)
    assert np.array_equal(slide.pixels.read_region(level=level, x=x, y=y, width=w, height=h), expected)


@pytest.mark.parametrize("write", [make_slide.write_svs, make_slide.write_ndpi, make_slide.write_pyramid])
def test_formats(tmp_path: Path, write) -> None:
    made = write(tmp_path / "a.tif", PIXELS)
    slide = opened(tmp_path / "a.tif")
    assert slide.spacing == pytest.approx((0.0005, 0.0005))
    assert slide.size == (1501, 1103)
    assert [(level.width, level.height) for level in slide.pixels.levels] == [one.shape[1::-1] for one in made]
    for index, level in enumerate(made):
        height, width = level.shape[:2]
        assert np.array_equal(slide.pixels.read_region(level=index, x=0, y=0, width=width, height=height), level)


def test_label_and_macro_are_no_levels(tmp_path: Path) -> None:
    for name, write in (("a.svs", make_slide.write_svs), ("b.tif", make_slide.write_ndpi)):
        write(tmp_path / name, PIXELS)
        study = open_study(tmp_path / name)
        assert len(list(study.series())) == 1
        slide = opened(tmp_path / name)
        for index, level in enumerate(slide.pixels.levels):
            pixels = slide.pixels.read_region(level=index, x=0, y=0, width=level.width, height=level.height)
            assert not (pixels == make_slide.MAGENTA).all(axis=-1).any()


def test_a_slide_travels_to_another_process(pyramid: tuple[Slide, list[np.ndarray]]) -> None:
    source = pyramid[0].pixels
    source.read_region(level=0, x=0, y=0, width=5, height=5)
    again = pickle.loads(pickle.dumps(source))
    assert again.levels == source.levels
    region = {"level": 1, "x": 100, "y": 90, "width": 50, "height": 40}
    assert np.array_equal(again.read_region(**region), source.read_region(**region))


def test_gray_is_shown_in_color_and_said(tmp_path: Path) -> None:
    gray = PIXELS[..., 1]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number in range(2):
            file.write(gray[:: number + 1, :: number + 1].copy(), tile=(256, 256), subfiletype=number, metadata=None)
    slide = opened(tmp_path / "a.tif")
    assert "A slide in gray: stains cannot be told apart." in slide.problems
    assert np.array_equal(
        slide.pixels.read_region(level=0, x=0, y=0, width=300, height=200),
        np.repeat(gray[:200, :300, None], 3, axis=2),
    )


@needs_shared_data
def test_the_real_slide_reads_as_the_library_reads_it() -> None:
    started = time.perf_counter()
    slide = opened(SVS)
    assert time.perf_counter() - started < 1
    assert slide.spacing == (0.000499, 0.000499)
    assert slide.magnification == 20
    assert slide.problems == ()
    with tiffslide.TiffSlide(SVS) as library:
        expected = library.read_region((700, 900), 0, (640, 480), as_array=True)
    assert np.array_equal(slide.pixels.read_region(level=0, x=700, y=900, width=640, height=480), expected)
    openslide = pytest.importorskip("openslide")
    with openslide.OpenSlide(SVS) as other:
        second = np.asarray(other.read_region((700, 900), 0, (640, 480)).convert("RGB"))
    assert np.abs(second.astype(int) - expected).max() <= 3  # two JPEG decoders


def test_synthetic_slides_read_to_the_same_pixels_and_boxes(tmp_path: Path) -> None:
    place = TumorPlace(center_mm=(0.35, 0.25), half_mm=(0.15, 0.1), pattern="colon-grade-3")
    spec = SlideSpec(organ="colon", key=3, width_mm=0.7, height_mm=0.5, tumors=(place,))
    truth = write_slide(tmp_path / "a.tif", spec=spec)
    slide = opened(tmp_path / "a.tif")
    assert slide.size == (truth.width, truth.height)
    assert slide.spacing == pytest.approx((truth.pixel_mm, truth.pixel_mm))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        whole = file.pages[0].asarray()
    read = slide.pixels.read_region(level=0, x=0, y=0, width=truth.width, height=truth.height)
    assert np.array_equal(read, whole)
    assert truth.tumor_boxes
    for box, mm in zip(truth.tumor_boxes, truth.tumor_boxes_mm, strict=True):
        found = slide.to_mm(box)
        assert found is not None
        assert (found.x0, found.y0, found.x1, found.y1) == pytest.approx(mm)


def within_5_seconds(path: Path, *, kind: type[Exception], match: str) -> None:
    started = time.perf_counter()
    with pytest.raises(kind, match=match):
        open_study(path)
    assert time.perf_counter() - started < 5


def test_any_damage_gives_an_error_of_ours_soon(tmp_path: Path) -> None:
    """Bytes of headers and tiles are overwritten at random."""
    small = make_slide.tissue_pixels(width=600, height=500, blobs=((0.5, 0.5, 0.3),))
    make_slide.write_svs(tmp_path / "a.svs", small)
    whole = (tmp_path / "a.svs").read_bytes()
    random = np.random.RandomState(7)
    outcomes = set()
    for _ in range(80):
        data = bytearray(whole)
        # Half of the hits go to the first directory and what it points to.
        for place in random.randint(0, random.choice([1200, len(data)]), 6):
            data[place] = random.randint(256)
        (tmp_path / "b.svs").write_bytes(data)
        started = time.perf_counter()
        try:
            for slide in open_study(tmp_path / "b.svs").slides():
                level = slide.pixels.levels[0]
                width, height = min(level.width, 600), min(level.height, 500)
                slide.pixels.read_region(level=0, x=0, y=0, width=width, height=height)
            outcomes.add("read")
        except OslerError as error:
            outcomes.add(type(error).__name__)
        assert time.perf_counter() - started < 5
    assert {"read", "FileFormatError"} <= outcomes


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_slide_is_truncated(tmp_path: Path, share: float) -> None:
    make_slide.write_pyramid(tmp_path / "a.tif", PIXELS, levels=3)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(data[: int(len(data) * share)])
    within_5_seconds(tmp_path / "a.tif", kind=FileFormatError, match=r"a\.tif is (truncated|a damaged picture)")


def patch_tag(path: Path, *, page: int, tag: int, value: int) -> None:
    """Overwrites the value of a tag in place."""
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[page].tags[tag].overwrite(value)


def test_an_absurd_size_is_said(tmp_path: Path) -> None:
    make_slide.write_svs(tmp_path / "a.svs", PIXELS)
    patch_tag(tmp_path / "a.svs", page=0, tag=256, value=60_000)
    within_5_seconds(tmp_path / "a.svs", kind=FileFormatError, match=r"needs 1,175 tiles, and the file lists 30")
    patch_tag(tmp_path / "a.svs", page=0, tag=256, value=4_000_000_000)
    within_5_seconds(tmp_path / "a.svs", kind=FileFormatError, match=r"says a slide of 4000000000 x 1103 px")


def test_tiles_beyond_the_end_are_truncated(tmp_path: Path) -> None:
    make_slide.write_pyramid(tmp_path / "a.tif", PIXELS)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        tag = file.pages[0].tags[324]
        tag.overwrite((*tag.value[:-1], 10**9))
    within_5_seconds(tmp_path / "a.tif", kind=FileFormatError, match=r"is truncated: 1,000,.* bytes of tiles")


def test_a_damaged_tile_is_said_when_it_is_read(tmp_path: Path) -> None:
    make_slide.write_pyramid(tmp_path / "a.tif", PIXELS)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offset = file.pages[0].dataoffsets[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[offset : offset + 40] = b"\xff" * 40
    (tmp_path / "a.tif").write_bytes(data)
    slide = opened(tmp_path / "a.tif")
    slide.pixels.read_region(level=0, x=600, y=600, width=50, height=50)
    with pytest.raises(FileFormatError, match=r"a\.tif is damaged: level 0 cannot be read at 0, 0"):
        slide.pixels.read_region(level=0, x=0, y=0, width=50, height=50)


def test_pixels_that_are_not_8_bit_color_are_refused(tmp_path: Path) -> None:
    deep = PIXELS.astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for number in range(2):
            file.write(
                deep[:: number + 1, :: number + 1].copy(), tile=(256, 256), photometric="rgb", subfiletype=number,
                metadata=None,
            )  # fmt: skip
    within_5_seconds(tmp_path / "a.tif", kind=UnsupportedError, match=r"slide of uint16 pixels.*8-bit color")


def test_one_huge_strip_is_refused(tmp_path: Path) -> None:
    """A level that is stored in one piece would have to be decoded whole for each region."""
    height, width = 13_000, 12_000
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(
            iter([b"\x00" * 100]), shape=(height, width, 3), dtype=np.uint8, photometric="rgb", rowsperstrip=height,
            compression="zlib", metadata=None,
        )  # fmt: skip
    within_5_seconds(tmp_path / "a.tif", kind=CapacityError, match=r"pieces of 446\.3 MiB.*vips tiffsave")


def test_requests_that_make_no_sense(pyramid: tuple[Slide, list[np.ndarray]]) -> None:
    source = pyramid[0].pixels
    with pytest.raises(RequestError, match=r"Level 4 of .*0 to 3"):
        source.read_region(level=4, x=0, y=0, width=1, height=1)
    with pytest.raises(RequestError, match="A region of 0 x 5 px"):
        source.read_region(level=0, x=0, y=0, width=0, height=5)
    with pytest.raises(CapacityError, match="A region of 100000 x 100000 px"):
        source.read_region(level=0, x=0, y=0, width=100_000, height=100_000)


_MEASURE = """
import resource, sys, time
from osler.readers import open_study
from osler.prepare import Preprocess, prepare_images
import tiffslide, zarr, PIL.Image
started = time.perf_counter()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
study = open_study(sys.argv[1])
opened = time.perf_counter() - started
contract = Preprocess(image_size=64, image_tokens=4, max_tiles=int(sys.argv[2]))
prepared = prepare_images(study, preprocess=contract)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(prepared.images), opened, (peak - before) / 1024)
"""


def write_big(path: Path, *, side: int) -> None:
    """A slide of one huge level: one stained tile and one of glass, each stored thousands of times."""
    import imagecodecs

    tile = 1024
    stained = make_slide.tissue_pixels(width=tile, height=tile, blobs=((0.5, 0.5, 0.45),))
    pieces = [imagecodecs.jpeg8_encode(pixels, level=50) for pixels in (np.full_like(stained, 244), stained)]
    count = -(-side // tile)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(
            (pieces[(row // 8 + column // 8) % 2] for row in range(count) for column in range(count)),
            shape=(side, side, 3), dtype=np.uint8, tile=(tile, tile), photometric="rgb", compression="jpeg",
            metadata=None, resolution=(20_000, 20_000), resolutionunit=3,
        )  # fmt: skip


def test_a_slide_of_10_gigabytes_of_pixels_never_sits_in_memory(tmp_path: Path) -> None:
    write_big(tmp_path / "big.tif", side=60_000)
    run = subprocess.run(
        [sys.executable, "-c", _MEASURE, tmp_path / "big.tif", "6"], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    count, seconds, megabytes = (float(word) for word in run.stdout.split())
    assert count == 6
    assert seconds < 3
    assert megabytes < 500  # 60,000 x 60,000 px are 10.8 GB
