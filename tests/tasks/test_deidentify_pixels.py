"""Text burned into pixels is blanked in every frame; every other pixel is bit-equal."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.pixels import pixel_array
from pydicom.uid import JPEG2000Lossless, RLELossless

from osler.tasks.burned_in_text import TextFinder, to_picture, views
from osler.tasks.deidentify import DeidentifyRequest, DeidentifyRun, FileResult, deidentify
from osler.tasks.deidentify_pixels import cut_trailing
from tests.tasks import planted as p

pytest.importorskip("rapidocr")
TEXT = "QUELLWASSER 24.12.1961"


@pytest.fixture(scope="module")
def finder() -> TextFinder:
    return TextFinder()


def run(source: Path, out: Path, *, pixels: str = "likely") -> DeidentifyRun:
    return deidentify(DeidentifyRequest(source=source, out=out, pixels=pixels))  # type: ignore[arg-type]


def only(result: DeidentifyRun) -> FileResult:
    (file,) = result.files
    assert file.status == "written", file.why
    return file


def require_blanked(before: np.ndarray, after: np.ndarray, *, finder: TextFinder, share: float = 0.35) -> None:
    """No text is found any more, and what was changed is a small rectangle or two around the text."""
    assert before.shape == after.shape
    assert before.dtype == after.dtype
    changed = before != after
    changed = changed.any(axis=-1) if changed.shape[-1] == 3 else changed
    assert changed.any()
    assert changed.mean() < share
    frames = after if after.ndim > 3 or (after.ndim == 3 and after.shape[-1] != 3) else after[None]
    for view in itertools.islice(views(frames), 2):
        assert [region for region in finder.find(view) if region.characters > 1] == []


@pytest.mark.slow
def test_text_in_one_frame_is_blanked_in_all(tmp_path: Path, finder: TextFinder) -> None:
    frames = np.stack([p.written_on("", color=True)] * 6)
    frames[4] = p.written_on(TEXT, color=True)
    ds = p.planted(pixels=frames[0], modality="US")
    ds.NumberOfFrames, ds.PixelData = 6, frames.tobytes()
    p.save(ds, tmp_path / "in" / "1.dcm")
    file = only(run(tmp_path / "in", tmp_path / "out"))
    assert file.regions >= 1
    (after,) = p.read_back(tmp_path / "out")
    assert after.BurnedInAnnotation == "NO"
    assert "113101" in [code.CodeValue for code in after.DeidentificationMethodCodeSequence]
    require_blanked(frames, after.pixel_array, finder=finder)
    changed = (after.pixel_array != frames).any(axis=-1)
    assert changed[0].any()
    assert (after.pixel_array[:, 20:40, 30:120] == 0).all()


@pytest.mark.slow
def test_lossy_color_is_encoded_again_without_loss(tmp_path: Path, finder: TextFinder) -> None:
    frames = np.stack([p.written_on(TEXT, color=True)] * 2)
    ds = p.jpeg_compressed(p.planted(pixels=frames[0], modality="US"), frames=frames)
    place = p.save(ds, tmp_path / "in" / "1.dcm")
    file = only(run(tmp_path / "in", tmp_path / "out"))
    assert any("without loss" in note for note in file.notes)
    (after,) = p.read_back(tmp_path / "out")
    assert after.file_meta.TransferSyntaxUID == JPEG2000Lossless
    assert after.PhotometricInterpretation == "RGB"
    require_blanked(pixel_array(place), pixel_array(after), finder=finder)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless], ids=["rle", "jpeg2000"])
def test_lossless_files_keep_their_encoding(tmp_path: Path, finder: TextFinder, syntax: str) -> None:
    values = p.written_on(TEXT).astype(np.uint16) * 16
    ds = p.planted(pixels=values, modality="XA")
    ds.BitsStored, ds.HighBit = 12, 11
    cut_trailing(ds)
    ds.compress(syntax, generate_instance_uid=False)
    p.save(ds, tmp_path / "in" / "1.dcm")
    only(run(tmp_path / "in", tmp_path / "out"))
    (after,) = p.read_back(tmp_path / "out")
    assert after.file_meta.TransferSyntaxUID == syntax
    require_blanked(values, after.pixel_array, finder=finder)


def test_a_side_marker_stays_and_monochrome1_is_blanked_black(tmp_path: Path) -> None:
    picture = Image.fromarray(p.written_on(TEXT))
    marked = np.maximum(np.asarray(picture), p.written_on("LEFT", at=(260, 150)))
    values = (255 - marked).astype(np.uint16) * 4
    ds = p.planted(pixels=values, modality="CR")
    ds.PhotometricInterpretation, ds.BitsStored, ds.HighBit = "MONOCHROME1", 10, 9
    p.save(ds, tmp_path / "in" / "1.dcm")
    file = only(run(tmp_path / "in", tmp_path / "out"))
    assert file.regions >= 1
    assert file.markers >= 1
    (after,) = p.read_back(tmp_path / "out")
    assert np.array_equal(after.pixel_array[140:, 240:], values[140:, 240:])
    assert (after.pixel_array[22:40, 30:120] == values.max()).all()


def test_a_picture_with_text_becomes_a_png_without(tmp_path: Path, finder: TextFinder) -> None:
    values = p.written_on(TEXT, color=True)
    (tmp_path / "in").mkdir()
    Image.fromarray(values).save(tmp_path / "in" / "1.png")
    file = only(run(tmp_path / "in", tmp_path / "out"))
    assert file.regions >= 1
    with Image.open(tmp_path / "out" / file.output) as after:
        require_blanked(values, np.asarray(after), finder=finder)


def test_ct_is_not_searched_unless_asked_and_that_is_said(tmp_path: Path, finder: TextFinder) -> None:
    values = p.written_on(TEXT).astype(np.int16)
    p.save(p.planted(pixels=values), tmp_path / "in" / "1.dcm")
    file = only(run(tmp_path / "in", tmp_path / "out"))
    assert "pixels not searched for text" in file.notes
    (after,) = p.read_back(tmp_path / "out")
    assert "BurnedInAnnotation" not in after
    only(run(tmp_path / "in", tmp_path / "all", pixels="all"))
    require_blanked(values, p.read_back(tmp_path / "all")[0].pixel_array, finder=finder)


def test_without_ocr_pictures_that_may_hold_text_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    p.save(p.planted(pixels=p.written_on(TEXT), modality="US"), tmp_path / "in" / "1.dcm")
    p.save(p.planted(number=2), tmp_path / "in" / "2.dcm")
    result = run(tmp_path / "in", tmp_path / "out")
    assert [file.status for file in result.files] == ["refused", "written"]
    assert "not installed" in result.files[0].why
    assert "pip install 'osler[documents]'" in result.files[0].why


def test_a_view_is_made_of_any_values() -> None:
    assert to_picture(np.full((4, 5), -7, dtype=np.int16)).shape == (4, 5, 3)
    assert to_picture(np.arange(20.0).reshape(4, 5)).max() == 255
