"""Segmentations: the same voxels, boxes and geometry, read back by highdicom and by Osler."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from osler.errors import GeometryError, RequestError, UnsupportedError
from osler.readers import open_study
from osler.readers.dicom_annotations import read_annotations
from osler.study import Affine, ArrayPixels, Box3D, FoundBox, Mask, Study, TimePoint, Volume
from osler.writers.dicom_seg import answer_masks, write_segs
from tests.readers.make_dicom import ramp, write_enhanced, write_series
from tests.writers.imaging import (
    DrawnBox,
    answer_about,
    ct_study,
    drawn_boxes,
    dx_study,
    oblique,
    read_back,
    require_close,
)


def test_highdicom_reads_the_voxels_on_the_grid_of_the_source(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    (data,) = write_segs(answer_about(study), study=study)
    (tmp_path / "a.dcm").write_bytes(data)
    seg = hd.seg.segread(tmp_path / "a.dcm")
    assert (seg.PatientID, seg.StudyInstanceUID, seg.FrameOfReferenceUID) == ("SECRET-1", "1.2.3.1", "1.2.3.3")
    volume = study.volumes()[0]
    wanted = answer_masks(answer_about(study), study=study)
    uids = [origin.sop_uid for origin in volume.origins]
    pixels = seg.get_pixels_by_source_instance(
        uids, ignore_spatial_locations=True, assert_missing_frames_are_empty=True
    )
    for number, mask in enumerate(wanted):
        np.testing.assert_array_equal(pixels[..., number].astype(bool), mask.voxels)
    np.testing.assert_allclose(
        seg.get_volume(combine_segments=False).spacing, (volume.spacing[2], volume.spacing[1], volume.spacing[0])
    )
    description = seg.get_segment_description(1)
    assert description.segment_label == "nodule"
    assert description.segmented_property_type.value == "27925004"
    assert description.algorithm_identification[0].AlgorithmName == "Osler osler-mini"


def test_osler_reads_back_masks_and_boxes(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    volume = study.volumes()[0]
    voxels = np.random.default_rng(0).random(volume.shape) > 0.7
    organ = Mask(label="liver", series=volume.series, voxels=voxels)
    (data,) = write_segs(answer_about(study), study=study, masks=(organ,))
    (tmp_path / "a.dcm").write_bytes(data)
    found = read_annotations(tmp_path / "a.dcm", study=study)
    assert [segment.label for segment in found.segments] == ["nodule", "large mass", "liver"]
    assert found.segments[2].mask is not None
    np.testing.assert_array_equal(found.segments[2].mask.voxels, voxels)
    assert found.segments[2].code == "10200004"
    for got, box in zip(found.boxes, answer_about(study).boxes, strict=False):
        require_close(got.patient, box.patient)
    assert (found.boxes[0].slice, found.boxes[0].pixel) == (2, answer_about(study).boxes[0].pixel)


def test_a_multi_frame_source_keeps_its_frames(tmp_path: Path) -> None:
    affine = oblique(angles=(0.2, -0.3, 0.1), spacing=(0.7, 0.9, 3.0))
    write_enhanced(tmp_path / "mr.dcm", volume=ramp(6, 16, 20), affine=affine, order=[3, 0, 5, 1, 4, 2])
    study = open_study(tmp_path / "mr.dcm")
    answer = answer_about(study)
    (data,) = write_segs(answer, study=study)
    (tmp_path / "a.dcm").write_bytes(data)
    found = read_annotations(tmp_path / "a.dcm", study=study)
    wanted = answer_masks(answer, study=study)
    for segment, mask in zip(found.segments, wanted, strict=True):
        assert segment.mask is not None
        np.testing.assert_array_equal(segment.mask.voxels, mask.voxels)


def test_an_x_ray_is_segmented_in_its_pixels(tmp_path: Path) -> None:
    study = dx_study(tmp_path / "dx")
    answer = answer_about(study)
    (data,) = write_segs(answer, study=study)
    (tmp_path / "a.dcm").write_bytes(data)
    (box,) = read_annotations(tmp_path / "a.dcm", study=study).boxes
    assert box.pixel == answer.boxes[0].pixel


def test_two_series_give_two_files(tmp_path: Path) -> None:
    write_series(tmp_path / "s", volume=ramp(6, 16, 20))
    write_series(tmp_path / "s", volume=ramp(6, 16, 20), prefix="b", SeriesInstanceUID="1.2.3.8")
    study = open_study(tmp_path / "s")
    first, second = study.volumes()
    box = answer_about(study).boxes[0]
    boxes = (box, dataclasses.replace(box, series=second.series))
    files = write_segs(answer_about(study, boxes=boxes), study=study)
    sources = [str(read_back(data, tmp_path / "a.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID) for data in files]
    assert sources == [first.series, second.series]


@settings(
    max_examples=10,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(drawn=drawn_boxes(least=1))
def test_any_box_comes_back_within_half_a_voxel(drawn: DrawnBox) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study, box = drawn.on_ct(folder / "ct")
        (data,) = write_segs(answer_about(study, boxes=(box,)), study=study)
        (folder / "a.dcm").write_bytes(data)
        (found,) = read_annotations(folder / "a.dcm", study=study).boxes
        assert found.slice == box.slice
        assert found.pixel is not None
        edges = [(getattr(found.pixel, edge), getattr(box.pixel, edge)) for edge in ("x0", "y0", "x1", "y1")]
        assert all(abs(got - wanted) <= 0.5 + 1e-6 for got, wanted in edges)
        # Half a voxel along columns and rows, as far as each reaches along a patient axis.
        require_close(
            found.patient, box.patient, mm=np.abs(study.volumes()[0].affine.matrix[:3, :2]).sum(axis=1) / 2 + 0.01
        )


@settings(
    max_examples=10,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    spacing=st.tuples(st.floats(0.3, 4), st.floats(0.3, 4), st.floats(0.5, 6)),
    turn=st.sampled_from([(0, 0, 0), (np.pi / 2, 0, 0), (0, np.pi / 2, np.pi), (np.pi, 0, np.pi / 2)]),
    low=st.tuples(st.floats(0, 9), st.floats(0, 7), st.floats(0, 2)),
    size=st.tuples(st.floats(1, 10), st.floats(1, 8), st.floats(1, 4)),
)
def test_a_box_in_mm_comes_back_within_half_a_voxel_in_any_plane(
    spacing: tuple[float, float, float],
    turn: tuple[float, float, float],
    low: tuple[float, float, float],
    size: tuple[float, float, float],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = ct_study(folder / "ct", affine=oblique(angles=turn, spacing=spacing))
        volume = study.volumes()[0]
        high = tuple(a + b for a, b in zip(low, size, strict=True))
        patient = Box3D(low=low, high=(high[0], high[1], high[2]), frame="voxel").to_patient(volume.affine)
        box = FoundBox(label="n", series=volume.series, score=0.5, patient=patient)
        (data,) = write_segs(answer_about(study, boxes=(box,)), study=study)
        (folder / "a.dcm").write_bytes(data)
        (found,) = read_annotations(folder / "a.dcm", study=study).boxes
        require_close(found.patient, patient, mm=np.abs(volume.affine.matrix[:3, :3]).sum(axis=1) / 2 + 0.01)


def test_a_mirrored_volume_gives_mirrored_voxels(tmp_path: Path) -> None:
    plain = ct_study(tmp_path / "plain", affine=Affine.from_parts(spacing=(0.5, 0.5, 2.0), origin=(-4.75, 0.25, 0)))
    turned = Affine.from_parts(spacing=(0.5, 0.5, 2.0), origin=(4.75, 0.25, 10.0), direction=np.diag([-1.0, 1.0, -1.0]))
    mirrored = ct_study(tmp_path / "mirrored", affine=turned)
    patient = Box3D(low=(1.0, 1.0, 3.0), high=(3.0, 4.0, 7.0))
    found = []
    for study, name in ((plain, "plain"), (mirrored, "mirrored")):
        box = FoundBox(label="left nodule", series=study.volumes()[0].series, score=1.0, patient=patient)
        (data,) = write_segs(answer_about(study, boxes=(box,)), study=study)
        (tmp_path / f"{name}.dcm").write_bytes(data)
        found.append(read_annotations(tmp_path / f"{name}.dcm", study=study))
    require_close(found[0].boxes[0].patient, patient)
    require_close(found[1].boxes[0].patient, patient)
    one, other = (entry.segments[0].mask for entry in found)
    assert one is not None
    assert other is not None
    # The same patient positions: columns of one are the mirrored columns of the other.
    np.testing.assert_array_equal(one.voxels, other.voxels[::-1, :, ::-1])


def test_nothing_to_segment_is_refused(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    with pytest.raises(RequestError, match=r"no boxes or masks.*Leave --seg out"):
        write_segs(answer_about(study, boxes=()), study=study)


def test_a_mask_of_another_grid_is_refused(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    mask = Mask(label="liver", series=study.volumes()[0].series, voxels=np.ones((2, 2, 2), dtype=bool))
    with pytest.raises(RequestError, match=r"shape \(2, 2, 2\).*\(6, 16, 20\)"):
        write_segs(answer_about(study), study=study, masks=(mask,))
    with pytest.raises(RequestError, match="A mask of type float64"):
        Mask(label="liver", series="x", voxels=np.ones((2, 2)))


def test_a_box_outside_is_refused(tmp_path: Path) -> None:
    study = ct_study(tmp_path / "ct")
    far = Box3D(low=(900, 900, 900), high=(901, 901, 901))
    box = FoundBox(label="n", series=study.volumes()[0].series, score=1.0, patient=far)
    with pytest.raises(GeometryError, match="lies outside of the volume"):
        write_segs(answer_about(study, boxes=(box,)), study=study)


def test_images_that_are_not_dicom_are_refused() -> None:
    pixels = ArrayPixels(np.zeros((6, 16, 20)))
    volume = Volume(series="a.nii", pixels=pixels, affine=Affine.from_parts(), modality="CT")
    study = Study(timepoints=(TimePoint(series=(volume,)),))
    with pytest.raises(UnsupportedError, match=r"--seg mask\.nii\.gz"):
        write_segs(answer_about(study, statements=()), study=study)
