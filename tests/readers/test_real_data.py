"""Every real file at hand opens and reads right, or gives one clear error."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as PillowImage
from pydicom import dcmread

from osler.errors import FileFormatError, OslerError, PatientMixError, UnsupportedError
from osler.readers import open_study
from osler.study import Series, Slide, Study
from tests.shared_data import SHARED_DATA, needs_shared_data

pytestmark = needs_shared_data
DATA = SHARED_DATA or Path()
ODD = DATA / "dicom-odd"


def _cases() -> list[str]:
    folders = [*(DATA / "ct").glob("*"), *(DATA / "mr").glob("*"), *ODD.glob("*"), *(DATA / "slides").glob("*")]
    loose = [*(ODD / "dcmqi").glob("*.dcm")]
    return sorted(str(path.relative_to(DATA)) for path in [*folders, *loose])


def _opened(path: Path) -> Study | OslerError:
    try:
        return open_study(path)
    except OslerError as error:
        return error


def _pixels(series: Series) -> np.ndarray:
    """All pixels of an image, a corner of a slide."""
    if isinstance(series, Slide):
        return series.pixels.read_region(level=0, x=0, y=0, width=300, height=200)
    return series.read()


@pytest.mark.parametrize("name", _cases())
def test_whatever_is_there_opens_or_says_why(name: str) -> None:
    study = _opened(DATA / name)
    if isinstance(study, OslerError):
        assert study.next_step
        assert isinstance(study, UnsupportedError | PatientMixError | FileFormatError)
        return
    for series in islice(study.series(), 12):
        if hasattr(series, "affine") and series.affine is not None and len(series.pixels.shape) == 3:
            picked = [0, series.pixels.shape[0] // 2]
            values = series.pixels.read(slices=picked)
            assert values.shape == (2, *series.pixels.shape[1:])
        else:
            values = _pixels(series)
        assert np.isfinite(values).all()


def test_compressed_series_equals_its_ground_truth() -> None:
    folder = ODD / "generic-compressed_j2k"
    (volume,) = open_study(folder / "001").volumes()
    truth = nibabel.load(folder / "001_ground_truth.nii.gz")
    places = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 3), (100, 200, 2)])
    voxels = np.rint(
        nibabel.affines.apply_affine(np.linalg.inv(truth.affine), volume.affine.apply(places) * [-1, -1, 1])
    )
    back = nibabel.affines.apply_affine(truth.affine, voxels) * [-1, -1, 1]
    np.testing.assert_allclose(back, volume.affine.apply(places), atol=1e-3)
    expected = np.asarray(truth.dataobj)[tuple(voxels.astype(int).T)]
    assert volume.read()[places[:, 2], places[:, 1], places[:, 0]].tolist() == expected.tolist()
    # The whole of it: the truth is the same stack, slices from the other side.
    order = [int(index) for index in voxels[[0, 2], 2]]
    stack = np.asarray(truth.dataobj).transpose(2, 1, 0)
    stack = stack[::-1] if order[0] > order[1] else stack
    flipped = voxels[2, 1] < voxels[0, 1]
    assert np.array_equal(volume.read(), stack[:, ::-1] if flipped else stack)


def test_philips_enhanced_geometry_and_values() -> None:
    path = ODD / "philips_enhanced-anatomical-001/IM-0001-0170-0001.dcm"
    (volume,) = open_study(path).volumes()
    ds = dcmread(path)
    frames = ds.PerFrameFunctionalGroupsSequence
    for index, origin in enumerate(volume.origins):
        group = frames[origin.frame]
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        np.testing.assert_allclose(volume.affine.apply((0, 0, index)), position, atol=1e-3)
        transform = group.PixelValueTransformationSequence[0]
        expected = ds.pixel_array[origin.frame] * float(transform.RescaleSlope) + float(transform.RescaleIntercept)
        np.testing.assert_allclose(volume.read(slices=[index])[0], expected, rtol=1e-5)
    assert volume.plane == "sagittal"
    assert np.dot(volume.affine.matrix[:3, 2], volume.affine.normal) > 0


def test_gantry_tilt_and_missing_slice_are_said() -> None:
    (tilted,) = open_study(ODD / "failing-gantrytilting").volumes()
    assert "at 14.0 degrees" in tilted.problems[0]
    assert tilted.shape == (4, 521, 512)
    (gap,) = open_study(ODD / "failing-sliceincrement-001").volumes()
    assert "1 slice is missing" in gap.problems[0]
    assert gap.shape[0] == 5
    first = dcmread(ODD / "failing-sliceincrement-001/IM-0001-0007-0001.dcm")
    assert np.array_equal(gap.read(slices=[0])[0], first.pixel_array * 1 - 1024)


def test_not_a_volume_is_said() -> None:
    study = open_study(ODD / "failing-notavolume")
    assert study.volumes() == ()
    assert "lie at the same position" in study.images()[0].problems[0]


def test_a_folder_of_two_patients() -> None:
    with pytest.raises(PatientMixError):
        open_study(ODD / "dcmqi")


@pytest.mark.parametrize("name", ["liver", "seg", "partial_overlaps", "sr", "rwvm", "sparse-labelmap-ppv5"])
def test_objects_that_are_not_images(name: str) -> None:
    with pytest.raises(UnsupportedError, match=rf"{name}\.dcm is a "):
        open_study(ODD / f"dcmqi/{name}.dcm")


def test_slides() -> None:
    (slide,) = open_study(DATA / "slides/cmu-1-small-region.svs").slides()
    assert slide.size == (2220, 2967)
    with pytest.raises(FileFormatError, match=r"broken\.svs"):
        open_study(DATA / "slides/broken.svs")


def test_lidc_slices_by_position() -> None:
    """The thickness tag says 1 mm; the kept slices lie 3 mm apart on average, and unevenly."""
    study = open_study(DATA / "ct/lidc-idri-0314")
    (volume,) = study.volumes()
    assert volume.spacing == pytest.approx((0.78125, 0.78125, 3.0))
    assert (volume.shape, volume.units) == ((92, 512, 512), "HU")
    assert "182 slices are missing among 92" in volume.problems[0]
    for index in (0, 91):  # the ends are real slices
        ds = dcmread(volume.origins[index].file)
        np.testing.assert_allclose(volume.affine.apply((0, 0, index)), np.array(ds.ImagePositionPatient, float))
        assert np.array_equal(volume.read(slices=[index])[0], ds.pixel_array * ds.RescaleSlope + ds.RescaleIntercept)


def test_lung_ct_by_pydicom_slice_for_slice() -> None:
    (volume,) = open_study(DATA / "ct/lung-petct-dx-a0001").volumes()
    assert volume.shape == (64, 512, 512)
    heads = [dcmread(origin.file) for origin in volume.origins]
    levels = [float(ds.ImagePositionPatient[2]) for ds in heads]
    assert levels == sorted(levels)
    values = volume.read()
    assert values.dtype == np.int16
    for index in (0, 17, 63):
        expected = heads[index].pixel_array * heads[index].RescaleSlope + heads[index].RescaleIntercept
        assert np.array_equal(values[index], expected)


def test_a_radiologists_nodule_is_denser_than_the_lung_beside_it() -> None:
    """Geometry end to end: slice numbers of the annotation count 1 mm steps from the lowest slice."""
    nodule = json.loads((DATA / "ct/lidc-idri-0314/nodules.json").read_text())[0]
    assert nodule["texture"] == 5  # solid
    x0, y0, x1, y1, k0, k1 = nodule["box_xyxykk"]
    (volume,) = open_study(DATA / "ct/lidc-idri-0314").volumes()
    low = volume.affine.origin[2]
    index = round(volume.affine.inverse.apply((0, 0, low + (k0 + k1) / 2))[2])
    plane = volume.read(slices=[index])[0]
    row, column = (y0 + y1) // 2, (x0 + x1) // 2
    assert plane[row - 3 : row + 4, column - 3 : column + 4].mean() > -200
    beside = plane[row - 3 : row + 4, x0 - 25 : x0 - 15]
    assert beside.mean() < -700


def test_x_rays() -> None:
    paths = [next((DATA / f"cxr/{name}/images").iterdir()) for name in ("nih", "montgomery", "hannover", "lung-boxes")]
    for path in paths:
        (image,) = open_study(path).images()
        with PillowImage.open(path) as picture:
            assert image.size == picture.size
            expected = np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))
        assert np.array_equal(image.read(), expected)
