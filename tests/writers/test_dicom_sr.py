"""Structured reports: read back by highdicom and by Osler to the same boxes, findings and texts."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from pydicom.sr.codedict import codes

from osler import __version__
from osler.errors import FileFormatError, GeometryError, RequestError, UnsupportedError
from osler.readers import open_study
from osler.readers.dicom_annotations import read_annotations
from osler.study import Affine, Answer, ArrayPixels, Box2D, Box3D, Finding, FoundBox, Study, TimePoint, Volume
from osler.writers.dicom_sr import write_sr
from tests.readers.make_dicom import ramp, write_series
from tests.writers.answers import STAMP
from tests.writers.imaging import (
    DrawnBox,
    answer_about,
    ct_study,
    drawn_boxes,
    dx_study,
    read_back,
    require_close,
)


def test_patient_and_study_are_those_of_the_source(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct", AccessionNumber="A-7")
    report = read_back(write_sr(answer_about(study), study=study), tmp_path / "a.dcm")
    assert (report.PatientID, str(report.PatientName)) == ("SECRET-1", "Doe^Jane")
    assert (report.StudyInstanceUID, report.AccessionNumber) == ("1.2.3.1", "A-7")
    assert report.SeriesInstanceUID != "1.2.3.2"
    assert (report.VerificationFlag, report.CompletionFlag) == ("UNVERIFIED", "PARTIAL")


def test_highdicom_finds_the_regions_and_the_certainty(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    (tmp_path / "a.dcm").write_bytes(write_sr(answer_about(study), study=study))
    report = hd.sr.srread(tmp_path / "a.dcm")
    (planar,) = report.content.get_planar_roi_measurement_groups()
    np.testing.assert_allclose(planar.roi.value, [(2, 3), (8, 3), (8, 12), (2, 12), (2, 3)])
    volume = study.volumes()[0]
    source = planar.roi.ContentSequence[0].ReferencedSOPSequence[0]
    assert source.ReferencedSOPInstanceUID == volume.origins[2].sop_uid
    surfaces = report.content.get_volumetric_roi_measurement_groups()
    assert len(surfaces) == 2
    assert surfaces[0].tracking_uid == planar.tracking_uid
    certainty = planar.get_measurements(name=codes.DCM.CertaintyOfFinding)[0]
    assert (certainty.value, certainty.unit.value) == (75.0, "%")
    assert planar.finding_type == codes.SCT.Nodule
    assert surfaces[0].roi.frame_of_reference_uid == volume.frame_of_reference


def test_osler_reads_back_what_it_wrote(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    answer = answer_about(study)
    (tmp_path / "a.dcm").write_bytes(write_sr(answer, study=study))
    found = read_annotations(tmp_path / "a.dcm", study=study)
    for got, box in zip(found.boxes, answer.boxes, strict=True):
        assert (got.label, got.series, got.score, got.slice) == (box.label, box.series, box.score, box.slice)
        assert got.pixel == box.pixel
        require_close(got.patient, box.patient)
    assert [(f.name, f.probability) for f in found.findings] == [("pleural effusion", 0.25), ("edema", None)]
    assert ("nodule", "longest diameter, current", 12.5, "mm") in found.measurements
    assert ("nodule", "days since prior", 90.0, "d") in found.measurements
    texts = [text for _section, text in found.texts]
    assert texts[:2] == ["A nodule.", "Likely benign. [no evidence]"]
    assert "Not trained: boxes. Nothing was made up." in texts
    assert any("Research software, not a medical device" in text for text in texts)


def test_without_the_study_the_object_itself_says_where_boxes_are(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    answer = answer_about(study)
    (tmp_path / "a.dcm").write_bytes(write_sr(answer, study=study))
    found = read_annotations(tmp_path / "a.dcm")
    assert [box.series for box in found.boxes] == ["1.2.3.2", "1.2.3.2"]
    require_close(found.boxes[0].patient, answer.boxes[0].patient)


def test_the_weights_are_identified_and_a_sentence_points_to_its_image(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    report = read_back(write_sr(answer_about(study), study=study), tmp_path / "a.dcm")
    texts = [item.value for item in report.iterall() if item.keyword == "TextValue"]
    assert f"weights={STAMP.weights}" in texts
    assert (report.ManufacturerModelName, report.SoftwareVersions) == ("osler-mini", __version__)
    evaluations = report.ContentSequence[-1]
    image = evaluations.ContentSequence[0].ContentSequence[0]
    assert image.RelationshipType == "INFERRED FROM"
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == study.volumes()[0].origins[1].sop_uid


def test_what_an_answer_lacks_is_left_out(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    answer = Answer(text="Nothing special.", model=STAMP, preprocess="a" * 64)
    (tmp_path / "a.dcm").write_bytes(write_sr(answer, study=study))
    found = read_annotations(tmp_path / "a.dcm")
    assert (found.boxes, found.findings, found.measurements) == ((), (), ())
    assert found.texts[0][1] == "Nothing special."


def test_an_x_ray_has_regions_in_pixels_only(tmp_path: Path) -> None:
    study = dx_study(tmp_path / "dx")
    answer = answer_about(study)
    (tmp_path / "a.dcm").write_bytes(write_sr(answer, study=study))
    (box,) = read_annotations(tmp_path / "a.dcm", study=study).boxes
    assert (box.pixel, box.patient) == (answer.boxes[0].pixel, None)


def test_slices_of_several_frames_of_reference_get_outlines(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct", FrameOfReferenceUID=lambda index: f"1.2.3.9.{index}")
    answer = answer_about(study)
    (tmp_path / "a.dcm").write_bytes(write_sr(answer, study=study))
    found = read_annotations(tmp_path / "a.dcm", study=study).boxes
    for got, box in zip(found, answer.boxes, strict=True):
        require_close(got.patient, box.patient)


@pytest.mark.parametrize("label", ["心臓の腫瘤 <b>", "a" * 200, "x\\y\x1b[2J", "Ärger^Öl", "  "])
def test_labels_of_any_script_and_length_are_held(label: str, tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    box = dataclasses.replace(answer_about(study).boxes[0], label=label)
    report = read_back(write_sr(answer_about(study, boxes=(box,)), study=study), tmp_path / "a.dcm")
    assert str(report.PatientName) == "Müller^Jörg"
    assert report.SpecificCharacterSet == "ISO_IR 192"
    found = read_annotations(tmp_path / "a.dcm", study=study).boxes[0]
    assert found.label == (label.replace("\x1b", "").strip() or "(empty)")
    for item in report.iterall():
        if item.VR in ("LO", "SH") and item.value:
            values = [item.value] if isinstance(item.value, str) else item.value
            assert all(len(str(value)) <= (64 if item.VR == "LO" else 16) for value in values)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=drawn_boxes(least=0.5))
def test_any_box_comes_back_under_any_affine(drawn: DrawnBox) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study, box = drawn.on_ct(folder / "ct")
        (folder / "a.dcm").write_bytes(write_sr(answer_about(study, boxes=(box,)), study=study))
        (found,) = read_annotations(folder / "a.dcm", study=study).boxes
        assert found.slice == box.slice
        require_close(found.patient, box.patient, mm=0.01)
        assert found.pixel is not None
        assert box.pixel is not None
        np.testing.assert_allclose([found.pixel.x0, found.pixel.y1], [box.pixel.x0, box.pixel.y1], atol=1e-3)


def test_a_mirrored_volume_gives_mirrored_boxes(tmp_path: Path) -> None:
    right = Affine.from_parts(spacing=(0.5, 0.5, 2.0), origin=(-10.0, 0.0, 0.0))
    matrix = right.matrix.copy()
    matrix[0] = -matrix[0]
    places = []
    for name, affine in (("plain", right), ("mirrored", Affine(matrix @ np.diag([1.0, 1.0, -1.0, 1.0])))):
        study = ct_study(tmp_path / name, affine=affine)
        volume = study.volumes()[0]
        index = 2 if name == "plain" else volume.shape[0] - 3
        pixel = Box2D(x0=2, y0=3, x1=8, y1=12)
        patient = pixel.to_box3d(affine=volume.affine, slice_index=index)
        box = FoundBox(label="n", series=volume.series, score=1, slice=index, pixel=pixel, patient=patient)
        (tmp_path / f"{name}.dcm").write_bytes(write_sr(answer_about(study, boxes=(box,)), study=study))
        places.append(read_annotations(tmp_path / f"{name}.dcm", study=study).boxes[0].patient)
    plain, mirrored = places
    assert plain is not None
    assert mirrored is not None
    assert (mirrored.low[0], mirrored.high[0]) == pytest.approx((-plain.high[0], -plain.low[0]))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"score": float("nan")}, RequestError, "has the probability nan.*from 0 to 1"),
        ({"score": 1.5}, RequestError, "has the probability 1.5"),
        ({"series": "9.9.9"}, RequestError, "'9.9.9', which this study lacks.*that was asked about"),
        ({"slice": 77}, GeometryError, "outside of slice 78 of 6"),
        ({"pixel": Box2D(x0=500, y0=0, x1=600, y1=9)}, GeometryError, "outside of the image of 20 x 16 pixels"),
        (
            {"patient": Box3D(low=(900, 900, 900), high=(901, 901, 901)), "pixel": None, "slice": None},
            GeometryError,
            "outside of the volume of 20 x 16 x 6 voxels",
        ),
        ({"pixel": None, "patient": None}, GeometryError, "neither a place on a slice nor one in mm"),
    ],
)
def test_a_bad_box_is_refused(change: dict, error: type[Exception], message: str, tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    box = dataclasses.replace(answer_about(study).boxes[0], **change)
    with pytest.raises(error, match=message):
        write_sr(answer_about(study, boxes=(box,)), study=study)


def test_a_probability_that_is_no_number_is_refused(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    with pytest.raises(RequestError, match="finding 'edema' has the probability nan"):
        write_sr(answer_about(study, findings=(Finding(name="edema", probability=float("nan")),)), study=study)


def test_sources_that_have_vanished_are_named(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    for file in (tmp_path / "ct").iterdir():
        file.unlink()
    with pytest.raises(FileFormatError, match=r"\.dcm cannot be read again.*Put the files back"):
        write_sr(answer_about(study), study=study)


def test_a_source_that_was_replaced_is_refused(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    write_series(tmp_path / "ct", volume=ramp(6, 16, 20))
    with pytest.raises(FileFormatError, match="another image than the one that was opened"):
        write_sr(answer_about(study), study=study)


def test_images_that_are_not_dicom_are_refused() -> None:
    volume = Volume(
        series="a.nii", pixels=ArrayPixels(np.zeros((3, 16, 20))), affine=Affine.from_parts(), modality="CT"
    )
    study = Study(timepoints=(TimePoint(series=(volume,)),))
    with pytest.raises(UnsupportedError, match=r"'a.nii' is not from DICOM files.*--seg mask.nii.gz"):
        write_sr(answer_about(study, boxes=()), study=study)


def test_a_study_in_a_zip_archive_is_a_source(tmp_path: Path) -> None:
    import zipfile

    write_series(tmp_path / "ct", volume=ramp(6, 16, 20))
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for file in (tmp_path / "ct").iterdir():
            archive.write(file, file.name)
    study = open_study(tmp_path / "ct.zip")
    (tmp_path / "a.dcm").write_bytes(write_sr(answer_about(study), study=study))
    assert len(read_annotations(tmp_path / "a.dcm", study=study).boxes) == 2
