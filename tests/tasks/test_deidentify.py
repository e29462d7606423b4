"""Nothing of a patient is left: not in an element, a name, a byte; and nothing else is lost."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from osler.errors import RequestError
from osler.readers import open_study
from osler.tasks.deidentify import DeidentifyRequest, DeidentifyRun, deidentify
from osler.tasks.deidentify_report import to_json, to_markdown
from tests.cli.bad_inputs import dicom_file
from tests.readers.make_dicom import ramp, write_series
from tests.tasks import planted as p


def run(source: Path, out: Path, **options: object) -> DeidentifyRun:
    return deidentify(DeidentifyRequest(source=source, out=out, **options))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two visits of a patient, in folders that say who it is."""
    place = tmp_path / f"{p.NAME} {p.BIRTH}"
    for number in (1, 2, 3):
        p.save(p.planted(number=number), place / p.NUMBER / f"{p.NAME}-{number}.dcm")
    late = p.planted(number=9, day="20230917")
    late.StudyInstanceUID = p.STUDY + ".9"
    p.save(late, place / "later" / "late.dcm")
    return place


@pytest.mark.parametrize(
    "options",
    [(), ("patient-characteristics", "descriptors"), ("no-dates",), ("safe-private", "device-identity")],
    ids=str,
)
def test_no_secret_is_left_in_any_byte(folder: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    before = p.all_bytes(folder)
    assert all(p.found_in(before, secret) for secret in p.SECRETS)
    result = run(folder, tmp_path / "out", options=options)
    assert [file.status for file in result.files] == ["written"] * 4, [file.why for file in result.files]
    after = p.all_bytes(tmp_path / "out") + to_json(result).encode() + to_markdown(result).encode()
    expected = {p.SERIAL, p.STATION} if "device-identity" in options else set()
    assert {secret for secret in p.SECRETS if p.found_in(after, secret)} == expected
    assert p.all_bytes(folder) == before


def test_pixels_and_geometry_stay_and_ids_hang_together(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "out", key=tmp_path / "key")
    files = p.read_back(tmp_path / "out")
    assert len(files) == 4
    assert len({ds.PatientID for ds in files}) == len({ds.FrameOfReferenceUID for ds in files}) == 1
    assert len({ds.StudyInstanceUID for ds in files}) == 2
    for ds in files:
        assert np.array_equal(ds.pixel_array, np.arange(4096, dtype=np.int16).reshape(64, 64))
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.PatientIdentityRemoved == "YES"
        assert [code.CodeValue for code in ds.DeidentificationMethodCodeSequence] == ["113100", "113107"]
        assert ds.CTExposureSequence[0].KVP == 120
        assert not any(element.tag.is_private for element in ds.iterall())
    dates = sorted({ds.StudyDate for ds in files})
    days = [pydicom.valuerep.DA(text) for text in dates]
    assert (days[1] - days[0]).days == 31
    assert not set(dates) & {p.DAY, "20230917"}
    moved = next(ds for ds in files if ds.StudyDate == dates[0])
    assert moved.AcquisitionDateTime == f"{dates[0]}101112.5+0100"
    assert moved.StudyTime == "101112"


def test_a_volume_is_the_same_volume(tmp_path: Path) -> None:
    write_series(tmp_path / "in", volume=ramp(8, 70, 80))
    run(tmp_path / "in", tmp_path / "out")
    before, after = open_study(tmp_path / "in").volumes()[0], open_study(tmp_path / "out").volumes()[0]
    assert np.array_equal(before.affine.matrix, after.affine.matrix)
    assert np.array_equal(before.read(), after.read())
    assert (after.units, after.window) == (before.units, before.window)


def test_options_keep_what_they_name(folder: Path, tmp_path: Path) -> None:
    run(folder, tmp_path / "a", options=("patient-characteristics", "descriptors", "device-identity"))
    kept = p.read_back(tmp_path / "a")[0]
    assert (kept.PatientSex, kept.PatientAge, kept.DeviceSerialNumber) == ("M", "061Y", p.SERIAL)
    assert kept.StudyDescription == "CT Chest 5mm"
    run(folder, tmp_path / "b", options=("uids", "full-dates"))
    same = next(ds for ds in p.read_back(tmp_path / "b") if ds.InstanceNumber == 1)
    assert (same.StudyInstanceUID, same.StudyDate) == (p.STUDY, p.DAY)
    assert same.LongitudinalTemporalInformationModified == "UNMODIFIED"
    assert same.PatientBirthDate == ""
    run(folder, tmp_path / "c")
    basic = p.read_back(tmp_path / "c")[0]
    assert not basic.get("PatientAge")
    assert not basic.get("StudyDescription")


def test_names_in_other_scripts_are_found(tmp_path: Path) -> None:
    for number, (charset, name) in enumerate(
        [
            (["ISO 2022 IR 6", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
            ("ISO_IR 192", "Müßiggänger^Jörg"),
            ("ISO_IR 144", "Люкceмбypг^Иван"),
        ],
        start=1,
    ):
        ds = p.planted(number=number)
        ds.SpecificCharacterSet, ds.PatientName, ds.ConvolutionKernel = charset, name, name
        p.save(ds, tmp_path / "in" / f"{number}.dcm")
    result = run(tmp_path / "in", tmp_path / "out")
    assert result.count("written") == 3
    data = p.all_bytes(tmp_path / "out")
    for part in ("山田", "太郎", "やまだ", "Müßiggänger", "Jörg", "Люкceмбypг", "Yamada"):
        for code in ("utf-8", "iso2022_jp", "iso8859_5", "utf-16-le"):
            encoded = part.encode(code, errors="ignore")
            assert len(encoded) < 3 or encoded not in data, (part, code)


def test_the_same_key_gives_the_same_and_goes_on(folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    run(folder, tmp_path / "a", key=key)
    assert os.stat(key).st_mode & 0o077 == 0
    run(folder, tmp_path / "b", key=key)
    assert p.all_bytes(tmp_path / "a") == p.all_bytes(tmp_path / "b")
    victim = sorted((tmp_path / "b").rglob("*.dcm"))[0]
    victim.unlink()
    again = run(folder, tmp_path / "b", key=key)
    assert (again.count("written"), again.count("there already")) == (1, 3)
    assert p.all_bytes(tmp_path / "a") == p.all_bytes(tmp_path / "b")
    with pytest.raises(RequestError, match="is not empty"):
        run(folder, tmp_path / "b")
    with pytest.raises(RequestError, match="lies in the output folder"):
        run(folder, tmp_path / "c", key=tmp_path / "c" / "key")
    run(folder, tmp_path / "d")
    assert {ds.PatientID for ds in p.read_back(tmp_path / "d")}.isdisjoint(
        {ds.PatientID for ds in p.read_back(tmp_path / "a")}
    )


def test_a_dry_run_writes_nothing(folder: Path, tmp_path: Path) -> None:
    result = run(folder, tmp_path / "out", dry_run=True, key=tmp_path / "key")
    assert result.count("written") == 4
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "key").exists()


def test_what_cannot_be_cleaned_is_refused_with_the_reason(tmp_path: Path) -> None:
    source = tmp_path / "in"
    p.save(p.planted(), source / "0.dcm")
    report = p.planted(modality="SR")
    p.save(report, source / "1.dcm")
    (source / "2.pdf").write_bytes(b"%PDF-1.4 " + p.NAME.encode())
    (source / "3.json").write_text(json.dumps({"resourceType": "Patient", "name": p.NAME}))
    (source / "4.dcm").write_bytes((source / "0.dcm").read_bytes()[:5000])
    label = p.planted(modality="SM", number=5)
    label.ImageType = ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]
    p.save(label, source / "5.dcm")
    result = run(source, tmp_path / "out")
    assert [file.status for file in result.files] == ["written", *["refused"] * 5]
    whys = [file.why for file in result.files]
    for why, part in zip(whys[1:], ("structured report", "a PDF", "record", "truncated", "slide"), strict=True):
        assert part in why
    said = to_json(result) + to_markdown(result)
    assert not any(p.found_in(said.encode(), secret) for secret in p.SECRETS)
    assert str(tmp_path) not in said


def test_something_that_identifies_in_the_pixels_themselves_is_refused(tmp_path: Path) -> None:
    ds = p.planted()
    data = bytearray(ds.PixelData)
    data[1000 : 1000 + len(p.NUMBER) + 2] = f" {p.NUMBER} ".encode()
    ds.PixelData = bytes(data)
    p.save(ds, tmp_path / "in" / "1.dcm")
    result = run(tmp_path / "in", tmp_path / "out")
    assert result.files[0].status == "refused"
    assert "would have stayed" in result.files[0].why
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_two_patients_keep_apart(tmp_path: Path) -> None:
    one, two = p.planted(number=1), p.planted(number=2)
    two.PatientID, two.PatientName = "PID-112233-Y", "Zweitling^Berta"
    p.save(one, tmp_path / "in" / "1.dcm")
    p.save(two, tmp_path / "in" / "2.dcm")
    result = run(tmp_path / "in", tmp_path / "out")
    files = p.read_back(tmp_path / "out")
    assert result.patients == 2
    assert files[0].PatientID != files[1].PatientID
    assert files[0].StudyDate != files[1].StudyDate


def test_two_files_of_one_uid_are_not_taken_for_one(tmp_path: Path) -> None:
    one, other = p.planted(), p.planted()
    other.SliceThickness = "9"
    p.save(one, tmp_path / "in" / "1.dcm")
    p.save(one, tmp_path / "in" / "2.dcm")
    p.save(other, tmp_path / "in" / "3.dcm")
    result = run(tmp_path / "in", tmp_path / "out")
    assert [file.status for file in result.files] == ["written", "there already", "refused"]
    assert "the SOP Instance UID of another file" in result.files[2].why


def test_an_institution_of_one_file_may_be_the_maker_of_another(tmp_path: Path) -> None:
    one, other = p.planted(number=1), p.planted(number=2)
    one.InstitutionName, other.Manufacturer = "GE MEDICAL SYSTEMS", "GE MEDICAL SYSTEMS"
    p.save(one, tmp_path / "in" / "1.dcm")
    p.save(other, tmp_path / "in" / "2.dcm")
    assert run(tmp_path / "in", tmp_path / "out").count("written") == 2


def test_output_and_input_must_not_lie_in_each_other(folder: Path) -> None:
    with pytest.raises(RequestError, match="lie in each other"):
        run(folder, folder / "out")


def test_nifti_loses_its_texts_and_keeps_its_voxels(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    image = nibabel.Nifti1Image(values, np.diag([1.5, 2, 3, 1]))
    image.header["descrip"], image.header["aux_file"] = p.NAME.encode(), p.NUMBER.encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", (p.NAME + p.BIRTH).encode()))
    source = tmp_path / "in" / f"{p.NAME}.nii"
    source.parent.mkdir()
    nibabel.save(image, source)
    with open(source, "ab") as file:
        file.write(p.NUMBER.encode())
    with gzip.GzipFile(f"{p.NAME}.nii", "wb", fileobj=open(source.with_suffix(".nii.gz"), "wb")) as packed:
        packed.write(source.read_bytes())
    pair = nibabel.Nifti2Image(values, np.eye(4))
    pair.header["descrip"] = p.NAME.encode()
    nibabel.save(pair, tmp_path / "in" / "two.nii")
    result = run(tmp_path / "in", tmp_path / "out")
    assert result.count("written") == 3
    written = sorted((tmp_path / "out").rglob("*.nii*"))
    data = p.all_bytes(tmp_path / "out") + b"".join(
        gzip.decompress(path.read_bytes()) for path in written if path.suffix == ".gz"
    )
    assert not any(p.found_in(data, secret) for secret in p.SECRETS)
    for path in written:
        again = nibabel.load(path)
        assert np.array_equal(np.asanyarray(again.dataobj), values)
    assert sum(np.array_equal(nibabel.load(path).affine, image.affine) for path in written) == 2
    assert all("faces are not removed" in file.notes for file in result.files)


def test_pictures_lose_their_metadata_and_keep_their_orientation(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (40, 60, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x9003] = 6, p.NAME, "2023:08:17 10:11:12"
    source = tmp_path / "in"
    source.mkdir()
    Image.fromarray(pixels).save(source / f"{p.NAME}.jpg", exif=exif, comment=p.NUMBER.encode())
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Patient", p.NAME)
    Image.fromarray(pixels).save(source / "b.png", pnginfo=info, exif=exif)
    with open(source / "b.png", "ab") as file:
        file.write(p.NUMBER.encode())
    originals = {path.suffix: Image.open(path) for path in source.iterdir()}
    result = run(source, tmp_path / "out", pixels="none")
    assert result.count("written") == 2, [file.why for file in result.files]
    data = p.all_bytes(tmp_path / "out")
    assert not any(p.found_in(data, secret) for secret in (*p.SECRETS, "2023:08:17"))
    for path in (tmp_path / "out").rglob("*.*g"):
        with Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(originals[path.suffix]))
            if path.suffix == ".jpg":
                assert picture.getexif()[0x0112] == 6


def test_dicognito_takes_away_no_name_that_osler_leaves(folder: Path, tmp_path: Path) -> None:
    from dicognito.anonymizer import Anonymizer

    run(folder, tmp_path / "out", options=("patient-characteristics",))
    ours = next(ds for ds in p.read_back(tmp_path / "out") if ds.InstanceNumber == 1)
    source = next(folder.rglob("*-1.dcm"))
    theirs, original = pydicom.dcmread(source), pydicom.dcmread(source)
    Anonymizer(seed="x").anonymize(theirs)
    changed = [tag for tag in original.keys() if tag not in theirs or theirs[tag].value != original[tag].value]  # noqa: SIM118
    assert len(changed) > 20
    left = [tag for tag in changed if tag in ours and _same(ours, original, tag)]
    # Times of day: their days are moved, by PS3.15's option; dicognito moves hours.
    assert {ours[tag].VR for tag in left} <= {"TM"}
    assert isinstance(ours, Dataset)


def _same(ours: Dataset, original: Dataset, tag: pydicom.tag.BaseTag) -> bool:
    return not original[tag].is_empty and ours[tag].value == original[tag].value


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "JPEG2000.dcm",
        "MR_small_RLE.dcm",
        "image_dfl.dcm",
        "ExplVR_BigEnd.dcm",
    ],
)
def test_files_of_all_kinds_keep_their_pixels(name: str, tmp_path: Path) -> None:
    source = dicom_file(name)
    result = run(source, tmp_path / "out", pixels="none")
    assert result.count("written") == 1, result.files[0].why
    (after,) = p.read_back(tmp_path / "out")
    assert np.array_equal(after.pixel_array, pydicom.dcmread(source).pixel_array)
