"""A box head taught on a user's scans: what it draws on patients that were kept out, by the number of scans.

    python -m benchmarks.fine_tuning_boxes --work FOLDER --out benchmarks/fine_tuning_boxes

On real X-rays the label is "both lungs", one box around both. Osler-mini does not know it, but it knows each lung: the
union of what it draws of the two stands beside the head. On drawn CT volumes (phantoms) the labels are the stomach and
the pancreas, which no weights of Osler-mini ever learned. Kept out are patients that Osler-mini itself never saw;
beside all stands the mean box of the training rows, which looks at nothing. Asked by `osler.locate`, on the file.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
from PIL import Image

import osler
from benchmarks.machine import commit, cpu_features
from osler.engine.session import Session
from osler.study import Box2D, Box3D, Volume
from osler.synth.draw import draw_patient
from osler.synth.phantoms import render_volume
from osler.train import run_stage
from osler.train.labeled_xrays import LabeledXray, real_xrays
from osler.train.local_table import LocalRow, read_local_table
from osler.train.recipe import FinetuneRecipe

LUNGS = ("right lung", "left lung")
COLUMNS = ("path", "patient", "label", "x0", "y0", "z0", "x1", "y1", "z1", "split")
PHANTOM_LABELS = ("stomach", "pancreas")
PHANTOM_SEED = 77
_SHAPE = (32, 128, 128)
_SEED = 3
Row = dict[str, object]
Interval = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """With one number of scans: mean IoU with its interval over patients.

    Args:
        head: Of the taught head. shipped: Of Osler-mini's own boxes joined, ``None`` where it has none.
        mean_box: Of the mean box. gain: Of the head over the mean box, in pairs.
        undrawn: Boxes that the head did not draw.
    """

    data: str
    scans: int
    kept_out: int
    patients: int
    minutes: float
    head: Interval
    shipped: Interval | None
    mean_box: Interval
    gain: Interval
    undrawn: int


def xray_rows(films: Iterable[LabeledXray], folder: Path, *, split: str) -> Iterator[Row]:
    """Writes films that show both lungs, and yields their rows."""
    for number, film in enumerate(film for film in films if film.boxes and len(film.boxes) == 2):
        path = folder / f"{split}-{number}.png"
        Image.fromarray(film.pixels).save(path)
        edges = np.array(list((film.boxes or {}).values()))
        low, high = edges[:, :2].min(0), edges[:, 2:].max(0)
        box = {"x0": low[0], "y0": low[1], "x1": high[0], "y1": high[1]}
        patient = f"{film.source} {film.patient}"
        yield {"path": path.name, "patient": patient, "label": "both lungs", "split": split, **box}


def phantom_rows(folder: Path, *, train: int, kept_out: int) -> Iterator[Row]:
    """Renders the first abdomen CT of synthetic patients, and yields the rows of `PHANTOM_LABELS`."""
    made = number = 0
    while made < train + kept_out:
        patient, number = draw_patient(seed=PHANTOM_SEED, number=number), number + 1
        exam = next((e for e in patient.exams if e.modality == "CT" and e.region == "abdomen"), None)
        if exam is None:
            continue
        phantom = render_volume(patient, exam=exam.number, shape=_SHAPE)
        volume, path = phantom.volume(), folder / f"phantom-{number - 1}.nii.gz"
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine.matrix  # NIfTI is RAS
        voxels = np.asarray(volume.read()).transpose(2, 1, 0).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
        boxes = phantom.organ_boxes()
        for label in (label for label in PHANTOM_LABELS if label in boxes):
            edges = dict(zip(COLUMNS[3:9], (*boxes[label].low, *boxes[label].high), strict=True))
            split = "train" if made < train else "kept-out"
            yield {"path": path.name, "patient": str(number - 1), "label": label, "split": split, **edges}
        made += 1


def write_table(path: Path, rows: Sequence[Row]) -> Path:
    """Writes the table of the how-to."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def reached(data: str, rows: Sequence[Row], *, work: Path, name: str, shipped: Session) -> Reached:
    """Teaches by the command of the how-to, and measures what `osler.locate` draws on the kept-out scans."""
    table = write_table(work / f"{name}.csv", rows)
    started = time.perf_counter()
    run_stage(FinetuneRecipe(stage="finetune", csv=str(table), out=str(work / name)))
    minutes = (time.perf_counter() - started) / 60
    session, read = osler.load(str(work / name)), read_local_table(table).rows
    train, kept = ([row for row in read if row.split == side] for side in ("train", "kept-out"))
    mean = {label: np.mean([_shares(row) for row in train if row.label == label], axis=0) for label in _labels(train)}
    drawn = [overlap(session, row, asked=(row.label,)) for row in kept]
    fixed = [_of_shares(mean[row.label], row) for row in kept]
    union = [overlap(shipped, row, asked=LUNGS) for row in kept] if data == "X-rays" else None
    patients = [row.patient for row in kept]
    return Reached(
        data=data,
        scans=len({row.path for row in train}),
        kept_out=len(kept),
        patients=len(set(patients)),
        minutes=minutes,
        head=interval(drawn, patients),
        shipped=None if union is None else interval(union, patients),
        mean_box=interval(fixed, patients),
        gain=interval([a - b for a, b in zip(drawn, fixed, strict=True)], patients),
        undrawn=sum(value == 0 for value in drawn),
    )


def overlap(session: Session, row: LocalRow, *, asked: Sequence[str]) -> float:
    """IoU of the box around all that is drawn of what is asked for; 0 where nothing is drawn."""
    answer = osler.locate(session, row.path, list(asked))
    if isinstance(row.box, Box3D):
        return max((box.patient.iou(row.box) for box in answer.boxes if box.patient), default=0.0)
    found = [box.pixel for box in answer.boxes if box.pixel is not None]
    if not found:
        return 0.0
    low = min(b.x0 for b in found), min(b.y0 for b in found)
    high = max(b.x1 for b in found), max(b.y1 for b in found)
    assert isinstance(row.box, Box2D)
    return Box2D(x0=low[0], y0=low[1], x1=high[0], y1=high[1]).iou(row.box)


def interval(values: Sequence[float], patients: Sequence[str]) -> Interval:
    """Mean, and 95% of the means when patients are drawn again."""
    rng = np.random.default_rng(0)
    groups = [np.array([v for v, p in zip(values, patients, strict=True) if p == one]) for one in sorted(set(patients))]
    draws = rng.integers(len(groups), size=(2000, len(groups)))
    low, high = np.percentile([np.concatenate([groups[i] for i in draw]).mean() for draw in draws], [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)


def _labels(rows: Iterable[LocalRow]) -> list[str]:
    return sorted({row.label for row in rows})


def _volume(row: LocalRow) -> Volume:
    (volume,) = osler.open_study(row.path).timepoints[0].series
    assert isinstance(volume, Volume)
    return volume


def _size(row: LocalRow) -> np.ndarray:
    """Of the scan: columns, rows and, of a volume, slices."""
    if isinstance(row.box, Box3D):
        return np.array(_volume(row).shape[::-1], dtype=float)
    with Image.open(row.path) as picture:
        return np.array(picture.size, dtype=float)


def _shares(row: LocalRow) -> np.ndarray:
    """Low and high edges of a box in shares of its scan."""
    if isinstance(row.box, Box3D):
        voxel = row.box.to_voxel(_volume(row).affine)
        return np.array([voxel.low, voxel.high]) / _size(row)
    assert isinstance(row.box, Box2D)
    return np.array([[row.box.x0, row.box.y0], [row.box.x1, row.box.y1]]) / _size(row)


def _of_shares(shares: np.ndarray, row: LocalRow) -> float:
    """IoU of a box in shares of the scan."""
    low, high = (tuple(map(float, edge)) for edge in shares * _size(row))
    if isinstance(row.box, Box3D):
        return Box3D(low=low, high=high, frame="voxel").to_patient(_volume(row).affine).iou(row.box)  # type: ignore[arg-type]
    assert isinstance(row.box, Box2D)
    return Box2D(x0=low[0], y0=low[1], x1=high[0], y1=high[1]).iou(row.box)


def page(results: Sequence[Mapping[str, object]]) -> str:
    """The result as Markdown."""

    def cell(value: object) -> str:
        return "-" if value is None else "{:.3f} ({:.3f} to {:.3f})".format(*value)  # type: ignore[misc]

    lines = [
        "# Fine-tuning Osler-mini on boxes: a head of its own",
        "",
        "    python -m benchmarks.fine_tuning_boxes --work FOLDER --out benchmarks/fine_tuning_boxes",
        "",
        "`osler train --csv`, mean IoU on patients that neither Osler-mini nor the head saw; a box that is not drawn",
        "counts 0. X-rays: `lung-boxes` and Montgomery, one box around both lungs, which Osler-mini does not know;",
        "*joined* is the box around what it draws of the two lungs. CT: drawn volumes of synthetic patients, stomach",
        "and pancreas, which no weights of Osler-mini learned. The mean box is that of the training rows. Intervals",
        "are 95%, patients drawn again; the gain is that of the head over the mean box, in pairs. 400 updates a row.",
        "",
        "| Data | Training scans | Kept-out boxes (patients) | Head | Joined | Mean box | Gain | Not drawn | Minutes |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        lines.append(
            f"| {one['data']} | {one['scans']} | {one['kept_out']} ({one['patients']}) | {cell(one['head'])} | "
            f"{cell(one['shipped'])} | {cell(one['mean_box'])} | {cell(one['gain'])} | {one['undrawn']} | "
            f"{one['minutes']:.1f} |"
        )
    lines += ["", f"One core ({', '.join(cpu_features())}) beside other work. Commit {commit()}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Teaches, measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for scans, tables and models")
    parser.add_argument("--out", type=Path, required=True, help="page to write, without its ending")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    train = list(xray_rows(real_xrays(options.data, split="train"), options.work, split="train"))
    kept = list(xray_rows(real_xrays(options.data, split="held-out"), options.work, split="kept-out"))
    phantoms = list(phantom_rows(options.work, train=60, kept_out=40))
    order = np.random.default_rng(_SEED).permutation(len(train))
    tables = {f"xrays-{count}": [*(train[i] for i in order[:count]), *kept] for count in (10, 40, len(train))}
    shipped, results = osler.load("osler-mini"), []
    for name, rows in {**tables, "phantoms-60": phantoms}.items():
        data = "X-rays" if name in tables else "CT, drawn"
        results.append(asdict(reached(data, rows, work=options.work, name=name, shipped=shipped)))
        options.out.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
