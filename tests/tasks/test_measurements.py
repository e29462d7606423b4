"""Sizes from files of boxes and label maps."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from osler.errors import FileFormatError, UnsupportedError
from osler.study import ArrayPixels, Image, TimePoint
from osler.tasks.locate import locate
from osler.tasks.measurements import PIXELS, read_drawn
from osler.weights import Checkpoint
from tests.tasks.scripted import Scripted
from tests.tasks.test_locate import looking
from tests.tasks.volumes import straight, study_of


def point(*, spacing: tuple[float, float] | None = None) -> TimePoint:
    image = Image(series="x.png", pixels=ArrayPixels(np.zeros((50, 60), np.uint8)), modality="CR", spacing=spacing)
    return TimePoint(series=(image,), date=dt.date(2020, 1, 1))


def write(path: Path, record: object) -> Path:
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_plain_boxes_are_measured_in_pixels_or_mm_and_the_largest_counts(tmp_path: Path) -> None:
    boxes = [
        {"label": "nodule", "x0": 1, "y0": 1, "x1": 5, "y1": 9},
        {"label": "nodule", "x0": 10, "y0": 1, "x1": 30, "y1": 9},
    ]
    file = write(tmp_path / "b.json", boxes)
    (found,) = read_drawn(file, point=point())
    assert (found.finding, found.value, found.unit) == ("nodule", 20, PIXELS)
    (in_mm,) = read_drawn(file, point=point(spacing=(0.5, 2.0)))
    assert (in_mm.value, in_mm.unit) == (16, "mm")
    assert in_mm.evidence.date == dt.date(2020, 1, 1)
    assert in_mm.evidence.series == "x.png"


def test_what_locate_prints_is_read(checkpoint: Checkpoint, tmp_path: Path) -> None:
    study = study_of(straight())
    answer = locate(Scripted(checkpoint, writer=looking, trained={"box_text"}), study, ["bright block"])
    (found,) = read_drawn(write(tmp_path / "b.json", answer.to_dict()), point=study.timepoints[0])
    assert found.value == pytest.approx(16, abs=0.01)  # four slices of 4 mm
    assert found.unit == "mm"


def test_a_label_map_is_measured_in_milliliters(tmp_path: Path) -> None:
    labels = np.zeros((10, 10, 5), dtype=np.uint8)
    labels[:4, :5, :2] = 1
    labels[9, 9, 4] = 3
    nib.save(nib.Nifti1Image(labels, np.diag([1.0, 2.0, 5.0, 1.0])), tmp_path / "mask.nii.gz")
    one, three = read_drawn(tmp_path / "mask.nii.gz", point=point())
    assert (one.finding, one.value, one.unit) == ("label 1", 0.4, "mL")
    assert (three.finding, three.value) == ("label 3", 0.01)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("3", "no list of boxes"),
        ("[1]", "no list of boxes"),
        ('[{"label": "x"}]', "box 1 is not one"),
        ('[{"label": "", "x0": 1, "y0": 1, "x1": 2, "y1": 2}]', "box 1 is not one"),
        ('[{"label": "x", "x0": 9, "y0": 1, "x1": 2, "y1": 2}]', "box 1 is not one"),
        ('[{"label": "x", "mm": {"low": [1, 2], "high": [3, 4, 5]}}]', "box 1 is not one"),
        ('[{"label": "x", "x0": "NaN", "y0": 1, "x1": 2, "y1": 2}]', "box 1 is not one"),
    ],
)
def test_bad_boxes_are_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(FileFormatError, match=rf"'b.json' cannot be used as boxes: .*{message}"):
        read_drawn(tmp_path / "b.json", point=point())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_drawn(tmp_path / "absent.json", point=point())
    with pytest.raises(UnsupportedError, match="neither boxes nor a label map"):
        read_drawn(tmp_path / "boxes.csv", point=point())
    scan = np.random.default_rng(0).normal(size=(4, 4, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii.gz")
    with pytest.raises(FileFormatError, match="is no label map"):
        read_drawn(tmp_path / "scan.nii.gz", point=point())
