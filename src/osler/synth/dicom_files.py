"""Rendered exams as DICOM files: CT and MR slices and digital radiographs, with the header of the facts.

Nothing in a header is an identity: PatientID and PatientName are the synthetic
identifier, there is no day of birth, dates count from the shifted epoch, and all UIDs
lie under 2.25 (PS3.5 B.2). All exams of one body region share a frame of
reference, because the facts place them in one body frame.

Sources: PS3.3 A.3 (CT Image), A.4 (MR Image), A.26 (Digital X-Ray Image).
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from pydicom import Dataset, FileDataset, config
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
)
from pydicom.valuerep import DS

from osler.errors import GeometryError, RequestError
from osler.study import Affine
from osler.synth.dicom_header import fill_ct, fill_dx, fill_mr, fill_patient
from osler.synth.facts import Exam, PatientFacts
from osler.synth.rendered import RenderedImage, RenderedVolume
from osler.synth.timeline import patient_id

_STORAGE = {"CT": CTImageStorage, "MR": MRImageStorage, "DX": DigitalXRayImageStorageForPresentation}
_FRAMES = {"chest": "trunk", "abdomen": "trunk", "head": "head", "knee": "knee"}
_LOWEST_HU = -1024


def make_uid(*parts: str | int) -> str:
    """A UID under 2.25 that depends on what it is for, and on nothing else.

    Example:
        >>> make_uid("a", 1) == make_uid("a", 1) != make_uid("a", 2)
        True
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15], 'big') | 1 << 119}"


def write_volume(volume: RenderedVolume, *, patient: PatientFacts, exam: Exam, folder: Path) -> list[Path]:
    """Writes a CT or MR series, one file a slice.

    Args:
        volume: Voxels and where they lie.
        patient: Whose. exam: Which exam.
        folder: Where the files go; it must exist.

    Returns:
        The files, in the order of the slices.

    Raises:
        RequestError: If the voxels are not whole numbers of 16 bits, or the exam is no CT or MR.
        GeometryError: If slices do not lie along the normal of their plane.
    """
    if exam.modality not in ("CT", "MR"):
        raise RequestError(f"An exam of modality {exam.modality!r} as slices.", allowed="CT or MR.")
    voxels = _whole(volume.voxels, axes=3)
    _require_straight(volume.affine)
    stored, intercept = _stored(voxels, modality=exam.modality)
    spacing, direction = volume.affine.spacing, volume.affine.direction
    written = []
    for index in range(len(voxels)):
        dataset = _begin(patient, exam=exam, instance=index + 1)
        (fill_ct if exam.modality == "CT" else fill_mr)(dataset, exam=exam, intercept=intercept)
        dataset.ImagePositionPatient = [_ds(value) for value in volume.affine.apply((0, 0, index))]
        dataset.ImageOrientationPatient = [_ds(value) for value in (*direction[:, 0], *direction[:, 1])]
        dataset.PixelSpacing = [_ds(spacing[1]), _ds(spacing[0])]
        dataset.SliceThickness = _ds(_thickness(exam, step=spacing[2]))
        dataset.SpacingBetweenSlices = _ds(spacing[2])
        dataset.SliceLocation = _ds(float(volume.affine.apply((0, 0, index)) @ volume.affine.normal))
        dataset.FrameOfReferenceUID = make_uid(patient_id(patient), _FRAMES[exam.region])
        dataset.PositionReferenceIndicator = ""
        _put_pixels(dataset, stored[index])
        written.append(_save(dataset, path=folder / f"{index + 1:04d}.dcm"))
    return written


def write_image(image: RenderedImage, *, patient: PatientFacts, exam: Exam, folder: Path) -> list[Path]:
    """Writes a digital radiograph.

    Args:
        image: Pixels, bright is dense.
        patient: Whose. exam: Which exam.
        folder: Where the file goes; it must exist.

    Raises:
        RequestError: If the pixels are not whole numbers of 16 bits, or the exam is no radiograph.
    """
    if exam.modality != "DX":
        raise RequestError(f"An exam of modality {exam.modality!r} as a radiograph.", allowed="DX.")
    pixels = _whole(image.pixels, axes=2)
    if pixels.min() < 0:
        raise RequestError("A radiograph with negative values.", allowed="0 to 65535.")
    dataset = _begin(patient, exam=exam, instance=1)
    fill_dx(dataset, exam=exam, high=int(pixels.max()))
    dataset.ImagerPixelSpacing = [_ds(image.spacing[1]), _ds(image.spacing[0])]
    dataset.PixelSpacing = dataset.ImagerPixelSpacing
    _put_pixels(dataset, pixels.astype(np.uint16))
    return [_save(dataset, path=folder / "0001.dcm")]


def _whole(array: np.ndarray, *, axes: int) -> np.ndarray:
    if array.ndim != axes or not np.issubdtype(array.dtype, np.integer) or array.size == 0:
        raise RequestError(
            f"Pixels of shape {array.shape} and type {array.dtype}.", allowed=f"Whole numbers with {axes} axes."
        )
    if int(array.min()) < -(2**15) or int(array.max()) >= 2**16 or (array.min() < 0 and array.max() >= 2**15):
        raise RequestError(f"Pixels from {array.min()} to {array.max()}.", allowed="Values that fit 16 bits.")
    return array


def _require_straight(affine: Affine) -> None:
    away = np.abs(affine.direction[:, 2] - affine.normal).max()
    columns, rows = affine.direction[:, 0], affine.direction[:, 1]
    if away > 1e-4 or abs(float(columns @ rows)) > 1e-4:
        raise GeometryError(
            f"Slices that do not lie along the normal of their plane (off by {away:.3g}).",
            allowed="Straight, right-handed grids.",
        )


def _thickness(exam: Exam, *, step: float) -> float:
    """The scanner's slice thickness (mm); the step between slices where these were drawn coarser."""
    acquisition = exam.acquisition
    planned = acquisition.spacing_mm or acquisition.slice_mm or step
    return acquisition.slice_mm or step if step <= 1.1 * planned else max(step, acquisition.slice_mm or step)


def _stored(voxels: np.ndarray, *, modality: str) -> tuple[np.ndarray, int]:
    """Values as they are stored, and the intercept that makes units of them."""
    if modality == "MR":
        return voxels.astype(np.uint16 if voxels.min() >= 0 else np.int16), 0
    intercept = min(_LOWEST_HU, int(voxels.min()))
    return (voxels.astype(np.int32) - intercept).astype(np.uint16), intercept


def _begin(patient: PatientFacts, *, exam: Exam, instance: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(_STORAGE[exam.modality])
    meta.MediaStorageSOPInstanceUID = UID(make_uid(exam.acquisition.series_uid, instance))
    meta.ImplementationClassUID = UID(make_uid("implementation"))
    meta.ImplementationVersionName = "OSLER"
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.InstanceNumber = instance
    fill_patient(dataset, patient=patient, exam=exam)
    return dataset


def _put_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    signed = pixels.dtype == np.int16
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16 if signed or int(pixels.max()) >= 2**12 else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = np.ascontiguousarray(pixels).astype(pixels.dtype.newbyteorder("<")).tobytes()
    dataset["PixelData"].VR = "OW"


def _ds(value: float) -> DS:
    """A decimal string: at most 16 characters, and no minus zero."""
    return DS(float(value) + 0.0, auto_format=True)


def _save(dataset: FileDataset, *, path: Path) -> Path:
    before = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.RAISE
    try:
        dataset.save_as(path, enforce_file_format=True)
    finally:
        config.settings.writing_validation_mode = before
    return path
