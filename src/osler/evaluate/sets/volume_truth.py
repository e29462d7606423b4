"""Where things lie in volumes, from masks, annotations and phantoms: boxes in patient LPS mm."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import nibabel
import numpy as np

from osler.errors import FileFormatError
from osler.readers import open_study
from osler.study import Affine, Box3D, Study
from osler.synth.facts import Exam, PatientFacts
from osler.synth.phantoms.render import mask_box

ORGANS: dict[str, tuple[str, ...]] = {
    "right lung": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right", "lung_right"),
    "left lung": ("lung_upper_lobe_left", "lung_lower_lobe_left", "lung_left"),
    "heart": ("heart",),
    "liver": ("liver",),
    "spleen": ("spleen",),
    "right kidney": ("kidney_right",),
    "left kidney": ("kidney_left",),
    "stomach": ("stomach",),
    "pancreas": ("pancreas",),
    "bladder": ("urinary_bladder",),
}
"""Label to the names of TotalSegmentator whose masks make it up; phantoms call it the same with a hyphen."""

_LABEL = re.compile(r'Label Key="(\d+)"[^>]*><!\[CDATA\[(\w+)\]')
_LEAST_VOXELS = 10


def boxes_of(mask: Path, *, numbers: Mapping[str, tuple[int, ...]], name: str) -> dict[str, Box3D]:
    """Boxes around the labels of a NIfTI mask; a label that is not there has none.

    Raises:
        FileFormatError: If the mask cannot be read.
    """
    try:
        image = nibabel.load(mask)
        labels_ijk = np.asarray(image.dataobj)
        matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine  # RAS+ of NIfTI to LPS
    except (OSError, ValueError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise FileFormatError(f"The mask of {name} is not readable: {type(error).__name__}.") from error
    affine = Affine(matrix)
    found = {}
    for label, wanted in numbers.items():
        inside_kji = np.isin(labels_ijk, wanted).transpose(2, 1, 0)
        if inside_kji.sum() >= _LEAST_VOXELS:
            found[label] = mask_box(inside_kji, affine=affine)
    return found


def organ_numbers(mask: Path) -> dict[str, tuple[int, ...]]:
    """Which numbers of a segmentation make up each organ, by the label table in its header.

    Raises:
        FileFormatError: If it has none.
    """
    try:
        extensions = nibabel.load(mask).header.extensions
    except (OSError, ValueError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise FileFormatError(f"{mask.name} is not a readable mask: {type(error).__name__}.") from error
    table: dict[str, int] = {}
    for extension in extensions:
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        table |= {name: int(number) for number, name in _LABEL.findall(text)}
    if not table:
        raise FileFormatError(f"{mask.name} has no table of label names.", allowed="A segmentation with a label table.")
    chosen = {organ: tuple(table[name] for name in names if name in table) for organ, names in ORGANS.items()}
    return {organ: numbers for organ, numbers in chosen.items() if numbers}


def phantom(patient: PatientFacts, exam: Exam) -> tuple[Study, dict[str, Box3D]]:
    """A synthetic CT and the boxes of its organs, cut at the edges of the volume as the organs are."""
    from osler.evaluate.synthetic import draw_phantom, study_of

    drawn = draw_phantom(patient, exam)
    boxes = drawn.organ_boxes()
    known = {label: boxes[label.replace(" ", "-")] for label in ORGANS if label.replace(" ", "-") in boxes}
    return study_of(patient, [exam], drawn=[drawn.volume()]), known


def lidc_nodule(folder: Path) -> tuple[Study, dict[str, Box3D]]:
    """A chest CT with the median of the boxes that several radiologists drew around its nodule.

    The copy holds every third of the original slices; indices count the originals.

    Raises:
        DataError: If the files cannot be read.
    """
    study = open_study(folder / "dicom")
    volume = study.volumes()[0]
    try:
        drawn = json.loads((folder / "nodules.json").read_text(encoding="utf-8"))
        edges = np.median(np.array([one["box_xyxykk"] for one in drawn], dtype=float), axis=0)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileFormatError(f"nodules.json cannot be read: {type(error).__name__}.") from error
    x0, y0, x1, y1, k0, k1 = edges
    low, high = k0 / _LIDC_STEP, (k1 + 1) / _LIDC_STEP
    box = Box3D(low=(x0, y0, low), high=(x1, y1, high), frame="voxel")
    return study, {"nodule": box.to_patient(volume.affine)}


_LIDC_STEP = 3


def petct_tumor(folder: Path) -> tuple[Study, dict[str, Box3D]]:
    """A chest CT with the box around the boxes that were drawn on its slices.

    Raises:
        DataError: If the files cannot be read.
    """
    study = open_study(folder / "dicom")
    volume = study.volumes()[0]
    place = {origin.sop_uid: number for number, origin in enumerate(volume.origins)}
    lows, highs = [], []
    for path in sorted((folder / "annotation").glob("*.xml")):
        try:
            root = ElementTree.parse(path).getroot()
            edges = [[float(box.findtext(edge, "")) for edge in _EDGES] for box in root.iter("bndbox")]
        except (OSError, ValueError, ElementTree.ParseError) as error:
            raise FileFormatError(f"{path.name} is not a readable annotation: {type(error).__name__}.") from error
        if (number := place.get(path.stem)) is not None:
            lows += [(x0, y0, number) for x0, y0, _, _ in edges]
            highs += [(x1, y1, number + 1) for _, _, x1, y1 in edges]
    if not lows:
        raise FileFormatError(
            "No annotation belongs to a slice of the scan.",
            allowed="Annotations are named by SOP Instance UIDs; a scan whose UIDs were changed has lost them.",
        )
    low, high = (tuple(float(edge) for edge in corner) for corner in (np.min(lows, axis=0), np.max(highs, axis=0)))
    return study, {"tumor": Box3D(low=low, high=high, frame="voxel").to_patient(volume.affine)}


_EDGES = ("xmin", "ymin", "xmax", "ymax")
