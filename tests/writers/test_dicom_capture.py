"""Presentation states and captures: boxes on their images, the note, the right patient."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osler.errors import RequestError
from osler.readers import open_study
from osler.readers.dicom_annotations import read_annotations
from osler.writers.dicom_about import RESEARCH_NOTE
from osler.writers.dicom_capture import write_capture, write_gsps
from tests.readers.make_dicom import base_dataset, ramp, save, write_enhanced
from tests.writers.imaging import answer_about, ct_study, dx_study, oblique, read_back, require_close


def png(width: int = 40, height: int = 30) -> tuple[bytes, np.ndarray]:
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue(), pixels


def test_boxes_are_drawn_on_their_slice(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    answer = answer_about(study)
    (data,) = write_gsps(answer, study=study)
    state = read_back(data, tmp_path / "a.dcm")
    assert (state.Modality, state.PatientID, state.StudyInstanceUID) == ("PR", "SECRET-1", "1.2.3.1")
    (annotation,) = state.GraphicAnnotationSequence
    assert annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID == study.volumes()[0].origins[2].sop_uid
    assert [item.UnformattedTextValue for item in annotation.TextObjectSequence] == ["nodule 75%", RESEARCH_NOTE]
    (box,) = read_annotations(tmp_path / "a.dcm", study=study).boxes
    assert (box.label, box.score, box.slice, box.pixel) == ("nodule", 0.75, 2, answer.boxes[0].pixel)
    require_close(box.patient, answer.boxes[0].patient)


def test_an_x_ray_is_drawn_on(tmp_path: Path) -> None:
    study = dx_study(tmp_path / "dx")
    answer = answer_about(study)
    (data,) = write_gsps(answer, study=study)
    (tmp_path / "a.dcm").write_bytes(data)
    (box,) = read_annotations(tmp_path / "a.dcm", study=study).boxes
    assert box.pixel == answer.boxes[0].pixel


def test_a_color_picture_gets_a_color_state(tmp_path: Path) -> None:
    save(base_dataset(np.zeros((20, 30, 3), np.uint8), modality="XC", FrameOfReferenceUID=None), tmp_path / "c.dcm")
    study = open_study(tmp_path / "c.dcm")
    (data,) = write_gsps(answer_about(study), study=study)
    state = read_back(data, tmp_path / "a.dcm")
    assert state.SOPClassUID.name == "Color Softcopy Presentation State Storage"


def test_frames_of_a_multi_frame_file_are_named(tmp_path: Path) -> None:
    affine = oblique(angles=(0.2, -0.3, 0.1), spacing=(0.7, 0.9, 3.0))
    write_enhanced(tmp_path / "mr.dcm", volume=ramp(6, 16, 20), affine=affine, order=[3, 0, 5, 1, 4, 2])
    study = open_study(tmp_path / "mr.dcm")
    (data,) = write_gsps(answer_about(study), study=study)
    state = read_back(data, tmp_path / "a.dcm")
    reference = state.GraphicAnnotationSequence[0].ReferencedImageSequence[0]
    assert reference.ReferencedFrameNumber == study.volumes()[0].origins[2].frame + 1
    assert read_annotations(tmp_path / "a.dcm", study=study).boxes[0].slice == 2


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    with pytest.raises(RequestError, match=r"no box on an image.*write --sr"):
        write_gsps(answer_about(study, boxes=answer_about(study).boxes[1:]), study=study)


def test_the_capture_is_the_picture_in_the_study_of_the_patient(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct", PatientIdentityRemoved="YES", DeidentificationMethod="by hand")
    picture, pixels = png()
    capture = read_back(write_capture(answer_about(study), study=study, picture=picture), tmp_path / "a.dcm")
    np.testing.assert_array_equal(capture.pixel_array, pixels)
    assert (capture.Modality, capture.PatientID, capture.StudyInstanceUID) == ("OT", "SECRET-1", "1.2.3.1")
    assert (capture.BurnedInAnnotation, capture.ImageComments) == ("YES", RESEARCH_NOTE)
    assert capture.PatientIdentityRemoved == "YES"
    assert open_study(tmp_path / "a.dcm").images()[0].size == (40, 30)
