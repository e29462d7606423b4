"""Boxes and masks as a NIfTI label map, for images that are not DICOM."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from osler.errors import RequestError
from osler.study import Answer, Image, Mask, Study, Volume
from osler.writers.dicom_about import series_of
from osler.writers.dicom_codes import short_text
from osler.writers.dicom_seg import answer_masks, require_some

NIFTI_ENDINGS = (".nii", ".nii.gz")


def is_nifti_name(path: str | Path) -> bool:
    """Whether a file name asks for NIfTI."""
    return str(path).lower().endswith(NIFTI_ENDINGS)


def write_label_map(answer: Answer, *, study: Study, masks: Sequence[Mask] = (), packed: bool = True) -> bytes:
    """Returns the bytes of a NIfTI label map: 1 is the first box or mask, 2 the next; names are in the description.

    Args:
        answer: Its boxes are filled.
        study: What it is about.
        masks: More labels.
        packed: ``.nii.gz``, else ``.nii``.

    Raises:
        RequestError: If there is nothing to segment, or on more than one series.
        GeometryError: If a box lies outside of its image.
    """
    import nibabel as nib

    every = (*answer_masks(answer, study=study), *masks)
    require_some(every)
    names = {mask.series for mask in every}
    if len(names) > 1:
        raise RequestError(
            f"Boxes lie on {len(names)} series, and a label map has one grid.",
            allowed="Boxes of one series in a NIfTI file.",
            next_step="Write a DICOM segmentation (--seg name.dcm), or ask about one series.",
        )
    series = series_of(study, every[0].series)
    shape = series.shape if isinstance(series, Volume) else (1, series.size[1], series.size[0])
    labels = np.zeros(shape, dtype=np.uint8 if len(every) < 256 else np.uint16)
    for number, mask in enumerate(every, start=1):
        labels[mask.voxels.reshape(shape)] = number
    affine = series.affine.to_ras() if series.affine is not None else _plain(series)
    image = nib.Nifti1Image(labels.transpose(2, 1, 0), affine)
    listed = "; ".join(f"{number} {short_text(mask.label, limit=20)}" for number, mask in enumerate(every, start=1))
    # 80 bytes in the header, ASCII.
    image.header["descrip"] = f"Osler: {listed}".encode("ascii", "replace")[:79]
    data = image.to_bytes()
    return gzip.compress(data, mtime=0) if packed else data


def _plain(series: Volume | Image) -> np.ndarray:
    """Spacing without a place, for a picture."""
    x, y = series.spacing[:2] if series.spacing else (1.0, 1.0)
    return np.diag([-x, -y, 1.0, 1.0])
