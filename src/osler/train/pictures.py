"""What a training picture is: pixels, what they show, whose they are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np

Modality = Literal["ct", "mr", "xray", "pathology", "blank"]
Region = Literal["head", "neck", "chest", "abdomen", "pelvis", "chest-abdomen", "abdomen-pelvis", "tissue", "none"]
Plane = Literal["axial", "coronal", "sagittal", "frontal", "lateral", "none"]
View = Literal["pa", "ap", "none"]
Sequence = Literal["t1", "t1c", "t2", "flair", "dwi", "adc", "none"]
Split = Literal["train", "held-out"]

MODALITIES: tuple[Modality, ...] = ("ct", "mr", "xray", "pathology", "blank")
REGIONS: tuple[Region, ...] = (
    "head",
    "neck",
    "chest",
    "abdomen",
    "pelvis",
    "chest-abdomen",
    "abdomen-pelvis",
    "tissue",
    "none",
)
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal", "frontal", "lateral", "none")
VIEWS: tuple[View, ...] = ("pa", "ap", "none")
SEQUENCES: tuple[Sequence, ...] = ("t1", "t1c", "t2", "flair", "dwi", "adc", "none")

HELD_OUT_PERCENT = 20

# Sets of one or two patients cannot be split by a hash: these are kept out whole.
HELD_OUT_PATIENTS = frozenset(
    {("lung-petct", "lung-petct"), ("ms-longitudinal", "patient03"), ("slides", "cmu-1-lower")}
)
TRAIN_ONLY_SOURCES = frozenset(
    {
        "lidc",
        "ct-torso",
        "aseg",
        "ms-lesions",
        "ms-longitudinal",
        "glioblastoma",
        "mr-torso",
        "colin27",
        "cranium",
        "pydicom",
        "slides",
        "lung-petct",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a picture is known to show; ``"none"`` stands for not applicable or not known.

    Args:
        modality: How it was taken; ``"blank"`` for a picture that shows nothing.
        region: Part of the body.
        plane: Section plane, or the side an X-ray is seen from.
        view: Which way the beam of a frontal X-ray went.
        sequence: MR weighting.
        detail: A structure that fills the picture (``"hippocampus"``), or empty.
        findings: NIH finding names, or ``None`` where nobody labeled them.
    """

    modality: Modality
    region: Region
    plane: Plane
    view: View = "none"
    sequence: Sequence = "none"
    detail: str = ""
    findings: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One picture before augmentation.

    Args:
        pixels: uint8 (row, column, 3).
        labels: What it shows.
        source: The data set's name.
        patient: Key of the patient within the source.
    """

    pixels: np.ndarray
    labels: Labels
    source: str
    patient: str


def split_of(source: str, *, patient: str) -> Split:
    """Assigns a patient to training or to the held-out fifth, by a hash of the key."""
    if (source, patient) in HELD_OUT_PATIENTS:
        return "held-out"
    if source in TRAIN_ONLY_SOURCES:
        return "train"
    digest = hashlib.sha256(f"{source}:{patient}".encode()).hexdigest()
    return "held-out" if int(digest[:8], 16) % 100 < HELD_OUT_PERCENT else "train"


def gray_to_rgb(gray: np.ndarray) -> np.ndarray:
    """Repeats a (row, column) picture into three channels, rounded to uint8."""
    rounded = np.clip(np.rint(gray), 0, 255).astype(np.uint8)
    return np.repeat(rounded[..., None], 3, axis=-1)
