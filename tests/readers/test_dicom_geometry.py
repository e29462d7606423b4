"""Grids: exact for straight stacks; resampled in the right place for uneven, missing and tilted ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from osler.readers import open_study
from osler.readers.dicom_geometry import is_even, missing_after, split_at_gaps
from osler.study import Affine, Volume
from tests.readers.make_dicom import geometry, ramp, write_series

AFFINE = Affine.from_parts(spacing=(0.5, 0.7, 2.0), origin=(-10.0, -20.0, 30.0))


def _linear_field(points: np.ndarray) -> np.ndarray:
    """A field that is linear in patient mm, so that linear resampling reproduces it exactly."""
    return points @ np.array([3.0, -5.0, 7.0]) + 100


def _sampled(affine: Affine, *, shape: tuple[int, int, int]) -> np.ndarray:
    slices, rows, columns = np.meshgrid(*[np.arange(length) for length in shape], indexing="ij")
    return _linear_field(affine.apply(np.stack([columns, rows, slices], axis=-1)))


def _only_volume(folder: Path) -> Volume:
    (volume,) = open_study(folder).volumes()
    return volume


def test_levels() -> None:
    assert is_even(np.array([0.0, 1.0, 2.02]))
    assert not is_even(np.array([0.0, 1.0, 3.0]))
    assert is_even(np.array([0.0, 70.0]))
    assert missing_after(np.array([0.0, 1.0, 3.0, 4.0])).tolist() == [0, 1, 0]
    assert missing_after(np.array([0.0, 2.0, 5.0])) is None
    assert split_at_gaps(np.array([0.0, 2.0, 4.0, 104.0, 106.0])) == [slice(0, 3), slice(3, 5)]
    assert split_at_gaps(np.array([0.0, 2.0, 6.0])) == [slice(0, 3)]


def test_a_missing_slice_is_said_and_filled(tmp_path: Path) -> None:
    volume = ramp(8)
    write_series(tmp_path, volume=volume, affine=AFFINE, keep=[0, 1, 2, 4, 5, 6, 7])
    found = _only_volume(tmp_path)
    assert found.problems[0].startswith("1 slice is missing among 7 (from 34.0 to 38.0 mm along the normal)")
    assert found.affine.isclose(AFFINE)
    assert np.array_equal(found.read(), volume)  # the ramp is linear along the slices
    assert [origin.instance_number for origin in found.origins] == [1, 2, 3, 3, 5, 6, 7, 8]
    assert [origin.share for origin in found.origins] == [1, 1, 1, 0.5, 1, 1, 1, 1]


def test_where_most_is_missing_the_count_stays(tmp_path: Path) -> None:
    keep = [0, 1, 4, 9, 10, 15, 21]
    write_series(tmp_path, volume=ramp(22), affine=AFFINE, keep=keep)
    found = _only_volume(tmp_path)
    assert found.shape[0] == len(keep)
    assert found.spacing[2] == pytest.approx(42 / 6)
    assert_allclose(found.read(), ramp(22)[0] + 80 * np.arange(0, 22, 3.5)[:, None, None], atol=0.5)
    assert "15 slices are missing among 7" in found.problems[0]
    assert "and 1 more" in found.problems[0]


def test_uneven_spacing_is_resampled_in_place(tmp_path: Path) -> None:
    levels = np.array([0.0, 2.0, 4.0, 6.0, 11.0, 16.0, 21.0])
    flat = Affine.from_parts(spacing=(0.5, 0.7, 1.0), origin=(-10.0, -20.0, 30.0))
    volume = np.stack(
        [np.rint(_sampled(Affine(flat.matrix @ _moved(level)), shape=(1, 8, 10))[0]) for level in levels]
    ).astype("int16")
    write_series(
        tmp_path,
        volume=volume,
        ImagePositionPatient=lambda index: flat.apply((0, 0, float(levels[index]))).tolist(),
        PixelSpacing=[0.7, 0.5],
    )
    found = _only_volume(tmp_path)
    assert "Uneven slice spacing, 2 to 5 mm" in found.problems[0]
    assert found.spacing[2] == pytest.approx(2.1)
    assert_allclose(found.read(), _sampled(found.affine, shape=found.shape), atol=1.01)
    assert_allclose(found.affine.apply((0, 0, found.shape[0] - 1))[2], 51.0)


def _moved(level: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[2, 3] = level
    return matrix


@pytest.mark.parametrize("degrees", [-20.0, 12.0, 30.0])
def test_a_tilted_stack_is_straightened_in_place(tmp_path: Path, degrees: float) -> None:
    """Slices tilted about x, stacked along z: the linear field must come out where it is."""
    angle = np.radians(degrees)
    column, row = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = column * 0.5, row * 0.5, [0, 0, 3.0]
    matrix[:3, 3] = (-10, -20, 30)
    tilted = Affine(matrix)
    volume = np.rint(_sampled(tilted, shape=(6, 40, 12))).astype("int16")
    write_series(tmp_path, volume=volume, affine=tilted, GantryDetectorTilt=str(degrees))
    found = _only_volume(tmp_path)
    assert f"at {abs(degrees):.1f} degrees to their normal" in found.problems[0]
    assert f"(the header says {degrees:g} degrees)" in found.problems[0]
    assert_allclose(found.affine.direction.T @ found.affine.direction, np.eye(3), atol=1e-9)
    assert found.spacing[2] == pytest.approx(3 * np.cos(angle))
    for index, origin in enumerate(found.origins):
        # Every pixel of the file is somewhere in the straightened slice, at the same place in the patient.
        pixel = np.array([5.0, 20.0])
        place = pixel - origin.shift
        assert 0 <= place[1] <= found.shape[1] - 1
        assert_allclose(found.affine.apply((*place, index)), tilted.apply((*pixel, index)), atol=1e-6)
        rows = slice(int(np.ceil(-origin.shift[1])), int(np.ceil(-origin.shift[1])) + 39)
        expected = _sampled(found.affine, shape=found.shape)[index, rows]
        assert_allclose(found.read(slices=[index])[0, rows], expected, atol=1.01)


def test_a_wide_gap_makes_two_volumes(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(60), affine=AFFINE, keep=[*range(0, 6), *range(50, 58)])
    one, two = open_study(tmp_path).volumes()
    assert (one.shape[0], two.shape[0]) == (6, 8)
    assert "1 wide gap(s)" in one.problems[0]
    assert one.series == "1.2.3.2#1"
    assert two.affine.origin[2] == pytest.approx(130.0)


def test_thickness_is_not_spacing(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(6), affine=AFFINE, SliceThickness="1.0", SpacingBetweenSlices="1.0")
    found = _only_volume(tmp_path)
    assert found.spacing[2] == pytest.approx(2.0)
    assert "2 mm apart and 1 mm thick" in found.problems[0]


def test_small_rounding_is_not_uneven(tmp_path: Path) -> None:
    def rounded(index: int) -> list[float]:
        return np.round(AFFINE.apply((0, 0, index * 0.3125)), 1).tolist()

    write_series(tmp_path, volume=ramp(30), ImagePositionPatient=rounded, PixelSpacing=[0.7, 0.5])
    found = _only_volume(tmp_path)
    assert not any("spacing" in problem for problem in found.problems)
    assert found.pixels.resampling is None
    assert found.spacing[2] == pytest.approx(0.625, abs=5e-3)


@settings(max_examples=25, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 4)] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    mirror=st.booleans(),
)
def test_dicom_and_nifti_of_one_volume_agree_in_the_patient(
    tmp_path_factory: pytest.TempPathFactory,
    turn: tuple[float, float, float],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    mirror: bool,
) -> None:
    """Written as slices and as NIfTI in any orientation, each voxel lies at one place with one value."""
    import nibabel

    folder = tmp_path_factory.mktemp("pair")
    direction = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    affine = Affine.from_parts(spacing=spacing, direction=direction, origin=origin)
    volume = ramp(5, 6, 7)
    write_series(folder / "dicom", volume=volume, affine=affine, modality="MR")
    array, matrix = volume.transpose(2, 1, 0), affine.to_ras()
    if mirror:  # the same volume stored from the other side
        array, matrix = array[::-1], matrix @ np.array([[-1, 0, 0, 6], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    nibabel.Nifti1Image(array, matrix).to_filename(folder / "volume.nii")
    dicom, nifti = _only_volume(folder / "dicom"), _only_volume(folder / "volume.nii")
    assert np.array_equal(dicom.read(), volume)
    assert dicom.affine.isclose(affine, mm=1e-4)
    assert nifti.affine.apply((0, 0, 0))[0] == pytest.approx(-matrix[0, 3], abs=1e-3)
    voxels = np.array([(0, 0, 0), (6, 0, 0), (0, 5, 0), (0, 0, 4), (3, 2, 1), (6, 5, 4)])
    places = dicom.affine.apply(voxels)
    back = np.rint(nifti.affine.inverse.apply(places)).astype(int)
    assert_allclose(nifti.affine.apply(back), places, atol=2e-3)
    taken = nifti.read()[back[:, 2], back[:, 1], back[:, 0]]
    assert taken.tolist() == volume[voxels[:, 2], voxels[:, 1], voxels[:, 0]].tolist()


def test_left_is_left(tmp_path: Path) -> None:
    """A bright voxel at the patient's left (x > 0 in LPS) stays there, whichever way the rows run."""
    for name, direction in {"lps": np.eye(3), "rps": np.diag([-1.0, 1.0, -1.0])}.items():
        affine = Affine.from_parts(direction=direction, spacing=(2, 2, 2), origin=(0, 0, 0))
        volume = np.zeros((4, 9, 9), "int16")
        column = 7 if name == "lps" else 1
        volume[:, 4, column] = 500
        write_series(
            tmp_path / name,
            volume=volume,
            affine=affine,
            ImagePositionPatient=lambda i, affine=affine: (affine.apply((0, 0, i)) - affine.apply((4, 4, 0))).tolist(),
        )
        found = _only_volume(tmp_path / name)
        slice_index, row, col = np.argwhere(found.read() == 500)[0]
        assert (found.affine.apply((col, row, slice_index))[0] > 0) == (name == "lps" or column < 4)
        assert geometry(affine)["PixelSpacing"] == ["2", "2"]
