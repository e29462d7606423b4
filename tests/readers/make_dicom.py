"""Writes tiny DICOM files for tests: plain series, enhanced multi-frame, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from osler.study import Affine

STUDY_UID, SERIES_UID, FRAME_UID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}


def base_dataset(pixels: np.ndarray, *, modality: str = "CT", **elements: Any) -> Dataset:
    """Makes a data set with pixels and what every image needs; ``elements`` are set last, ``None`` removes."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = _CLASSES.get(modality, SecondaryCaptureImageStorage)
    ds.SOPInstanceUID = generate_uid()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.PatientName, ds.PatientID = "Doe^Jane", "SECRET-1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY_UID, SERIES_UID, FRAME_UID
    ds.StudyDate, ds.StudyDescription, ds.SeriesDescription = "20240102", "a study", "a series"
    ds.Modality, ds.InstanceNumber = modality, 1
    color = pixels.ndim > 2 and pixels.shape[-1] == 3
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if color else (1, "MONOCHROME2")
    if color:
        ds.PlanarConfiguration = 0
        pixels_shape = pixels.shape[-3:-1]
    else:
        pixels_shape = pixels.shape[-2:]
    ds.Rows, ds.Columns = pixels_shape
    ds.BitsAllocated = ds.BitsStored = pixels.dtype.itemsize * 8
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    ds["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    if modality == "CT":
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    set_elements(ds, **elements)
    return ds


def set_elements(ds: Dataset, **elements: Any) -> None:
    """Sets elements by keyword; ``None`` removes one."""
    for keyword, value in elements.items():
        if value is None:
            if keyword in ds:
                del ds[keyword]
        else:
            setattr(ds, keyword, value)


def save(ds: Dataset, path: Path) -> Path:
    """Writes a data set as a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def geometry(affine: Affine, *, index: int = 0) -> dict[str, Any]:
    """The geometry elements of slice ``index`` of a volume with this affine."""
    direction, spacing = affine.direction, affine.spacing
    return {
        "ImagePositionPatient": [f"{value:.9g}" for value in affine.apply((0, 0, index))],
        "ImageOrientationPatient": [f"{value:.9g}" for value in (*direction[:, 0], *direction[:, 1])],
        "PixelSpacing": [f"{spacing[1]:.9g}", f"{spacing[0]:.9g}"],
    }


def write_series(
    folder: Path,
    *,
    volume: np.ndarray,
    affine: Affine | None = None,
    modality: str = "CT",
    keep: list[int] | None = None,
    prefix: str = "",
    **elements: Any,
) -> list[Path]:
    """Writes a volume ``(slice, row, column)`` as one file a slice, named against the order.

    Args:
        folder: Where to.
        volume: The voxels as stored.
        affine: Voxel to patient; 0.5 x 0.5 x 2 mm by default.
        modality: Modality.
        keep: Slices to write, all by default.
        prefix: Start of the file names.
        elements: Elements for every slice; a callable gets the slice index.
    """
    affine = affine or Affine.from_parts(spacing=(0.5, 0.5, 2.0), origin=(-10.0, -20.0, 30.0))
    paths = []
    for index in keep if keep is not None else range(len(volume)):
        own = {key: value(index) if callable(value) else value for key, value in elements.items()}
        numbered = {"InstanceNumber": index + 1, **geometry(affine, index=index), **own}
        ds = base_dataset(volume[index], modality=modality, **numbered)
        paths.append(save(ds, folder / f"{prefix}{(index * 7919) % 1000:04d}.dcm"))
    return paths


def write_enhanced(
    path: Path, *, volume: np.ndarray, affine: Affine, order: list[int] | None = None, slope: float = 1.0
) -> Path:
    """Writes a volume as one enhanced MR file with functional groups, frames in ``order``."""
    order = order if order is not None else list(range(len(volume)))
    ds = base_dataset(volume[order], modality="MR", NumberOfFrames=len(order))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    shared, measures, orientation, transform = Dataset(), Dataset(), Dataset(), Dataset()
    places = geometry(affine)
    measures.PixelSpacing = places["PixelSpacing"]
    orientation.ImageOrientationPatient = places["ImageOrientationPatient"]
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = slope, 0, "US"
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelValueTransformationSequence = Sequence([transform])
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for index in order:
        frame, place = Dataset(), Dataset()
        place.ImagePositionPatient = geometry(affine, index=index)["ImagePositionPatient"]
        frame.PlanePositionSequence = Sequence([place])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return save(ds, path)


def ramp(slices: int = 6, rows: int = 8, columns: int = 10, dtype: str = "int16") -> np.ndarray:
    """A volume in which every voxel has another value."""
    return np.arange(slices * rows * columns).reshape(slices, rows, columns).astype(dtype)
