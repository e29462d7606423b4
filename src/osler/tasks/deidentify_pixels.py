"""Blanks text that is burned into the pixels of DICOM files, losslessly around it.

Uncompressed pixels are changed in place, byte by byte. Compressed ones are decoded, changed, and
encoded without loss; every other pixel is compared with what it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from osler.errors import FileFormatError, UnsupportedError
from osler.readers.dicom_errors import DECODE_ERRORS
from osler.tasks.burned_in_text import TextFinder, TextRegion, views

_REPEATABLE = {JPEG2000Lossless, JPEGLSLossless, RLELossless}
_ROUNDS = 3
_OFFSETS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blanked:
    """What was done to the pixels of a file.

    Args:
        regions: Rectangles that were blanked in every frame.
        markers: Side and projection markers that were left. lost: Those that stood in blanked text.
        encoded: How the file is encoded now, if that has changed.
    """

    regions: tuple[TextRegion, ...] = ()
    markers: int = 0
    lost: int = 0
    encoded: str = ""


def blank_text(dataset: FileDataset, *, finder: TextFinder, name: str) -> Blanked:
    """Finds text in the pixels and blanks it in every frame, in place.

    Args:
        dataset: A whole file; changed.
        finder: Finds text.
        name: The file, for errors.

    Raises:
        UnsupportedError: If the pixels are encoded in a way in which they cannot be changed.
        FileFormatError: If they cannot be decoded, or text stays readable.
    """
    try:
        decoded = _decoded(dataset)
    except DECODE_ERRORS as error:
        raise FileFormatError(
            f"{name}: its pixels cannot be decoded ({type(error).__name__}), so burned-in text cannot be looked for.",
            next_step="Export it again, uncompressed if you can.",
        ) from error
    regions: list[TextRegion] = []
    markers: set[TextRegion] = set()
    shown = _shown(dataset, decoded=decoded)
    dark = 0 if dataset.PhotometricInterpretation == "PALETTE COLOR" else _black(dataset, decoded=decoded)
    looked_at = None
    for _ in range(_ROUNDS):
        # The first round looks at all views; the next ones whether the blanked ones are blank.
        pictures = [view for number, view in enumerate(views(shown)) if looked_at is None or number in looked_at]
        by_view = [_believed(finder.find(picture), regions=regions) for picture in pictures]
        if looked_at is None:
            looked_at = {number for number, regions_there in enumerate(by_view) if regions_there}
        found = [region for regions_there in by_view for region in regions_there]
        markers.update(region for region in found if region.is_marker)
        fresh = {region for region in found if not region.is_marker} - set(regions)
        if not fresh:
            break
        regions.extend(sorted(fresh, key=lambda region: (region.top, region.left)))
        for region in fresh:
            shown[:, region.top : region.bottom, region.left : region.right] = dark
    else:
        left = [region for view in views(shown) for region in _believed(finder.find(view), regions=regions)]
        if any(not region.is_marker for region in left):
            raise FileFormatError(
                f"{name}: text stays readable in its pixels after {_ROUNDS} rounds of blanking.",
                next_step="Blank it by hand, or leave the file out.",
            )
    lost = {marker for marker in markers if any(_overlap(marker, region) for region in regions)}
    encoded = _write(dataset, decoded=decoded, regions=regions, name=name) if regions else ""
    return Blanked(regions=tuple(regions), markers=len(markers - lost), lost=len(lost), encoded=encoded)


def _believed(found: list[TextRegion], *, regions: list[TextRegion]) -> list[TextRegion]:
    """Leaves out the edges of what was blanked, which are read as a stroke or a single letter."""
    return [
        region for region in found if region.characters > 1 or not any(_overlap(region, blanked) for blanked in regions)
    ]


def _overlap(one: TextRegion, other: TextRegion) -> bool:
    return one.left < other.right and other.left < one.right and one.top < other.bottom and other.top < one.bottom


def _is_packed(dataset: FileDataset) -> bool:
    return bool(UID(dataset.file_meta.TransferSyntaxUID).is_encapsulated)


def _decoded(dataset: FileDataset) -> np.ndarray:
    """All frames as stored, ``(frame, row, column[, sample])``; RGB where they were compressed color."""
    array = pixel_array(dataset) if _is_packed(dataset) else pixel_array(dataset, raw=True)
    frames = int(dataset.get("NumberOfFrames") or 1)
    return array if frames > 1 else array[None]


def _shown(dataset: FileDataset, *, decoded: np.ndarray) -> np.ndarray:
    """A copy to look at, and to blank while looking."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colored = apply_color_lut(decoded, dataset)
        return (colored / max(float(colored.max()), 1.0) * 255).astype(np.uint8)
    return decoded.copy()


def _black(dataset: FileDataset, *, decoded: np.ndarray) -> list[int]:
    """The stored value of the darkest pixel, one a sample: it changes neither the range nor the look of the rest."""
    # Compressed color comes out of the decoder as RGB.
    color = "RGB" if decoded.ndim == 4 and _is_packed(dataset) else dataset.PhotometricInterpretation
    if color == "MONOCHROME1":
        return [int(decoded.max())]
    if color == "YBR_FULL":
        return [0, 128, 128]
    return [0] * decoded.shape[-1] if decoded.ndim == 4 else [int(decoded.min())]


def _write(dataset: FileDataset, *, decoded: np.ndarray, regions: list[TextRegion], name: str) -> str:
    if not _is_packed(dataset):
        _write_plain(dataset, decoded=decoded, regions=regions, name=name)
        return ""
    return _write_packed(dataset, decoded=decoded, regions=regions, name=name)


def _write_plain(dataset: FileDataset, *, decoded: np.ndarray, regions: list[TextRegion], name: str) -> None:
    samples, allocated = int(dataset.SamplesPerPixel), int(dataset.BitsAllocated)
    if allocated not in (8, 16, 32) or dataset.PhotometricInterpretation in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        raise UnsupportedError(
            f"{name}: text is burned into pixels that are stored in a way in which they cannot be changed one by one.",
            allowed="8, 16 or 32 bits, color not subsampled.",
            next_step="Convert the file first, or leave it out.",
        )
    frames, rows, columns = int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns)
    order = "<" if UID(dataset.file_meta.TransferSyntaxUID).is_little_endian else ">"
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    stored = np.frombuffer(dataset.PixelData, dtype=f"{order}{'i' if signed else 'u'}{allocated // 8}").copy()
    planar = samples > 1 and int(dataset.get("PlanarConfiguration") or 0) == 1
    shape = (frames, samples, rows, columns) if planar else (frames, rows, columns, samples)
    view = stored[: frames * rows * columns * samples].reshape(shape)
    for sample, value in enumerate(_black(dataset, decoded=decoded)):
        for region in regions:
            area = (slice(region.top, region.bottom), slice(region.left, region.right))
            (view[(slice(None), sample, *area)] if planar else view[(slice(None), *area, sample)])[...] = value
    dataset.PixelData = stored.tobytes()


def _write_packed(dataset: FileDataset, *, decoded: np.ndarray, regions: list[TextRegion], name: str) -> str:
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    color = decoded.ndim == 4
    wanted = decoded.copy()
    black = _black(dataset, decoded=decoded)
    for region in regions:
        wanted[:, region.top : region.bottom, region.left : region.right] = black if color else black[0]
    if color:
        dataset.PhotometricInterpretation = "RGB"
    for keyword in _OFFSETS:
        if keyword in dataset:
            del dataset[keyword]
    if color:
        dataset.PlanarConfiguration = 0
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    little = wanted.astype(wanted.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = little + b"\0" * (len(little) % 2)
    dataset["PixelData"].VR = "OB" if wanted.dtype.itemsize == 1 else "OW"
    target = syntax if syntax in _REPEATABLE else JPEG2000Lossless
    try:
        dataset.compress(target, generate_instance_uid=False)
        same = np.array_equal(_decoded(dataset), wanted)
    except DECODE_ERRORS:
        same = False
    if not same:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.PixelData = little + b"\0" * (len(little) % 2)
        dataset["PixelData"].VR = "OB" if wanted.dtype.itemsize == 1 else "OW"
        dataset["PixelData"].is_undefined_length = False
        if not np.array_equal(_decoded(dataset), wanted):
            raise UnsupportedError(
                f"{name}: its pixels cannot be encoded again without loss.",
                next_step="Convert the file to an uncompressed one first.",
            )
    return UID(dataset.file_meta.TransferSyntaxUID).name if dataset.file_meta.TransferSyntaxUID != syntax else ""


def cut_trailing(dataset: FileDataset) -> int:
    """Cuts bytes behind the last pixel of uncompressed pixel data, where anything may hide, and says how many."""
    if _is_packed(dataset) or "PixelData" not in dataset:
        return 0
    samples = (
        int(dataset.get("NumberOfFrames") or 1)
        * int(dataset.Rows)
        * int(dataset.Columns)
        * int(dataset.SamplesPerPixel)
    )
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        samples = samples * 2 // 3
    need = (samples * int(dataset.BitsAllocated) + 7) // 8
    value = dataset.PixelData
    extra = len(value) - need
    if extra > 0:
        # The one byte that makes the length even holds nothing either.
        dataset.PixelData = value[:need] + b"\0" * (need % 2)
    return max(extra - need % 2, 0)
