"""Values: rescale, inversion, padding, color, types, memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from osler.errors import FileFormatError, RequestError
from osler.readers import open_study
from osler.readers.dicom_pixels import finite, rescaled
from osler.study import Image, Series
from tests.readers.make_dicom import base_dataset, ramp, save, write_series


def _image(path: Path, *, pixels: np.ndarray, **elements: object) -> Image:
    (image,) = open_study(save(base_dataset(pixels, **elements), path / "one.dcm")).images()
    return image


def test_hounsfield_units_stay_int16(tmp_path: Path) -> None:
    stored = ramp(5, dtype="uint16")
    write_series(tmp_path, volume=stored, RescaleIntercept="-1024", RescaleSlope="2")
    (volume,) = open_study(tmp_path).volumes()
    values = volume.read()
    assert values.dtype == np.int16
    assert np.array_equal(values, stored.astype(int) * 2 - 1024)
    assert volume.units == "HU"


@given(
    stored=hnp.arrays(st.sampled_from([np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32]), (3, 4)),
    slope=st.integers(-300, 300) | st.sampled_from([1, 70_000, 2**31]),
    intercept=st.integers(-70_000, 70_000) | st.just(-1024),
)
def test_whole_rescales_are_exact_or_float32(stored: np.ndarray, slope: int, intercept: int) -> None:
    values = rescaled(stored, slope=float(slope), intercept=float(intercept))
    exact = stored.astype(object) * slope + intercept
    if values.dtype.kind in "iu":
        assert np.array_equal(values.astype(object), exact)
    else:
        assert values.dtype == np.float32
        assert np.allclose(values, exact.astype(float), rtol=1e-6, atol=np.abs(exact.astype(float)).max() * 1e-6 + 0.1)


def test_hounsfield_units_need_no_more_than_int16() -> None:
    stored = np.array([[0, 4095]], np.uint16)
    assert rescaled(stored, slope=1.0, intercept=-1024.0).dtype == np.int16
    assert rescaled(stored, slope=16.0, intercept=0.0).dtype == np.int32


def test_fractional_slopes_become_float32(tmp_path: Path) -> None:
    write_series(
        tmp_path, volume=ramp(5), modality="PT", RescaleSlope=lambda index: f"{index + 0.5}", RescaleIntercept="0"
    )
    (volume,) = open_study(tmp_path).volumes()
    assert volume.read().dtype == np.float32
    assert np.allclose(volume.read(), ramp(5) * (np.arange(5) + 0.5)[:, None, None])
    assert volume.units == "arbitrary"


def test_large_values_become_float32(tmp_path: Path) -> None:
    stored = ramp(5, dtype="uint16")
    stored[3, 0, 0] = 65535
    write_series(tmp_path, volume=stored, modality="MR")
    (volume,) = open_study(tmp_path).volumes()
    assert volume.read().dtype == np.float32
    assert np.array_equal(volume.read(), stored)
    assert volume.read(slices=[0]).dtype == np.int16


@pytest.mark.parametrize(
    ("elements", "units", "text"),
    [
        ({"RescaleSlope": None, "RescaleIntercept": None}, "arbitrary", "no rescale slope and intercept"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "arbitrary", "scout"),
        ({"RescaleType": "US"}, "HU", ""),
        ({"RescaleType": "Z_EFF"}, "arbitrary", "'Z_EFF'"),
        ({"Modality": "MR"}, "arbitrary", ""),
    ],
)
def test_units_are_hounsfield_only_where_they_are(
    tmp_path: Path, elements: dict[str, object], units: str, text: str
) -> None:
    write_series(tmp_path, volume=ramp(5), **elements)
    (volume,) = open_study(tmp_path).volumes()
    assert volume.units == units
    assert text in " ".join(volume.problems)


def test_monochrome1_is_inverted_with_its_window(tmp_path: Path) -> None:
    stored = np.array([[0, 100], [4000, 4095]], "uint16")
    image = _image(
        tmp_path, pixels=stored, modality="DX", PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11,
        WindowCenter="1000.5", WindowWidth="201",
    )  # fmt: skip
    assert image.read().tolist() == [[4095, 3995], [95, 0]]
    assert (image.window.low, image.window.high) == (4095 - 1100, 4095 - 900)


def test_monochrome1_in_hounsfield_units_keeps_its_sign(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(5), PhotometricInterpretation="MONOCHROME1")
    assert np.array_equal(open_study(tmp_path).volumes()[0].read(), ramp(5))


def test_signed_monochrome1(tmp_path: Path) -> None:
    image = _image(
        tmp_path, pixels=np.array([[-5, 0, 7]], "int16"), modality="DX", PhotometricInterpretation="MONOCHROME1"
    )
    assert image.read().tolist() == [[4, -1, -8]]


def test_padding_becomes_the_least_value(tmp_path: Path) -> None:
    pixels = np.array([[-2000, -1999, 5], [9, 20, -2000]], "int16")
    image = _image(tmp_path, pixels=pixels, modality="MR", PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    assert image.read().tolist() == [[5, 5, 5], [9, 20, 5]]


def test_padding_of_an_inverted_x_ray_is_black(tmp_path: Path) -> None:
    pixels = np.array([[255, 10], [200, 255]], "uint8")
    image = _image(
        tmp_path, pixels=pixels, modality="DX", PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=255
    )
    assert image.read().tolist() == [[55, 245], [55, 55]]


def test_color(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3)).astype("uint8")
    image = _image(tmp_path, pixels=pixels, modality="XC")
    assert image.units == "RGB"
    assert np.array_equal(image.read(), pixels)
    wide = _image(tmp_path, pixels=pixels.astype("uint16") * 257, modality="XC")
    assert np.array_equal(wide.read(), pixels)


def test_the_modality_lut_is_applied(tmp_path: Path) -> None:
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    ds = base_dataset(np.array([[0, 1, 2, 9]], "uint8"), modality="DX")
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType, item.LUTData = [3, 0, 16], "US", [500, 100, 300]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    ds.ModalityLUTSequence = Sequence([item])
    (image,) = open_study(save(ds, tmp_path / "lut.dcm")).images()
    assert image.read().tolist() == [[500, 100, 300, 300]]


def test_a_rescale_that_is_no_number_is_refused(tmp_path: Path) -> None:
    ds = base_dataset(ramp(1)[0])
    path = save(ds, tmp_path / "nan.dcm")
    raw = path.read_bytes()
    assert raw.count(b"S\x10DS\x04\x001.0 ") == 1
    path.write_bytes(raw.replace(b"S\x10DS\x04\x001.0 ", b"S\x10DS\x04\x00nan "))
    with pytest.raises(FileFormatError, match=r"nan\.dcm: a rescale value of 'nan'"):
        open_study(path)


def test_slices_are_picked_in_any_order(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(6))
    (volume,) = open_study(tmp_path).volumes()
    assert np.array_equal(volume.read(slices=[5, 0, 5, -1]), ramp(6)[[5, 0, 5, 5]])
    assert volume.read(slices=[]).shape[0] == 0
    with pytest.raises(RequestError, match=r"Slice 6 of a volume of 6\. 0 to 5\."):
        volume.read(slices=[6])


def test_windows_are_noted(tmp_path: Path) -> None:
    write_series(tmp_path, volume=ramp(5), WindowCenter=["40.5", "-600"], WindowWidth=["401", "1500"])
    window = open_study(tmp_path).volumes()[0].window
    assert (window.low, window.high) == (-160, 240)


def test_not_finite_values() -> None:
    values = np.array([1.0, np.nan, -3.0, np.inf, -np.inf], np.float32)
    assert finite(values).tolist() == [1, -3, -3, -3, -3]
    assert finite(np.full(2, np.nan, np.float32)).tolist() == [0, 0]


def test_float_pixels_with_nan(tmp_path: Path) -> None:
    ds = base_dataset(ramp(1)[0], modality="MR")
    values = np.linspace(-1, 1, 80, dtype="<f4").reshape(8, 10)
    values[2, 3] = np.nan
    del ds.PixelData
    ds.FloatPixelData, ds.BitsAllocated = values.tobytes(), 32
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, keyword)
    (image,) = open_study(save(ds, tmp_path / "float.dcm")).images()
    read = image.read()
    assert read[2, 3] == -1
    assert np.allclose(np.delete(read.ravel(), 23), np.delete(values.ravel(), 23))
    assert "NaN" in " ".join(image.problems)


def test_views_of_x_rays_stay_apart(tmp_path: Path) -> None:
    for number, view in enumerate(("PA", "LL")):
        ds = base_dataset(ramp(1)[0], modality="DX", ViewPosition=view, ImagerPixelSpacing=["0.2", "0.1"])
        save(ds, tmp_path / f"{number}.dcm")
    images: list[Series] = list(open_study(tmp_path).series())
    assert sorted(image.view for image in images) == ["LL", "PA"]
    assert images[0].spacing == (0.1, 0.2)
    assert images[0].affine is None
