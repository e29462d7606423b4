"""NIfTI and MGH: axes, orientation, scale, odd and broken headers."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from nibabel.freesurfer import MGHImage

from osler.errors import CapacityError, FileFormatError, GeometryError, RequestError, UnsupportedError
from osler.readers import limits, nifti, open_study, stored_voxels
from osler.study import Image, Volume

RAS = np.array([[0, 0, 2.5, -30], [-0.8, 0, 0, 40], [0, 0.9, 0, -50], [0, 0, 0, 1]])


def _array(dtype: str = "int16", shape: tuple[int, ...] = (4, 5, 6)) -> np.ndarray:
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def _open(path: Path) -> Volume:
    (volume,) = open_study(path).volumes()
    return volume


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "wrong.dcm"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_axes_and_affine(tmp_path: Path, name: str, kind: type) -> None:
    array = _array()
    written = tmp_path / ("a.nii.gz" if name.endswith("gz") else "a.nii")
    kind(array, RAS).to_filename(written)
    written.rename(tmp_path / name)
    volume = _open(tmp_path / name)
    assert volume.shape == (6, 5, 4)
    values = volume.read()
    assert values.dtype == np.int16
    assert values[3, 1, 2] == array[2, 1, 3]
    assert np.array_equal(values, array.transpose(2, 1, 0))
    assert np.array_equal(volume.read(slices=[4, 0]), values[[4, 0]])
    place = RAS @ [2, 1, 3, 1]
    assert volume.affine.apply((2, 1, 3)) == pytest.approx([-place[0], -place[1], place[2]])
    assert [origin.frame for origin in volume.origins] == list(range(6))
    assert volume.modality == ""
    assert volume.units == "arbitrary"


def test_mgz(tmp_path: Path) -> None:
    MGHImage(_array("float32"), RAS).to_filename(tmp_path / "a.mgz")
    volume = _open(tmp_path / "a.mgz")
    assert np.array_equal(volume.read(), _array("float32").transpose(2, 1, 0))
    place = RAS @ [3, 4, 5, 1]
    assert volume.affine.apply((3, 4, 5)) == pytest.approx([-place[0], -place[1], place[2]], abs=1e-4)


def test_inside_a_zip(tmp_path: Path) -> None:
    nibabel.Nifti1Image(_array(), RAS).to_filename(tmp_path / "a.nii.gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.nii.gz", "x/a.nii.gz")
    volume = _open(tmp_path / "a.zip")
    assert np.array_equal(volume.read(), _array().transpose(2, 1, 0))
    assert volume.description == "a.nii.gz"


@pytest.mark.parametrize(
    ("dtype", "expected"), [("uint8", "uint8"), ("int32", "int16"), ("float64", "float32"), (">i2", "int16")]
)
def test_types(tmp_path: Path, dtype: str, expected: str) -> None:
    nibabel.Nifti1Image(_array(dtype), RAS, dtype=np.dtype(dtype)).to_filename(tmp_path / "a.nii")
    values = _open(tmp_path / "a.nii").read()
    assert values.dtype == np.dtype(expected)
    assert np.array_equal(values, _array().transpose(2, 1, 0))


def test_scale(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(_array(), RAS)
    image.header.set_slope_inter(2, -1024)
    image.to_filename(tmp_path / "a.nii")
    with (tmp_path / "a.nii").open("r+b") as stream:  # nibabel divides what it writes by the slope
        stream.seek(352)
        stream.write(_array().tobytes(order="F"))
    values = _open(tmp_path / "a.nii").read()
    assert values.dtype == np.int16
    assert np.array_equal(values, _array().transpose(2, 1, 0) * 2 - 1024)


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_no_scale(tmp_path: Path, slope: float) -> None:
    nibabel.Nifti1Image(_array(), RAS).to_filename(tmp_path / "a.nii")
    raw = bytearray((tmp_path / "a.nii").read_bytes())
    raw[112:120] = np.array([slope, 5.0], "<f4").tobytes()
    (tmp_path / "a.nii").write_bytes(raw)
    assert np.array_equal(_open(tmp_path / "a.nii").read(), _array().transpose(2, 1, 0))


def _forms(path: Path, *, sform: np.ndarray | None, qform: np.ndarray | None) -> Path:
    image = nibabel.Nifti1Image(_array(), None)
    image.set_sform(sform, code=0 if sform is None else 1)
    image.set_qform(qform, code=0 if qform is None else 1)
    nibabel.save(image, path)
    return path


def test_sform_goes_before_qform_and_a_difference_is_said(tmp_path: Path) -> None:
    other = RAS.copy()
    other[0, 3] += 10
    volume = _open(_forms(tmp_path / "a.nii", sform=RAS, qform=other))
    assert volume.affine.to_ras() == pytest.approx(RAS, abs=1e-4)
    assert "sform and qform) differ" in volume.problems[0]


def test_qform_alone(tmp_path: Path) -> None:
    volume = _open(_forms(tmp_path / "a.nii", sform=None, qform=RAS))
    assert volume.affine.to_ras() == pytest.approx(RAS, abs=1e-4)
    assert volume.problems == ()


def test_no_orientation_is_said(tmp_path: Path) -> None:
    volume = _open(_forms(tmp_path / "a.nii", sform=None, qform=None))
    assert "which side is left is not known" in volume.problems[0]


def test_a_singular_sform_gives_way(tmp_path: Path) -> None:
    path = _forms(tmp_path / "a.nii", sform=RAS, qform=RAS)
    raw = bytearray(path.read_bytes())
    raw[280:328] = bytes(48)
    path.write_bytes(raw)
    volume = _open(path)
    assert volume.affine.to_ras() == pytest.approx(RAS, abs=1e-4)
    assert "passed over" in volume.problems[0]
    raw[252:254] = bytes(2)
    path.write_bytes(raw)
    with pytest.raises(GeometryError, match=r"a\.nii: the orientation in its header is singular"):
        open_study(path)


def test_4d_gives_the_first_volume_and_says_so(tmp_path: Path) -> None:
    array = _array(shape=(4, 5, 6, 3))
    nibabel.Nifti1Image(array, RAS).to_filename(tmp_path / "a.nii.gz")
    study = open_study(tmp_path / "a.nii.gz")
    assert np.array_equal(study.volumes()[0].read(), array[..., 0].transpose(2, 1, 0))
    assert study.volumes()[0].problems[0] == "A 4D file of 3: the first is used."
    assert study.left_out[0].count == 2


def test_one_slice_is_an_image(tmp_path: Path) -> None:
    nibabel.Nifti1Image(_array(shape=(4, 5, 1)), RAS).to_filename(tmp_path / "a.nii")
    (image,) = open_study(tmp_path / "a.nii").images()
    assert isinstance(image, Image)
    assert np.array_equal(image.read(), _array(shape=(4, 5, 1))[..., 0].T)
    assert image.spacing == pytest.approx((0.8, 0.9))


def test_values_that_are_hounsfield_units_make_a_ct(tmp_path: Path) -> None:
    array = _array("float32")
    array[0], array[1] = -1024, 1500.5
    nibabel.Nifti1Image(array, RAS).to_filename(tmp_path / "a.nii.gz")
    volume = _open(tmp_path / "a.nii.gz")
    assert (volume.modality, volume.units) == ("CT", "HU")
    assert "values from -1024 to 1500.5 are taken as CT in HU" in volume.problems[0]


def test_nan_and_infinite_voxels_are_counted_and_replaced(tmp_path: Path) -> None:
    array = _array("float32") - 5
    array[0, 0, 0], array[1, 2, 3], array[3, 3, 3] = np.nan, np.inf, -np.inf
    nibabel.Nifti1Image(array, RAS).to_filename(tmp_path / "a.nii")
    volume = _open(tmp_path / "a.nii")
    assert volume.problems[0].startswith("3 voxels are NaN or infinite")
    values = volume.read().transpose(2, 1, 0)
    assert values[0, 0, 0] == values[1, 2, 3] == values[3, 3, 3] == -4
    assert np.isfinite(values).all()


def test_a_blank_volume_is_said(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.zeros((4, 4, 4), "int16"), RAS).to_filename(tmp_path / "a.nii")
    assert "nothing to see" in _open(tmp_path / "a.nii").problems[0]


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_terabytes_are_refused(tmp_path: Path, name: str) -> None:
    nibabel.Nifti1Image(_array(), RAS).to_filename(tmp_path / "small.nii")
    raw = bytearray((tmp_path / "small.nii").read_bytes())
    raw[40:48] = np.array([3, 32767, 32767, 32767], "<i2").tobytes()
    (tmp_path / name).write_bytes(gzip.compress(bytes(raw)) if name.endswith("gz") else raw)
    with pytest.raises(FileFormatError, match=r"32767 x 32767 x 32767 voxels of 2 bytes, which is 64\.0 TiB"):
        open_study(tmp_path / name)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_announced_voxels_must_be_there(tmp_path: Path, name: str) -> None:
    nibabel.Nifti1Image(_array(), RAS).to_filename(tmp_path / "small.nii")
    raw = bytearray((tmp_path / "small.nii").read_bytes())
    raw[40:48] = np.array([3, 1000, 1000, 1000], "<i2").tobytes()
    (tmp_path / name).write_bytes(gzip.compress(bytes(raw)) if name.endswith("gz") else raw)
    with pytest.raises(FileFormatError, match=rf"{name} is truncated: 2,000,000,000 bytes of voxels are announced"):
        open_study(tmp_path / name)


def test_a_cut_gzip_stream(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nibabel.Nifti1Image(rng.integers(0, 999, (20, 20, 20)).astype("int16"), RAS).to_filename(tmp_path / "a.nii.gz")
    raw = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(FileFormatError, match=r"a\.nii\.gz is truncated or damaged"):
        open_study(tmp_path / "a.nii.gz")


def test_colors_vectors_and_complex_numbers_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(rgb, RAS).to_filename(tmp_path / "rgb.nii")
    nibabel.Nifti1Image(np.zeros((3, 3, 3), "complex64"), RAS).to_filename(tmp_path / "complex.nii")
    nibabel.Nifti1Image(np.zeros((3, 3, 3, 1, 3), "float32"), RAS).to_filename(tmp_path / "vector.nii")
    for name, text in {"rgb": "One real number", "complex": "complex64", "vector": "vectors or matrices"}.items():
        with pytest.raises(UnsupportedError, match=text):
            open_study(tmp_path / f"{name}.nii")


def test_pair_headers_are_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(_array(), RAS).to_filename(tmp_path / "a.hdr")
    with pytest.raises(UnsupportedError, match=r"convert it to a single \.nii file, which keeps left and right"):
        open_study(tmp_path / "a.hdr")


def test_slices_that_do_not_exist(tmp_path: Path) -> None:
    nibabel.Nifti1Image(_array(), RAS).to_filename(tmp_path / "a.nii")
    with pytest.raises(RequestError, match="Slice 6 of a volume of 6"):
        _open(tmp_path / "a.nii").read(slices=[6])


def test_flipped_header_bytes_never_give_a_library_error(tmp_path: Path) -> None:
    nibabel.Nifti1Image(_array("float32"), RAS).to_filename(tmp_path / "whole.nii")
    whole = (tmp_path / "whole.nii").read_bytes()
    rng = np.random.default_rng(1)
    path = tmp_path / "flipped.nii"
    outcomes = set()
    for _ in range(200):
        raw = bytearray(whole)
        for place in rng.integers(4, 344, 3):
            raw[place] = rng.integers(256)
        path.write_bytes(raw)
        outcomes.add(_outcome(path))
    assert outcomes == {"read", "refused with its name"}


def _outcome(path: Path) -> str:
    try:
        for series in open_study(path).series():
            series.read()
    except (FileFormatError, UnsupportedError, GeometryError) as error:
        return "refused with its name" if path.name in str(error) else f"refused without: {error}"
    return "read"


def test_a_member_of_an_archive_that_does_not_fit_into_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nibabel.Nifti1Image(_array(), RAS).to_filename(tmp_path / "a.nii")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.nii", "a.nii")
    volume = _open(tmp_path / "a.zip")
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: SimpleNamespace(available=500))
    with pytest.raises(CapacityError, match=r"a\.zip!a\.nii needs 720 bytes of memory\. 500 bytes are free"):
        volume.read()
    assert volume.read(slices=[1, 2]).shape == (2, 5, 4)


def test_opening_looks_at_a_bounded_part_of_the_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti, "_SURVEY_BYTES", 8 << 20)
    array = np.zeros((512, 512, 60), "int16")  # 30 MiB
    array[0], array[1] = -1024, 1500
    seen: list[int] = []
    original = stored_voxels._fill

    def counting(stream: object, view: memoryview) -> None:
        seen.append(len(view))
        original(stream, view)

    monkeypatch.setattr(stored_voxels, "_fill", counting)
    for name in ("a.nii", "a.nii.gz"):
        seen.clear()
        nibabel.Nifti1Image(array, RAS).to_filename(tmp_path / name)
        volume = _open(tmp_path / name)
        assert sum(seen) <= 8 << 20
        assert volume.modality == "CT"
    seen.clear()
    assert volume.read(slices=[3]).shape == (1, 512, 512)
    assert sum(seen) == 512 * 512 * 2


def test_what_was_not_looked_at_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nifti, "_SURVEY_BYTES", 1 << 20)
    monkeypatch.setattr(stored_voxels, "_PIECE", 1 << 20)
    array = np.zeros((256, 256, 40), "float32")
    array[5, 6, 7], array[..., 30:] = np.nan, 3.0
    nibabel.Nifti1Image(array, RAS).to_filename(tmp_path / "a.nii.gz")
    volume = _open(tmp_path / "a.nii.gz")
    assert volume.problems == ()  # not "all voxels have the same value": its second half was not looked at
    array[5, 6, 2] = np.nan
    nibabel.Nifti1Image(array, RAS).to_filename(tmp_path / "a.nii.gz")
    assert _open(tmp_path / "a.nii.gz").problems[0].startswith("At least 1 voxels are NaN or infinite")


def test_the_end_of_a_long_gzip_file_is_checked_though_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nifti, "_SURVEY_BYTES", 1 << 20)
    monkeypatch.setattr(stored_voxels, "_PIECE", 1 << 20)
    noise = np.random.default_rng(0).integers(0, 999, (128, 128, 80)).astype("int16")
    nibabel.Nifti1Image(noise, RAS).to_filename(tmp_path / "a.nii.gz")
    raw = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(raw[:-5000])
    with pytest.raises(FileFormatError, match=r"cut\.nii\.gz is truncated or damaged: its voxels end early"):
        open_study(tmp_path / "cut.nii.gz")
    plain = gzip.decompress(raw)
    (tmp_path / "parts.nii.gz").write_bytes(gzip.compress(plain[:1_000_000]) + gzip.compress(plain[1_000_000:]))
    assert np.array_equal(_open(tmp_path / "parts.nii.gz").read(), noise.transpose(2, 1, 0))
    (tmp_path / "half.nii.gz").write_bytes(gzip.compress(plain[:1_500_000]))
    with pytest.raises(FileFormatError, match=r"half\.nii\.gz is truncated or damaged.*bytes are missing"):
        open_study(tmp_path / "half.nii.gz")


def test_a_wrong_checksum_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype("int16")
    nibabel.Nifti1Image(noise, RAS).to_filename(tmp_path / "a.nii.gz")
    raw = bytearray((tmp_path / "a.nii.gz").read_bytes())
    raw[-8:-4] = bytes(4)
    (tmp_path / "a.nii.gz").write_bytes(raw)
    with pytest.raises(FileFormatError, match=r"a\.nii\.gz is truncated or damaged.*CRC"):
        open_study(tmp_path / "a.nii.gz")
    # Of a file too long for a look at all of it, when its last slice is read.
    monkeypatch.setattr(nifti, "_SURVEY_BYTES", 1)
    monkeypatch.setattr(stored_voxels, "_PIECE", 64)
    volume = _open(tmp_path / "a.nii.gz")
    assert volume.read(slices=[0]).shape == (1, 20, 20)
    monkeypatch.undo()
    with pytest.raises(FileFormatError, match=r"a\.nii\.gz is not a readable NIfTI or MGH volume: CRC"):
        volume.read()
