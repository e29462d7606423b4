"""The held-out cases: files and volumes of patients that no training step saw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osler.readers import open_study
from osler.study import ArrayPixels, Image, Study, TimePoint
from osler.train.pictures import Labels, split_of
from osler.train.sources import picture_files, slide_tiles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One study to ask about.

    Args:
        study: Opened by `osler.readers`.
        labels: What it shows. form: ``"picture"`` or ``"volume"``.
        source: Data set. patient: Key within it.
        asked: Which of modality, region and plane are known, and so asked.
    """

    study: Study
    labels: Labels
    form: str
    source: str
    patient: str
    asked: tuple[str, ...] = ("modality", "region", "plane")


def held_out_cases(root: Path, *, tiles: int = 24) -> Iterator[Case]:
    """Yields every held-out case: X-rays and VQA-RAD by file, MR and CT as volumes, slide fields.

    Args:
        root: Folder of the public sets.
        tiles: Most fields of the slide's held-out part.
    """
    for entry in picture_files(root):
        if split_of(entry.source, patient=entry.patient) == "held-out":
            yield Case(
                study=open_study(entry.path),
                labels=entry.labels,
                form="picture",
                source=entry.source,
                patient=entry.patient,
            )
    yield from _fields(root, most=tiles)
    yield from _volumes(root)


def _volumes(root: Path) -> Iterator[Case]:
    head = Labels(modality="mr", region="head", plane="axial")
    for path in sorted((root / "mr" / "hippocampus" / "images").glob("*.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        if split_of("hippocampus", patient=name) == "held-out":
            yield Case(study=open_study(path), labels=head, form="volume", source="hippocampus", patient=name)
    for path in sorted((root / "mr" / "ms-longitudinal" / "patient03").glob("study*_FLAIR.nii.gz")):
        yield Case(study=open_study(path), labels=head, form="volume", source="ms-longitudinal", patient="patient03")
    folder = root / "ct" / "lung-petct-dx-a0001" / "dicom"
    chest = Labels(modality="ct", region="chest", plane="axial")
    if folder.is_dir():
        yield Case(study=open_study(folder), labels=chest, form="volume", source="lung-petct", patient="a0001")


def _fields(root: Path, *, most: int) -> Iterator[Case]:
    fields = [t for t in slide_tiles(root) if split_of(t.source, patient=t.patient) == "held-out"]
    order = np.random.default_rng(0).permutation(len(fields))[:most]
    for number in order:
        field = fields[int(number)]
        image = Image(series=f"field-{number}", pixels=ArrayPixels(field.pixels), modality="SM", units="RGB")
        yield Case(
            study=Study(timepoints=(TimePoint(series=(image,)),)),
            labels=field.labels,
            form="picture",
            source="slides",
            patient="cmu-1-lower",
            asked=("modality",),
        )
