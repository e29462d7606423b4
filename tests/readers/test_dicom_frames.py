"""Enhanced multi-frame objects: frames lie where their functional groups say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from osler.readers import open_study
from osler.study import Affine
from tests.readers.make_dicom import base_dataset, ramp, save, write_enhanced

AFFINE = Affine.from_parts(
    spacing=(0.8, 0.9, 2.5), direction=np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]]), origin=(5, 6, 7)
)


def test_frames_are_ordered_by_place(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "mf.dcm", volume=ramp(5), affine=AFFINE, order=[3, 0, 4, 1, 2])
    (volume,) = open_study(path).volumes()
    assert np.array_equal(volume.read(), ramp(5))
    assert volume.affine.isclose(AFFINE)
    assert volume.plane == "sagittal"
    assert [origin.frame for origin in volume.origins] == [1, 3, 4, 0, 2]
    assert {origin.frames for origin in volume.origins} == {5}
    assert np.array_equal(volume.read(slices=[3]), ramp(5)[3:4])


def test_the_rescale_of_the_functional_groups_counts(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "mf.dcm", volume=ramp(5), affine=AFFINE, slope=0.25)
    (volume,) = open_study(path).volumes()
    assert np.allclose(volume.read(), ramp(5) * 0.25)


def test_time_points_of_one_file_are_split(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    path = write_enhanced(tmp_path / "mf.dcm", volume=ramp(4), affine=AFFINE, order=[0, 1, 2, 3, 0, 1, 2, 3])
    ds = dcmread(path)
    for number, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        content = Dataset()
        content.TemporalPositionIndex = 1 + number // 4
        frame.FrameContentSequence = Sequence([content])
    save(ds, path)
    one, two = open_study(path).volumes()
    assert np.array_equal(one.read(), two.read())
    assert [origin.frame for origin in two.origins] == [4, 5, 6, 7]
    assert two.description.endswith("(temporal position 2)")


def test_a_film_gives_its_first_frame(tmp_path: Path) -> None:
    path = save(base_dataset(ramp(6, dtype="uint8"), modality="XA", NumberOfFrames=6), tmp_path / "run.dcm")
    study = open_study(path)
    (image,) = study.images()
    assert np.array_equal(image.read(), ramp(6, dtype="uint8")[0])
    assert "6 frames without positions" in image.problems[0]
    assert study.left_out[0].count == 5


def test_fewer_groups_than_frames(tmp_path: Path) -> None:
    """Frames without a group have no place; the rest still make a volume."""
    path = write_enhanced(tmp_path / "mf.dcm", volume=ramp(5), affine=AFFINE)
    ds = dcmread(path)
    del ds.PerFrameFunctionalGroupsSequence[4]
    save(ds, path)
    study = open_study(path)
    assert study.volumes()[0].shape[0] == 4


@pytest.mark.parametrize("frames", ["0", "-3"])
def test_frame_counts_that_cannot_be(tmp_path: Path, frames: str) -> None:
    with pytest.raises(Exception, match=rf"the header says '{frames}' frames\. At least one"):
        open_study(save(base_dataset(ramp(1)[0], NumberOfFrames=frames), tmp_path / "a.dcm"))
