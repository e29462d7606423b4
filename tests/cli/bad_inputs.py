"""Inputs that must be refused: each function makes one in a folder and returns its path."""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom

PATIENT_NAME = "Zyxwvut^Quentin"
PATIENT_ID = "PHI778899"
_DICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def dicom_file(name: str) -> Path:
    """A file that pydicom brings along."""
    return _DICOM_FILES / name


def named_ct(target: Path, *, name: str = PATIENT_NAME, number: str = PATIENT_ID) -> Path:
    """Writes a CT slice of a patient with a name that can be searched for."""
    data = pydicom.dcmread(dicom_file("CT_small.dcm"))
    data.PatientName, data.PatientID, data.PatientBirthDate = name, number, "19070707"
    data.OtherPatientIDs = number
    data.save_as(target)
    return target


def absent(folder: Path) -> Path:
    return folder / "absent.dcm"


def empty_file(folder: Path) -> Path:
    path = folder / "empty.dcm"
    path.touch()
    return path


def empty_folder(folder: Path) -> Path:
    path = folder / "nothing"
    path.mkdir()
    return path


def truncated_dicom(folder: Path) -> Path:
    whole = named_ct(folder / "whole.dcm")
    path = folder / "truncated.dcm"
    path.write_bytes(whole.read_bytes()[:6000])
    whole.unlink()
    return path


def truncated_header(folder: Path) -> Path:
    whole = named_ct(folder / "whole.dcm")
    path = folder / "header.dcm"
    path.write_bytes(whole.read_bytes()[:700])
    whole.unlink()
    return path


def truncated_nifti(folder: Path) -> Path:
    path = folder / "cut.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((32, 32, 32), np.int16), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:5000])
    return path


def truncated_gzip(folder: Path) -> Path:
    path = folder / "cut.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(32, 32, 32)), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:5000])
    return path


def truncated_png(folder: Path) -> Path:
    from PIL import Image

    path = folder / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    return path


def text_as_dicom(folder: Path) -> Path:
    path = folder / "notes.dcm"
    path.write_text("Dear colleague,\n" * 100)
    return path


def random_bytes_as_nifti(folder: Path) -> Path:
    path = folder / "noise.nii"
    path.write_bytes(np.random.default_rng(1).bytes(50_000))
    return path


def random_bytes_as_gzip(folder: Path) -> Path:
    path = folder / "noise.nii.gz"
    path.write_bytes(np.random.default_rng(2).bytes(50_000))
    return path


def random_bytes(folder: Path) -> Path:
    path = folder / "noise"
    path.write_bytes(np.random.default_rng(3).bytes(50_000))
    return path


def no_permission(folder: Path) -> Path:
    path = named_ct(folder / "locked.dcm")
    path.chmod(0)
    return path


def plan_object(folder: Path) -> Path:
    return Path(shutil.copy(dicom_file("rtplan.dcm"), folder))


def waveform(folder: Path) -> Path:
    return Path(shutil.copy(dicom_file("waveform_ecg.dcm"), folder))


def structured_report(folder: Path) -> Path:
    """A folder with a report and no image; the file alone would be inspected."""
    inside = folder / "report"
    inside.mkdir()
    shutil.copy(dicom_file("test-SR.dcm"), inside)
    return inside


def no_slices(folder: Path) -> Path:
    header = nibabel.Nifti1Header()
    header.set_data_shape((8, 8, 8))
    header["dim"][3] = 0
    path = folder / "flat.nii"
    path.write_bytes(header.binaryblock + b"\0" * 100)
    return path


def two_patients(folder: Path) -> Path:
    named_ct(folder / "1.dcm")
    other = pydicom.dcmread(dicom_file("MR_small.dcm"))
    other.PatientName, other.PatientID = f"Other^{PATIENT_NAME}", f"X{PATIENT_ID}"
    other.save_as(folder / "2.dcm")
    return folder


def all_nan(folder: Path) -> Path:
    path = folder / "nan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.full((16, 16, 16), np.nan, np.float32), np.eye(4)), path)
    return path


def absurd_nifti(folder: Path) -> Path:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((32_000, 32_000, 32_000))
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    path = folder / "huge.nii"
    path.write_bytes(header.binaryblock + b"\0" * 1000)
    return path


def absurd_dicom(folder: Path) -> Path:
    data = pydicom.dcmread(dicom_file("CT_small.dcm"))
    data.PatientName, data.PatientID = PATIENT_NAME, PATIENT_ID
    data.Rows = data.Columns = 65_535
    data.NumberOfFrames = 2_000_000
    path = folder / "huge.dcm"
    data.save_as(path)
    return path


def absurd_png(folder: Path) -> Path:
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 2**30, 2**30, 8, 0, 0, 0, 0)
    path = folder / "huge.png"
    body = chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body)
    return path


def zip_bomb(folder: Path) -> Path:
    path = folder / "bomb.zip"
    zeros = b"\0" * (1 << 24)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number in range(64):
            with archive.open(f"{number}.dcm", "w", force_zip64=True) as member:
                for _ in range(4):
                    member.write(zeros)
    return path


def zip_that_climbs(folder: Path) -> Path:
    path = folder / "climb.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../climbed.dcm", dicom_file("CT_small.dcm").read_bytes())
        archive.writestr("/absolute.dcm", dicom_file("CT_small.dcm").read_bytes())
    return path


def truncated_zip(folder: Path) -> Path:
    path = folder / "cut.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("1.dcm", dicom_file("CT_small.dcm").read_bytes())
    path.write_bytes(path.read_bytes()[:2000])
    return path


def empty_zip(folder: Path) -> Path:
    path = folder / "empty.zip"
    zipfile.ZipFile(path, "w").close()
    return path


def link_loop(folder: Path) -> Path:
    inner = folder / "loop"
    inner.mkdir()
    (inner / "again").symlink_to(inner, target_is_directory=True)
    return inner


def link_to_itself(folder: Path) -> Path:
    path = folder / "self.dcm"
    path.symlink_to(path)
    return path


def pipe(folder: Path) -> Path:
    path = folder / "pipe.dcm"
    os.mkfifo(path)
    return path


BAD: tuple[Callable[[Path], Path], ...] = (
    absent,
    empty_file,
    empty_folder,
    truncated_dicom,
    truncated_header,
    truncated_nifti,
    truncated_gzip,
    truncated_png,
    text_as_dicom,
    random_bytes_as_nifti,
    random_bytes_as_gzip,
    random_bytes,
    no_permission,
    plan_object,
    waveform,
    structured_report,
    no_slices,
    two_patients,
    all_nan,
    absurd_nifti,
    absurd_dicom,
    absurd_png,
    zip_bomb,
    zip_that_climbs,
    truncated_zip,
    empty_zip,
    link_loop,
    link_to_itself,
    pipe,
)
