"""Makes DICOM files with identifiers in every place that the standard, or carelessness, has for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import JPEGBaseline8Bit

from tests.readers.make_dicom import base_dataset

NAME, OTHER_NAME, DOCTOR = "Quellwasser^Adalbert", "Birkenhain^Ottilie", "Sturmfels^Walburga"
NUMBER, ACCESSION, PHONE, SERIAL = "PID-778899-X", "ACC5544332", "+49 171 5550123", "SN-90817-ZZ"
ADDRESS, HOSPITAL, STATION = "Lindenallee 17, Entenhausen", "Klinikum Sonnenberg", "CTRAUM7"
BIRTH, DAY = "19611224", "20230817"
STUDY, SERIES, FRAME = "1.2.826.0.1.3680043.8.498.111", "1.2.826.0.1.3680043.8.498.222", "1.2.826.0.1.3680043.8.498.333"
SECRETS = (
    *"Quellwasser Adalbert Birkenhain Ottilie Sturmfels Walburga Lindenallee Entenhausen Sonnenberg".split(),  # noqa: SIM905
    NUMBER, ACCESSION, PHONE, SERIAL, STATION, BIRTH, DAY, STUDY, SERIES, FRAME,
)  # fmt: skip


def planted(*, number: int = 1, day: str = DAY, pixels: np.ndarray | None = None, modality: str = "CT") -> Dataset:
    """A slice with planted identifiers."""
    values = np.arange(64 * 64, dtype=np.int16).reshape(64, 64) if pixels is None else pixels
    ds = base_dataset(values, modality=modality, InstanceNumber=number)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{SERIES}.{number}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY, SERIES, FRAME
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = NAME, NUMBER, BIRTH
    ds.OtherPatientNames, ds.PatientMotherBirthName, ds.OtherPatientIDs = OTHER_NAME, OTHER_NAME, NUMBER
    ds.PatientAddress, ds.PatientTelephoneNumbers, ds.PatientComments = ADDRESS, PHONE, f"{NAME} of {ADDRESS}"
    ds.PatientSex, ds.PatientAge, ds.PatientWeight = "M", "061Y", "81"
    ds.ReferringPhysicianName = ds.OperatorsName = ds.PerformingPhysicianName = DOCTOR
    ds.AccessionNumber, ds.StudyID, ds.InstitutionName = ACCESSION, "S7788991", HOSPITAL
    ds.InstitutionAddress, ds.StationName, ds.DeviceSerialNumber = ADDRESS, STATION, SERIAL
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = ds.AcquisitionDate = day
    ds.AcquisitionDateTime, ds.StudyTime = f"{day}101112.5+0100", "101112"
    ds.StudyDescription = f"CT Chest {NAME.split('^')[0]} 5mm {day}"
    ds.SeriesDescription, ds.ProtocolName = f"axial for {DOCTOR}", f"Thorax {NUMBER}"
    ds.ImageComments = ds.AdditionalPatientHistory = f"seen by {DOCTOR} on {day}"
    # Not in the table, or kept by it: only what is found in them makes them leave.
    ds.ConvolutionKernel, ds.FilterType = f"B30 {NAME.split('^')[0]}", NUMBER
    _nest(ds, day=day)
    private = ds.private_block(0x0011, f"CREATOR {NAME}", create=True)
    private.add_new(0x01, "LO", NAME)
    private.add_new(0x02, "UN", f"{NUMBER}|{BIRTH}|{STUDY} ".encode("utf-16-le"))
    inner = Dataset()
    inner.PatientName = NAME
    private.add_new(0x03, "SQ", Sequence([inner]))
    ds.add_new(0x60003000, "OW", b"\x00" * 512)
    ds.add_new(0x60004000, "LT", NAME)
    ds.add_new(0x50000010, "US", 1)
    ds.add_new(0xFFFCFFFC, "OB", NAME.encode())
    ds.PixelData = ds.PixelData + NAME.encode().ljust(22)
    ds.preamble = (NAME + NUMBER + BIRTH).encode().ljust(128, b" ")
    ds.file_meta.SourceApplicationEntityTitle = STATION
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = SERIES, NAME.encode()
    return ds


def _nest(ds: Dataset, *, day: str) -> None:
    """Sequences that are removed, emptied or kept, with everything inside."""
    request, step, reference = Dataset(), Dataset(), Dataset()
    request.PatientName, request.RequestedProcedureID = NAME, ACCESSION
    request.ScheduledProcedureStepDescription, request.AccessionNumber = NAME, ACCESSION
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = ds.SOPClassUID, f"{SERIES}.77"
    step.ReferencedSOPSequence, step.StudyDate, step.PersonName = Sequence([reference]), day, DOCTOR
    ds.RequestAttributesSequence, ds.SourceImageSequence = Sequence([request]), Sequence([reference])
    ds.ReferencedPerformedProcedureStepSequence = ds.ContentSequence = Sequence([step])
    energy = Dataset()
    energy.KVP, energy.PatientID, energy.CodeMeaning = "120", NUMBER, f"for {NAME.split('^')[0]}"
    ds.CTExposureSequence = Sequence([energy])


def save(ds: Dataset, path: Path) -> Path:
    """Writes it, preamble and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def written_on(
    text: str, *, size: tuple[int, int] = (360, 200), color: bool = False, at: tuple[int, int] = (20, 20)
) -> Any:
    """An 8-bit picture with text in it, over noise."""
    noise = np.random.default_rng(3).normal(70, 12, (size[1], size[0])).clip(0, 160).astype(np.uint8)
    picture = Image.fromarray(noise).convert("RGB" if color else "L")
    ImageDraw.Draw(picture).text(at, text, fill="white", font=ImageFont.load_default(20))
    return np.asarray(picture)


def jpeg_compressed(ds: Dataset, *, frames: np.ndarray) -> Dataset:
    """Puts color frames into a data set as JPEG (lossy)."""
    items = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, format="JPEG", quality=92, subsampling=0)
        items.append(buffer.getvalue())
    ds.PixelData = encapsulate(items)
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.NumberOfFrames, ds.PhotometricInterpretation, ds.LossyImageCompression = len(items), "YBR_FULL", "01"
    return ds


def all_bytes(folder: Path) -> bytes:
    """Names and contents of every file below a folder."""
    return b"\n".join(
        str(path.relative_to(folder)).encode() + b"\n" + path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )


def found_in(data: bytes, secret: str) -> bool:
    """Whether a secret stands in bytes, in any usual encoding and case."""
    low = data.lower()
    return any(secret.lower().encode(code) in low for code in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"))


def read_back(folder: Path) -> list[FileDataset]:
    """All DICOM files below a folder."""
    from pydicom import dcmread

    return [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
