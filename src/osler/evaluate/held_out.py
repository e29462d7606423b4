"""The held-out cases: files and volumes of patients that no training step saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from osler.readers import open_study
from osler.study import ArrayPixels, Image, Study, TimePoint
from osler.train.pictures import Labels, Picture, split_of
from osler.train.sources import PictureFile, hannover, lung_boxes, montgomery, nih, slide_tiles, vqa_rad

SplitChoice = Literal["held-out", "all"]
_FACETS = ("modality", "region", "plane")
_PICTURES: tuple[tuple[str, Callable[[Path], Iterator[PictureFile]]], ...] = (
    ("cxr/nih/labels.csv", nih),
    ("cxr/hannover/data.csv", hannover),
    ("cxr/lung-boxes/boxes.csv", lung_boxes),
    ("cxr/montgomery/images", montgomery),
    ("vqa-rad/images", vqa_rad),
)


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
    asked: tuple[str, ...] = _FACETS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Listed:
    """A case that is not open yet.

    Args:
        name: Unique among the cases.
        open: Reads the study.
        path: Of the picture or volume; ``None`` for fields of a slide.
        labels: See `Case`. form: See there. source: See there. patient: See there. asked: See there.
    """

    name: str
    open: Callable[[], Study]
    labels: Labels
    form: str
    source: str
    patient: str
    asked: tuple[str, ...] = _FACETS
    path: Path | None = None

    def case(self) -> Case:
        """Opens the study.

        Raises:
            OslerError: If it cannot be read.
        """
        return Case(
            study=self.open(),
            labels=self.labels,
            form=self.form,
            source=self.source,
            patient=self.patient,
            asked=self.asked,
        )


def held_out_cases(root: Path, *, tiles: int = 24) -> Iterator[Case]:
    """Yields every held-out case: X-rays and VQA-RAD by file, MR and CT as volumes, slide fields.

    Args:
        root: Folder of the public sets.
        tiles: Most fields of the slide's held-out part.
    """
    for listed in listed_cases(root, tiles=tiles):
        yield listed.case()


def listed_cases(root: Path, *, split: SplitChoice = "held-out", tiles: int = 24) -> Iterator[Listed]:
    """Lists cases without opening them; a set that is not there gives none.

    Args:
        root: Folder of the public sets.
        split: ``"all"`` lists the patients of training, too.
        tiles: Most fields of the slide.
    """
    kept = partial(_is_kept, split)
    for entry in listed_pictures(root):
        if kept(entry.source, entry.patient):
            yield Listed(
                name=f"{entry.source}/{entry.path.name}",
                open=partial(open_study, entry.path),
                labels=entry.labels,
                form="picture",
                source=entry.source,
                patient=entry.patient,
                path=entry.path,
            )
    if (root / "slides").is_dir():
        yield from _fields(root, most=tiles, kept=kept)
    yield from listed_volumes(root, split=split)


def listed_pictures(root: Path) -> list[PictureFile]:
    """Pictures of those sets that are there, each file once."""
    every = [entry for needed, source in _PICTURES if (root / needed).exists() for entry in _readable(source, root)]
    once = {entry.path.stem: entry for entry in reversed(every) if entry.path.is_file()}
    return list(reversed(once.values()))


def _readable(source: Callable[[Path], Iterator[PictureFile]], root: Path) -> list[PictureFile]:
    """Entries of a set; lung boxes need Hannover's table to know whose picture is whose."""
    if source is lung_boxes and not (root / "cxr" / "hannover" / "data.csv").is_file():
        return []
    return list(source(root))


def _is_kept(split: SplitChoice, source: str, patient: str) -> bool:
    return split == "all" or split_of(source, patient=patient) == "held-out"


def listed_volumes(root: Path, *, split: SplitChoice = "held-out") -> Iterator[Listed]:
    """Lists the MR and CT volumes among the cases without opening them; see `listed_cases`."""
    kept = partial(_is_kept, split)
    head = Labels(modality="mr", region="head", plane="axial")
    for path in sorted((root / "mr" / "hippocampus" / "images").glob("*.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        if kept("hippocampus", name):
            yield _volume(path, labels=head, source="hippocampus", patient=name)
    for path in sorted((root / "mr" / "ms-longitudinal").glob("*/study*_FLAIR.nii.gz")):
        if kept("ms-longitudinal", path.parent.name):
            yield _volume(path, labels=head, source="ms-longitudinal", patient=path.parent.name)
    folder = root / "ct" / "lung-petct-dx-a0001" / "dicom"
    chest = Labels(modality="ct", region="chest", plane="axial")
    if folder.is_dir():
        yield _volume(folder, labels=chest, source="lung-petct", patient="a0001")


def _volume(path: Path, *, labels: Labels, source: str, patient: str) -> Listed:
    return Listed(
        name=f"{source}/{patient}/{path.name}",
        open=partial(open_study, path),
        labels=labels,
        form="volume",
        source=source,
        patient=patient,
        path=path,
    )


def _fields(root: Path, *, most: int, kept: Callable[[str, str], bool]) -> Iterator[Listed]:
    fields = [t for t in slide_tiles(root) if kept(t.source, t.patient)]
    order = np.random.default_rng(0).permutation(len(fields))[:most]
    for number in order:
        field = fields[int(number)]
        yield Listed(
            name=f"slides/field-{number}",
            open=partial(_field_study, field, number=int(number)),
            labels=field.labels,
            form="picture",
            source="slides",
            patient="cmu-1-lower",
            asked=("modality",),
        )


def _field_study(field: Picture, *, number: int) -> Study:
    image = Image(series=f"field-{number}", pixels=ArrayPixels(field.pixels), modality="SM", units="RGB")
    return Study(timepoints=(TimePoint(series=(image,)),))
