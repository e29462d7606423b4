"""The page of a patient: a picture with the lesions, labs and drugs of the facts."""

from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from osler.study import Affine, Box2D, Box3D
from osler.synth.facts import Exam, PatientFacts
from osler.synth.rendered import LesionBox, Rendered, RenderedField, RenderedImage, RenderedVolume
from osler.synth.show_page import draw_patient_page, lesion_courses
from osler.synth.show_tiles import exam_tiles
from tests.synth.documents.people import DAYS, make_patient

pytest.importorskip("matplotlib", reason="needs the synth extra")
PATIENT = make_patient()


def volume_of(exam: Exam) -> RenderedVolume:
    affine = Affine.from_parts(spacing=(5.0, 5.0, 8.0), origin=(-160, -160, 26))
    voxels = np.random.default_rng(exam.number).integers(-900, 100, size=(20, 64, 64)).astype(np.int16)
    box = Box3D(low=(-86.0, -6.0, 84.0), high=(-74.0, 6.0, 96.0), frame="LPS")
    return RenderedVolume(
        voxels=voxels, affine=affine, boxes=(LesionBox(finding="pulmonary-nodule", lesion=1, box=box),)
    )


def render(patient: PatientFacts, exam: Exam) -> Rendered | None:
    del patient
    return volume_of(exam)


def picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_a_page_is_a_picture_made_by_osler() -> None:
    page = picture(draw_patient_page(PATIENT, render=render, dpi=50))
    assert page.format == "PNG"
    assert page.info["Software"] == "Osler"
    assert page.size == (800, 565)
    accent = np.all(np.abs(np.asarray(page.convert("RGB")).astype(int) - (255, 182, 39)) < 30, axis=-1)
    assert accent.sum() > 60, "the boxes of the lesions are drawn"


def test_a_page_without_pictures_or_record_is_drawn_too() -> None:
    bare = dataclasses.replace(PATIENT, labs=(), medications=(), conditions=(), exams=PATIENT.exams[:1])
    assert picture(draw_patient_page(bare, dpi=40)).size == (640, 452)


def test_a_slice_goes_through_the_largest_lesion() -> None:
    exam = PATIENT.exams[1]
    (tile,) = exam_tiles(volume_of(exam), exam=exam, planes=("axial",))
    assert tile.caption == "CT, slice 9 of 20"
    ((label, box),) = tile.boxes
    assert label == "pulmonary nodule 12 mm"
    assert (box.x0, box.x1) == pytest.approx(((-86 + 162.5) / 5, (-74 + 162.5) / 5))
    assert tile.aspect == pytest.approx(1.0)


def test_other_planes_show_the_same_place_upright() -> None:
    exam = PATIENT.exams[1]
    volume = volume_of(exam)
    voxels = np.full_like(volume.voxels, -1000)
    voxels[8, 32, 16] = 1000
    bright = dataclasses.replace(volume, voxels=voxels)
    for tile in exam_tiles(bright, exam=exam, planes=("coronal", "sagittal")):
        row, column = np.unravel_index(np.argmax(tile.pixels), tile.pixels.shape)
        assert row == 19 - 8, "the head is at the top"
        assert column == (16 if "coronal" in tile.caption else 32)
        ((_, box),) = tile.boxes
        assert box.y0 < row + 0.5 < box.y1
        assert box.x0 < column + 0.5 < box.x1
        assert tile.aspect == pytest.approx(8 / 5)


def test_a_radiograph_keeps_its_boxes() -> None:
    box = Box2D(x0=3, y0=4, x1=9, y1=12)
    image = RenderedImage(
        pixels=np.arange(400, dtype=np.uint16).reshape(20, 20),
        spacing=(0.5, 0.5),
        boxes=(LesionBox(finding="pulmonary-nodule", lesion=1, box=box),),
    )
    view = dataclasses.replace(PATIENT.exams[0].acquisition, view="PA")
    exam = dataclasses.replace(PATIENT.exams[0], modality="DX", acquisition=view)
    (tile,) = exam_tiles(image, exam=exam)
    assert tile.boxes == (("pulmonary nodule 8 mm", box),)
    assert tile.caption == "X-ray PA"
    assert (tile.pixels.min(), tile.pixels.max()) == (0, 254)


def test_a_preferred_lesion_is_shown_and_wide_boxes_are_not() -> None:
    exam = PATIENT.exams[1]
    volume = volume_of(exam)
    other = Box3D(low=(20.0, 20.0, 130.0), high=(40.0, 40.0, 150.0), frame="LPS")
    wide = Box3D(low=(-150.0, -150.0, 30.0), high=(150.0, 150.0, 170.0), frame="LPS")
    boxes = (
        *volume.boxes,
        LesionBox(finding="lung-mass", lesion=2, box=other),
        LesionBox(finding="emphysema", lesion=3, box=wide),
    )
    many = dataclasses.replace(volume, boxes=boxes)
    (first,) = exam_tiles(many, exam=exam)
    assert [label for label, _ in first.boxes] == ["pulmonary nodule 12 mm"]
    (second,) = exam_tiles(many, exam=exam, prefer=[("lung-mass", 2)])
    assert [label for label, _ in second.boxes] == ["lung mass"]


def test_a_field_of_a_slide_keeps_its_colors() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, size=(40, 40, 3)).astype(np.uint8)
    (tile,) = exam_tiles(RenderedField(pixels=pixels, pixel_um=0.5), exam=PATIENT.exams[0])
    assert np.array_equal(tile.pixels, pixels)
    assert tile.caption == "0.02 mm of the slide"


def test_an_exam_without_pixels_has_no_tile() -> None:
    assert exam_tiles(None, exam=PATIENT.exams[0]) == ()


def test_the_course_of_a_lesion_is_that_of_the_facts() -> None:
    (course,) = lesion_courses(PATIENT)
    assert course.days == DAYS
    assert course.sizes == (8, 12, 16, 20)
    assert course.gone is None
    last = PATIENT.exams[-1]
    gone = dataclasses.replace(
        last.findings[0], size_mm=None, axes_mm=None, center_mm=None, change="resolved", prior_size_mm=16
    )
    exams = (*PATIENT.exams[:-1], dataclasses.replace(last, findings=(gone,)))
    (course,) = lesion_courses(dataclasses.replace(PATIENT, exams=exams))
    assert (course.sizes, course.gone) == ((8, 12, 16), DAYS[-1])
