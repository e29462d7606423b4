"""Slides made in code: generic pyramids, SVS and NDPI with label and macro, DICOM series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from osler.synth.histology.slide import halve

TILE = 256
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
MAGENTA = (255, 0, 255)
GLASS, STAIN = 244, (180, 90, 170)


def tissue_pixels(
    *, width: int, height: int, blobs: tuple[tuple[float, float, float], ...], seed: int = 0
) -> np.ndarray:
    """Glass with stained round blobs: centers and radius as fractions of width, height and the shorter side."""
    row, column = np.mgrid[:height, :width]
    noise = np.random.RandomState(seed).randint(0, 40, (height, width, 1))
    pixels = np.full((height, width, 3), GLASS, dtype=np.int64)
    for x, y, radius in blobs:
        inside = (column - x * width) ** 2 + (row - y * height) ** 2 < (radius * min(width, height)) ** 2
        pixels[inside] = (np.array(STAIN) + noise)[inside]
    return pixels.astype(np.uint8)


def levels_of(pixels: np.ndarray, *, count: int) -> list[np.ndarray]:
    """The pixels and ``count - 1`` halved copies."""
    levels = [pixels]
    while len(levels) < count:
        levels.append(halve(levels[-1]))
    return levels


def write_pyramid(path: Path, pixels: np.ndarray, *, levels: int = 3, microns: float | None = 0.5) -> list[np.ndarray]:
    """Writes a generic pyramid, its smaller levels as further pages."""
    made = levels_of(pixels, count=levels)
    with tifffile.TiffWriter(path) as file:
        for number, level in enumerate(made):
            size = {} if microns is None else {"resolution": (1e4 / microns / 2**number,) * 2, "resolutionunit": 3}
            file.write(
                level, tile=(TILE, TILE), photometric="rgb", compression="zlib", metadata=None,
                subfiletype=1 if number else 0, **size,
            )  # fmt: skip
    return made


def write_svs(path: Path, pixels: np.ndarray, *, levels: int = 2, microns: float | None = 0.5) -> list[np.ndarray]:
    """Writes an Aperio slide with thumbnail, label and macro; the last two are magenta."""
    made = levels_of(pixels, count=levels)
    height, width = pixels.shape[:2]
    mpp = "" if microns is None else f"|MPP = {microns}"
    head = f"Aperio Image Library v11.2.1 \r\n{width}x{height} (256x256) JPEG/RGB Q=30|AppMag = 20{mpp}"
    glass = np.full((64, 160, 3), MAGENTA, dtype=np.uint8)
    plain = {"photometric": "rgb", "metadata": None, "software": False}
    with tifffile.TiffWriter(path) as file:
        file.write(made[0], tile=(TILE, TILE), compression="zlib", description=head, **plain)
        file.write(made[-1][::2, ::2].copy(), description=f"{head} -> thumbnail", rowsperstrip=16, **plain)
        for level in made[1:]:
            file.write(level, tile=(TILE, TILE), compression="zlib", description=head, subfiletype=0, **plain)
        file.write(glass, description=f"Aperio \r\nlabel {160}x{64}", subfiletype=1, rowsperstrip=64, **plain)
        file.write(glass, description=f"Aperio \r\nmacro {160}x{64}", subfiletype=9, rowsperstrip=64, **plain)
    return made


def write_ndpi(path: Path, pixels: np.ndarray, *, levels: int = 2, microns: float = 0.5) -> list[np.ndarray]:
    """Writes a Hamamatsu slide with a macro picture, which is magenta.

    By its tags: offsets are those of classic TIFF, so the name must not end in ``.ndpi``.
    """
    made = levels_of(pixels, count=levels)
    glass = np.full((64, 160, 3), MAGENTA, dtype=np.uint8)
    with tifffile.TiffWriter(path) as file:
        for level, power in [*((one, 20.0 / 2**n) for n, one in enumerate(made)), (glass, -1.0)]:
            scale = 1e4 / microns * abs(power) / 20
            tags = [
                (271, 2, 0, "Hamamatsu", True), (65420, 4, 1, 1, True), (65421, 11, 1, power, True),
                (65427, 2, 0, "X", True),
            ]  # fmt: skip
            file.write(
                level, photometric="rgb", metadata=None, software=False, rowsperstrip=32, resolutionunit=3,
                resolution=(scale, scale), extratags=tags,
            )  # fmt: skip
    return made


def write_dicom_slide(
    folder: Path,
    pixels: np.ndarray,
    *,
    levels: int = 2,
    microns: float | None = 0.5,
    patient: str = "P1",
    series: str = "",
) -> list[np.ndarray]:
    """Writes a DICOM slide, a file a level, with a label and an overview, which are magenta."""
    folder.mkdir(parents=True, exist_ok=True)
    made = levels_of(pixels, count=levels)
    uids = {name: generate_uid() for name in ("study", "series", "frame", "container")}
    uids["series"] = series or uids["series"]
    glass = np.full((TILE, TILE, 3), MAGENTA, dtype=np.uint8)
    flavors = [("VOLUME", level) for level in made] + [("LABEL", glass), ("OVERVIEW", glass)]
    for number, (flavor, level) in enumerate(flavors):
        size = None if microns is None else microns / 1000 * (2**number if flavor == "VOLUME" else 1)
        dataset = _dicom_level(level, uids=uids, flavor=flavor, spacing=size, patient=patient, number=number + 1)
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return made


def _dicom_level(
    pixels: np.ndarray, *, uids: dict[str, str], flavor: str, spacing: float | None, patient: str, number: int
) -> Dataset:
    height, width = pixels.shape[:2]
    rows, columns = -(-height // TILE), -(-width // TILE)
    padded = np.full((rows * TILE, columns * TILE, 3), 255, dtype=np.uint8)
    padded[:height, :width] = pixels
    tiles = padded.reshape(rows, TILE, columns, TILE, 3).swapaxes(1, 2)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = WHOLE_SLIDE
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = WHOLE_SLIDE, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uids["study"], uids["series"]
    dataset.FrameOfReferenceUID, dataset.ContainerIdentifier = uids["frame"], "C"
    dataset.PatientID, dataset.PatientName, dataset.Modality = patient, patient, "SM"
    dataset.StudyDate, dataset.SeriesDescription = "20240503", "H and E"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, number
    resampled = "NONE" if number == 1 or flavor != "VOLUME" else "RESAMPLED"
    dataset.ImageType = ["ORIGINAL" if resampled == "NONE" else "DERIVED", "PRIMARY", flavor, resampled]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = TILE, TILE, rows * columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.TotalPixelMatrixColumns, dataset.TotalPixelMatrixRows = width, height
    dataset.DimensionOrganizationType = "TILED_FULL"
    dataset.VolumetricProperties, dataset.BurnedInAnnotation = "VOLUME", "NO" if flavor == "VOLUME" else "YES"
    dataset.SpecimenLabelInImage, dataset.FocusMethod = "NO" if flavor == "VOLUME" else "YES", "AUTO"
    dataset.ExtendedDepthOfField, dataset.LossyImageCompression = "NO", "00"
    dataset.TotalPixelMatrixFocalPlanes, dataset.NumberOfOpticalPaths = 1, 1
    dataset.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20.0, 40.0
    dataset.TotalPixelMatrixOriginSequence = [origin]
    optics = Dataset()
    optics.OpticalPathIdentifier, optics.ObjectiveLensPower = "0", 20
    dataset.OpticalPathSequence = [optics]
    shared, measures = Dataset(), Dataset()
    if spacing is not None:
        measures.PixelSpacing, measures.SliceThickness = [spacing, spacing], 0.005
        dataset.ImagedVolumeWidth, dataset.ImagedVolumeHeight = width * spacing, height * spacing
        dataset.ImagedVolumeDepth = 0.005
        shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PixelData = tiles.tobytes()
    return dataset
