"""Boxes of the table: what is asked is what `osler locate` asks, what is answered reads back to the same place."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osler.model.config import get_config
from osler.prepare import PreparedImages, Preprocess, prepare_images, preprocess_for
from osler.readers import open_study
from osler.study import Affine, Box2D, Box3D
from osler.tasks.box_text import box_prompt, from_square, read_box_text
from osler.train.local_boxes import box_lessons
from osler.train.local_table import LocalRow
from tests.readers.make_dicom import ramp, write_series

CONTRACT: Preprocess = dataclasses.replace(preprocess_for(get_config("debug")), aspect="pad-square")


def _picture(folder: Path) -> PreparedImages:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 100), dtype=np.uint8)).save(folder / "p.png")
    return prepare_images(open_study(folder / "p.png"), preprocess=CONTRACT)


def _volume(folder: Path) -> tuple[PreparedImages, Affine]:
    write_series(folder / "ct", volume=ramp(slices=12, rows=20, columns=30))
    study = open_study(folder / "ct")
    affine = study.volumes()[0].affine
    return prepare_images(study, preprocess=CONTRACT), affine


def _row(box: Box2D | Box3D, *, line: int = 2, label: str = "heart") -> LocalRow:
    return LocalRow(line=line, path=Path("x"), label=label, box=box)


def test_boxes_of_a_picture_read_back(tmp_path: Path) -> None:
    prepared = _picture(tmp_path)
    boxes = [Box2D(x0=10, y0=5, x1=30, y1=50), Box2D(x0=60, y0=0, x1=100, y1=59)]
    lessons, bad = box_lessons([_row(b, line=i) for i, b in enumerate(boxes)], prepared=prepared, slices=8)
    assert bad == {}
    (lesson,) = lessons
    assert lesson.question == box_prompt("heart")
    read = read_box_text(lesson.answer)
    for box, found in zip(boxes, read.boxes, strict=True):
        back, _ = from_square(found.box, image=prepared.images[0])
        assert box.iou(back) > 0.98


def test_a_box_in_mm_is_asked_on_slices_with_and_without_it(tmp_path: Path) -> None:
    prepared, affine = _volume(tmp_path)
    voxel = Box3D(low=(4, 5, 3), high=(20, 15, 8), frame="voxel")
    lessons, bad = box_lessons([_row(voxel.to_patient(affine))], prepared=prepared, slices=4)
    assert bad == {}
    assert len(lessons) == 4
    for lesson in lessons:
        image = prepared.images[lesson.image]
        boxes = read_box_text(lesson.answer).boxes
        assert bool(boxes) == (image.slice is not None and 3 <= image.slice < 8)
        for box in boxes:
            _, patient = from_square(box.box, image=image)
            assert patient is not None
            found = patient.to_voxel(affine)
            assert np.allclose([*found.low[:2], *found.high[:2]], [4, 5, 20, 15], atol=0.1)
    assert sum(bool(read_box_text(lesson.answer).boxes) for lesson in lessons) == 3


@pytest.mark.parametrize(
    ("kind", "box", "reason"),
    [
        ("picture", Box2D(x0=200, y0=5, x1=230, y1=50), "outside of the scan"),
        ("picture", Box2D(x0=5, y0=-30, x1=30, y1=-2), "outside of the scan"),
        ("picture", Box3D(low=(0, 0, 0), high=(1, 1, 1)), "not a volume"),
        ("volume", Box3D(low=(5e3, 0, 0), high=(6e3, 9, 9)), "outside of the scan"),
        ("volume", Box2D(x0=1, y0=1, x1=5, y1=5), "need z0 and z1"),
        ("picture", Box2D(x0=5, y0=5, x1=5.01, y1=50), "thinner than a thousandth"),
    ],
)
def test_a_box_without_a_place_is_said(tmp_path: Path, kind: str, box: Box2D | Box3D, reason: str) -> None:
    prepared = _picture(tmp_path) if kind == "picture" else _volume(tmp_path)[0]
    lessons, bad = box_lessons([_row(box)], prepared=prepared, slices=8)
    assert lessons == []
    assert reason in bad[2]
