"""One Series UID that holds several volumes, and frames that lie on top of each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osler.readers import open_study
from osler.study import Affine
from tests.readers.make_dicom import ramp, write_series

AXIAL = Affine.from_parts(spacing=(1.0, 1.0, 3.0))
SAGITTAL = Affine.from_parts(spacing=(1.0, 1.0, 3.0), direction=np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]]))


@pytest.mark.parametrize(
    ("elements", "mark"),
    [
        ([{"EchoTime": "20"}, {"EchoTime": "80"}], "echo 80"),
        ([{"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}], "temporal position 2"),
        ([{"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}], "b-value 1000.0"),
        ([{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}], "acquisition 2"),
        (
            [{"ImageType": ["DERIVED", "PRIMARY", "W"]}, {"ImageType": ["DERIVED", "PRIMARY", "F"]}],
            "image type DERIVED\\PRIMARY\\F",
        ),
    ],
)
def test_volumes_at_one_place_are_told_apart(tmp_path: Path, elements: list[dict[str, object]], mark: str) -> None:
    for number, extra in enumerate(elements):
        write_series(tmp_path / str(number), volume=ramp(5) + 1000 * number, affine=AXIAL, modality="MR", **extra)
    study = open_study(tmp_path)
    assert sorted(int(volume.read().min()) for volume in study.volumes()) == [0, 1000]
    assert {volume.series for volume in study.volumes()} == {"1.2.3.2#1", "1.2.3.2#2"}
    assert any(volume.description == f"a series ({mark})" for volume in study.volumes())
    assert all(np.array_equal(np.diff(volume.read(), axis=0), np.full((4, 8, 10), 80)) for volume in study.volumes())


def test_marks_that_count_slices_do_not_split(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        volume=ramp(5),
        affine=AXIAL,
        AcquisitionNumber=lambda index: index + 1,
        AcquisitionTime=lambda index: f"1200{index:02d}",
        FrameOfReferenceUID=lambda index: f"1.2.3.{index + 10}",
    )
    (volume,) = open_study(tmp_path).volumes()
    assert volume.shape[0] == 5
    assert volume.frame_of_reference == ""


def test_planes_of_a_localizer_are_split(tmp_path: Path) -> None:
    write_series(tmp_path / "a", volume=ramp(3), affine=AXIAL, modality="MR")
    write_series(tmp_path / "s", volume=ramp(4), affine=SAGITTAL, modality="MR")
    volumes = open_study(tmp_path).volumes()
    assert sorted((volume.plane, volume.shape[0]) for volume in volumes) == [("axial", 3), ("sagittal", 4)]


@pytest.mark.parametrize("change", [{"PixelSpacing": ["1.5", "1.5"]}, {"SeriesInstanceUID": "1.2.3.77"}])
def test_spacing_and_series_split(tmp_path: Path, change: dict[str, object]) -> None:
    write_series(tmp_path / "a", volume=ramp(4), affine=AXIAL)
    write_series(tmp_path / "b", volume=ramp(5), affine=AXIAL, **change)
    assert sorted(volume.shape[0] for volume in open_study(tmp_path).volumes()) == [4, 5]


def test_matrix_size_splits(tmp_path: Path) -> None:
    write_series(tmp_path / "a", volume=ramp(4), affine=AXIAL)
    write_series(tmp_path / "b", volume=ramp(4, 16, 16), affine=AXIAL)
    assert sorted(volume.shape for volume in open_study(tmp_path).volumes()) == [(4, 8, 10), (4, 16, 16)]


def test_two_acquisitions_at_different_spacing_are_split(tmp_path: Path) -> None:
    fine, coarse = AXIAL, Affine.from_parts(spacing=(1.0, 1.0, 7.0), origin=(0, 0, 20.0))
    write_series(tmp_path / "a", volume=ramp(6), affine=fine, AcquisitionNumber=1)
    write_series(tmp_path / "b", volume=ramp(5), affine=coarse, AcquisitionNumber=2)
    spacing = sorted(volume.spacing[2] for volume in open_study(tmp_path).volumes())
    assert spacing == pytest.approx([3.0, 7.0])


def test_passes_without_any_mark_go_by_instance_number(tmp_path: Path) -> None:
    for number in range(2):
        write_series(
            tmp_path / str(number),
            volume=ramp(4) + 1000 * number,
            affine=AXIAL,
            InstanceNumber=lambda index, number=number: 10 * number + index,
        )
    one, two = open_study(tmp_path).volumes()
    assert (int(one.read().min()), int(two.read().min())) == (0, 1000)
    assert "taken as 2 volumes by instance number" in one.problems[0]


def test_no_volume_where_all_slices_lie_at_one_place(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(4), ImagePositionPatient=[0, 0, 0])
    study = open_study(tmp_path)
    assert study.volumes() == ()
    (image,) = study.images()
    assert "3 of 4 slices lie at the same position" in image.problems[0]
    assert "A single CT slice, not a volume." in image.problems
    assert study.left_out[0].count == 3


def test_slices_without_geometry_are_refused_with_what_to_do(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(4), ImagePositionPatient=None)
    with pytest.raises(Exception, match="cannot be put in order; export the series with its geometry"):
        open_study(tmp_path)
