"""What draws an exam: every protocol has pixels that DICOM and the page can take, on the grid that was asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from osler.errors import RequestError
from osler.readers import open_study
from osler.study import Affine, Box2D, Box3D
from osler.synth.dicom_files import write_image, write_volume
from osler.synth.draw import draw_patient
from osler.synth.facts import Exam, PatientFacts
from osler.synth.ontology import load_ontology
from osler.synth.rendered import RenderedField, RenderedImage, RenderedVolume, right_handed
from osler.synth.renderers import renderer, volume_shape
from tests.synth.documents.people import make_patient

MATRIX = 64


def one_of_each() -> dict[str, tuple[PatientFacts, Exam]]:
    """The first exam of each protocol among some patients."""
    found: dict[str, tuple[PatientFacts, Exam]] = {}
    for number in range(400):
        patient = draw_patient(seed=7, number=number)
        for exam in patient.exams:
            found.setdefault(exam.protocol, (patient, exam))
        if len(found) == len(load_ontology().protocols):
            break
    return found


EXAMS = one_of_each()


def test_all_protocols_are_tried() -> None:
    assert set(EXAMS) == {protocol.key for protocol in load_ontology().protocols}


@pytest.mark.parametrize("protocol", sorted(EXAMS))
def test_an_exam_is_drawn_written_and_read_again(protocol: str, tmp_path: Path) -> None:
    patient, exam = EXAMS[protocol]
    rendered = renderer(matrix=MATRIX)(patient, exam)
    if isinstance(rendered, RenderedField):
        assert exam.modality == "SM"
        assert rendered.pixels.shape == (2 * MATRIX, 2 * MATRIX, 3)
        return
    known = {(fact.key, fact.lesion) for fact in exam.findings if fact.certainty != "absent"}
    assert {(box.finding, box.lesion) for box in rendered.boxes} <= known
    if isinstance(rendered, RenderedImage):
        write_image(rendered, patient=patient, exam=exam, folder=tmp_path)
        (image,) = open_study(tmp_path).images()
        assert np.array_equal(image.read(), rendered.pixels)
        assert all(isinstance(box.box, Box2D) for box in rendered.boxes)
        return
    assert isinstance(rendered, RenderedVolume)
    assert rendered.voxels.shape == volume_shape(exam, matrix=MATRIX)
    write_volume(rendered, patient=patient, exam=exam, folder=tmp_path)
    (volume,) = open_study(tmp_path).volumes()
    assert np.array_equal(volume.read(), rendered.voxels)
    assert volume.affine.isclose(rendered.affine, mm=1e-5)
    assert all(isinstance(box.box, Box3D) and box.box.frame == "LPS" for box in rendered.boxes)


def test_a_left_handed_volume_is_turned_and_keeps_its_places() -> None:
    voxels = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    matrix = np.diag([1.0, 2.0, -3.0, 1.0])
    matrix[:3, 3] = (5, 6, 7)
    left = RenderedVolume(voxels=voxels, affine=Affine(matrix))
    turned = right_handed(left)
    assert np.linalg.det(turned.affine.matrix[:3, :3]) > 0
    for index in np.ndindex(2, 3, 4):
        place = left.affine.apply(index[::-1])
        column, row, number = np.rint(turned.affine.inverse.apply(place)).astype(int)
        assert turned.voxels[number, row, column] == voxels[index]
    assert right_handed(turned) is turned


def test_a_full_grid_is_the_scanner_s_and_a_smaller_one_keeps_thick_slices() -> None:
    exam = make_patient().exams[0]
    fine = dataclasses.replace(
        exam.acquisition, rows=512, columns=512, slices=300, pixel_mm=0.8, slice_mm=1.0, spacing_mm=1.0
    )
    thick = dataclasses.replace(fine, slices=30, slice_mm=5.0, spacing_mm=5.0)
    thin, few = (dataclasses.replace(exam, acquisition=one) for one in (fine, thick))
    assert volume_shape(thin, matrix=512) == (300, 512, 512)
    assert volume_shape(thin, matrix=128) == (94, 128, 128)
    assert volume_shape(few, matrix=128) == (30, 128, 128)


@pytest.mark.parametrize("matrix", [0, -1, 63, 1025])
def test_an_absurd_matrix_is_refused(matrix: int) -> None:
    with pytest.raises(RequestError, match=rf"A matrix of {matrix} pixels\. 64 to 1024"):
        renderer(matrix=matrix)
