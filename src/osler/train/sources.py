"""The data sets, one function each: what is read, which labels, whose patient.

Only sets that may train shipped weights are named here.
"""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file

from osler.readers.blob import DiskBlob
from osler.readers.slide import read_slide
from osler.train.pictures import Labels, Picture, Plane, Region, Sequence, View, gray_to_rgb
from osler.train.volumes import Span, TrainVolume, read_lps, with_range


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFile:
    """A picture on disk with its labels; pixels are read when drawn."""

    path: Path
    labels: Labels
    source: str
    patient: str

    def read(self) -> Picture:
        """Decodes the file."""
        pixels = np.asarray(Image.open(self.path).convert("RGB"))
        return Picture(pixels=pixels, labels=self.labels, source=self.source, patient=self.patient)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _view(text: str) -> View:
    return "pa" if text.lower().startswith("pa") else "ap"


def nih(root: Path) -> Iterator[PictureFile]:
    """NIH ChestX-ray14: frontal, AP or PA, 14 text-mined findings."""
    folder = root / "cxr" / "nih"
    for row in _rows(folder / "labels.csv"):
        names = tuple(name for name in row["Finding Labels"].split("|") if name != "No Finding")
        labels = Labels(
            modality="xray", region="chest", plane="frontal", view=_view(row["View Position"]), findings=names
        )
        path = folder / "images" / (Path(row["Image Index"]).stem + ".jpg")
        yield PictureFile(path=path, labels=labels, source="nih", patient=row["Patient ID"])


def hannover(root: Path) -> Iterator[PictureFile]:
    """COVID-19 image repository of Hannover: frontal, AP or PA."""
    folder = root / "cxr" / "hannover"
    for row in _rows(folder / "data.csv"):
        labels = Labels(modality="xray", region="chest", plane="frontal", view=_view(row["projection"]))
        path = folder / "images" / f"{row['image_id']}.jpg"
        yield PictureFile(path=path, labels=labels, source="hannover", patient=row["patient_id"])


def lung_boxes(root: Path) -> Iterator[PictureFile]:
    """Chest X-rays with lung boxes; those that Hannover has too keep Hannover's patient."""
    folder = root / "cxr" / "lung-boxes"
    known = {row["image_id"]: row["patient_id"] for row in _rows(root / "cxr" / "hannover" / "data.csv")}
    seen: set[str] = set()
    for row in _rows(folder / "boxes.csv"):
        if row["image"] in seen:
            continue
        seen.add(row["image"])
        labels = Labels(modality="xray", region="chest", plane="frontal", view=_view(row["view"]))
        stem = Path(row["image"]).stem
        owner = ("hannover", known[stem]) if stem in known else ("lung-boxes", row["patient"])
        yield PictureFile(path=folder / "images" / row["image"], labels=labels, source=owner[0], patient=owner[1])


def montgomery(root: Path) -> Iterator[PictureFile]:
    """Montgomery County tuberculosis screening: all PA."""
    for path in sorted((root / "cxr" / "montgomery" / "images").iterdir()):
        labels = Labels(modality="xray", region="chest", plane="frontal", view="pa")
        yield PictureFile(path=path, labels=labels, source="montgomery", patient=path.stem.split("_")[1])


def vqa_rad(root: Path) -> Iterator[PictureFile]:
    """VQA-RAD: CT, MR and X-ray pictures, with our own table of labels (``labels/vqa_rad.csv``)."""
    table = resources.files("osler.train").joinpath("labels/vqa_rad.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(table.splitlines()):
        labels = Labels(
            modality=row["modality"],
            region=row["region"],
            plane=row["plane"],
            view=row["view"] or "none",
            sequence=row["sequence"] or "none",
        )
        path = root / "vqa-rad" / "images" / row["image"]
        yield PictureFile(path=path, labels=labels, source="vqa-rad", patient=row["image"])


def picture_files(root: Path) -> list[PictureFile]:
    """All pictures on disk whose file is there."""
    every = [*nih(root), *hannover(root), *lung_boxes(root), *montgomery(root), *vqa_rad(root)]
    once = {entry.path.stem: entry for entry in reversed(every) if entry.path.is_file()}
    return list(reversed(once.values()))


def hippocampi(root: Path) -> Iterator[TrainVolume]:
    """T1 crops around the hippocampus."""
    for path in sorted((root / "mr" / "hippocampus" / "images").glob("*.nii.gz")):
        array, spacing = read_lps(path)
        yield _mr("hippocampus", path.name[:-7], array, spacing, sequence="t1", detail="hippocampus")


def _mr(
    source: str,
    patient: str,
    array: np.ndarray,
    spacing: tuple[float, float, float],
    *,
    region: Region = "head",
    sequence: Sequence = "none",
    detail: str = "",
    planes: tuple[Plane, ...] = ("axial", "coronal", "sagittal"),
) -> TrainVolume:
    # Slices with next to nothing in them say nothing about themselves.
    filled = np.flatnonzero((array > array.max() * 0.08).mean(axis=(1, 2)) > 0.03)
    span = Span(first=int(filled[0]), last=int(filled[-1]), region=region)
    volume = TrainVolume(
        source=source,
        patient=patient,
        array=array,
        spacing=spacing,
        modality="mr",
        region=region,
        spans=(span,),
        sequence=sequence,
        detail=detail,
        planes=planes,
    )
    return with_range(volume)


def brains(root: Path) -> Iterator[TrainVolume]:
    """Whole-brain MR: aseg, MS lesions, MS at two dates, glioblastoma."""
    folder = root / "mr"
    yield _mr("aseg", "aseg", *read_lps(folder / "aseg" / "norm.mgz"), sequence="t1")
    for name, sequence in (("T1", "t1"), ("FLAIR", "flair")):
        path = folder / "ms-lesions" / "patient07" / f"{name}.nii.gz"
        yield _mr("ms-lesions", "patient07", *read_lps(path), sequence=sequence)
    for path in sorted((folder / "ms-longitudinal").glob("*/study*_FLAIR.nii.gz")):
        yield _mr("ms-longitudinal", path.parent.name, *read_lps(path), sequence="flair")
    for name, sequence in (("12-T1post-05670", "t1c"), ("36459-FLAIRreg-76244", "flair")):
        array, spacing = read_lps(folder / "glioblastoma" / "Study1" / name)
        yield _mr("glioblastoma", "Study1", array, spacing, sequence=sequence, planes=("axial",))


def mr_torso(root: Path) -> Iterator[TrainVolume]:
    """Low-resolution MR of the upper abdomen."""
    array, spacing = read_lps(root / "mr" / "torso" / "example_mr_sm.nii.gz")
    yield _mr("mr-torso", "torso", array, spacing, region="abdomen", sequence="t1", planes=("axial",))


def _ct(source: str, path: Path, *, region: Region, spans: tuple[tuple[int, int, Region], ...]) -> TrainVolume:
    array, spacing = read_lps(path)
    return TrainVolume(
        source=source,
        patient=source,
        array=np.clip(array, -1024, 3071),
        spacing=spacing,
        modality="ct",
        region=region,
        spans=tuple(Span(first=a, last=b, region=name) for a, b, name in spans),
    )


def ct_volumes(root: Path) -> Iterator[TrainVolume]:
    """Chest and torso CT; the spans were read off the slices by eye."""
    folder = root / "ct"
    lidc = ((0, 12, "abdomen"), (24, 84, "chest"))
    yield _ct("lidc", folder / "lidc-idri-0314" / "dicom", region="chest", spans=lidc)
    petct = ((0, 8, "abdomen"), (15, 57, "chest"))
    yield _ct("lung-petct", folder / "lung-petct-dx-a0001" / "dicom", region="chest", spans=petct)
    torso = ((0, 38, "pelvis"), (46, 111, "abdomen"))
    path = folder / "torso-3mm" / "example_ct.nii.gz"
    yield _ct("ct-torso", path, region="abdomen-pelvis", spans=torso)


def colin27(path: str) -> Iterator[TrainVolume]:
    """The Colin27 T1 head of Debian's ``mricron-data``, if the recipe names it and it is there."""
    if path and Path(path).is_file():
        yield _mr("colin27", "colin27", *read_lps(Path(path)), sequence="t1")


def cranium(archive: str) -> Iterator[TrainVolume]:
    """The head CT of Debian's ``invesalius-examples``, if the recipe names it and it is there."""
    if not archive or not Path(archive).is_file():
        return
    with tarfile.open(archive) as tar:
        (name,) = (member.name for member in tar if member.name.endswith("matrix.dat"))
        stream = tar.extractfile(name)
        voxels = np.frombuffer(stream.read() if stream else b"", dtype=np.int16).reshape(108, 256, 256)
    array = np.ascontiguousarray(voxels[:, ::-1]).astype(np.float32)
    yield TrainVolume(
        source="cranium",
        patient="cranium",
        array=array,
        spacing=(1.5, 0.957, 0.957),
        modality="ct",
        region="head",
        spans=(Span(first=12, last=100, region="head"),),
    )


PYDICOM_FILES: tuple[tuple[str, Labels], ...] = (
    ("693_J2KI.dcm", Labels(modality="ct", region="head", plane="axial")),
    ("CT_small.dcm", Labels(modality="ct", region="chest", plane="axial")),
    ("examples_overlay.dcm", Labels(modality="mr", region="abdomen", plane="axial")),
)


def pydicom_files(rng: np.random.Generator) -> Picture:
    """One of the pictures that come with pydicom, min to max in gray."""
    name, labels = PYDICOM_FILES[int(rng.integers(len(PYDICOM_FILES)))]
    pixels = dcmread(str(get_testdata_file(name, download=False))).pixel_array.astype(np.float32)
    low, high = np.percentile(pixels, [rng.choice([0, 1, 30]), rng.choice([99, 99.9, 100])])
    gray = np.clip((pixels - low) / max(high - low, 1) * 255, 0, 255)
    return Picture(pixels=gray_to_rgb(gray), labels=labels, source="pydicom", patient=name)


def slide_tiles(root: Path, *, tiles: tuple[int, ...] = (256, 512, 768)) -> Iterator[Picture]:
    """Overlapping fields of the Aperio slide at three sizes; its lower quarter is kept out.

    Raises:
        RequestError: If the package that reads slides is not installed.
    """
    path = root / "slides" / "cmu-1-small-region.svs"
    slide = read_slide(DiskBlob(path, path.stat().st_size if path.is_file() else 0))
    width, height = slide.size
    whole = slide.pixels.read_region(level=0, x=0, y=0, width=width, height=height)
    labels = Labels(modality="pathology", region="tissue", plane="none")
    border = int(height * 0.75)
    for tile in tiles:
        for left in range(0, width - tile, tile // 2):
            for top in range(0, height - tile, tile // 2):
                pixels = whole[top : top + tile, left : left + tile]
                part = "lower" if top >= border else "upper" if top + tile <= border else ""
                if part and pixels.mean() < 235:
                    yield Picture(pixels=pixels, labels=labels, source="slides", patient=f"cmu-1-{part}")


def blank_pictures(rng: np.random.Generator) -> Picture:
    """A picture that shows nothing: one shade, a gradient, or noise."""
    size = int(rng.integers(64, 320))
    kind = int(rng.integers(4))
    shade = rng.choice([0, 127.5, 128, 255, rng.uniform(0, 255)])
    gray = np.full((size, size), shade, dtype=np.float32)
    if kind == 2:
        gray += np.linspace(-60, 60, size)[:, None] * rng.choice([-1, 1])
    if kind == 3:
        gray += rng.normal(0, rng.uniform(2, 60), (size, size))
    labels = Labels(modality="blank", region="none", plane="none")
    return Picture(pixels=gray_to_rgb(gray), labels=labels, source="blank", patient="blank")
