"""A box head taught on a user's X-rays: what it draws on patients that were kept out, by the number of scans.

    python -m benchmarks.fine_tuning_boxes --work FOLDER --out benchmarks/fine_tuning_boxes

The label is "both lungs", one box around both, which Osler-mini does not know. Kept out are the patients that
Osler-mini itself never saw (`lung-boxes` and Montgomery), so that nothing in the trunk remembers them; beside the head
stands the mean box of the training rows, which looks at nothing. Asked by `osler.locate`, on the file.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import osler
from benchmarks.machine import commit, cpu_features
from osler.study import Box2D
from osler.train import run_stage
from osler.train.labeled_xrays import LabeledXray, real_xrays
from osler.train.recipe import FinetuneRecipe

LABEL = "both lungs"
COUNTS = (10, 40, 0)
_SEED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """With one number of scans: mean IoU with its interval over patients, of the head and of the mean box."""

    scans: int
    kept_out: int
    patients: int
    minutes: float
    head: tuple[float, float, float]
    mean_box: tuple[float, float, float]
    gain: tuple[float, float, float]


def write_scans(films: Iterable[LabeledXray], folder: Path, *, split: str) -> list[dict[str, object]]:
    """Writes films that show both lungs, and returns their rows."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for film in films:
        if not film.boxes or len(film.boxes) != 2:
            continue
        path = folder / f"{split}-{len(rows)}.png"
        Image.fromarray(film.pixels).save(path)
        edges = np.array(list(film.boxes.values()))
        low, high = edges[:, :2].min(0), edges[:, 2:].max(0)
        box = dict(zip(("x0", "y0", "x1", "y1"), map(float, (*low, *high)), strict=True))
        patient = f"{film.source} {film.patient}"
        rows.append({"path": path.name, "patient": patient, "label": LABEL, "split": split, **box})
    return rows


def write_table(path: Path, rows: list[dict[str, object]]) -> Path:
    """Writes the table of the how-to."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def reached(train: list[dict[str, object]], kept: list[dict[str, object]], *, work: Path) -> Reached:
    """Teaches by the command of the how-to, and measures what `osler.locate` draws on the kept-out scans."""
    out = work / f"model-{len(train)}"
    table = write_table(work / f"scans-{len(train)}.csv", train + kept)
    started = time.perf_counter()
    run_stage(FinetuneRecipe(stage="finetune", csv=str(table), out=str(out)))
    minutes = (time.perf_counter() - started) / 60
    session = osler.load(str(out))
    mean = np.mean([_share(row, work=work) for row in train], axis=0)
    drawn, fixed = [], []
    for row in kept:
        wanted = Box2D(**{name: row[name] for name in ("x0", "y0", "x1", "y1")})  # type: ignore[arg-type]
        answer = osler.locate(session, work / str(row["path"]), [LABEL])
        drawn.append(max((box.pixel.iou(wanted) for box in answer.boxes if box.pixel), default=0.0))
        x0, y0, x1, y1 = mean * _size(row, work=work)
        fixed.append(Box2D(x0=x0, y0=y0, x1=x1, y1=y1).iou(wanted))
    patients = [str(row["patient"]) for row in kept]
    gain = [a - b for a, b in zip(drawn, fixed, strict=True)]
    return Reached(
        scans=len(train),
        kept_out=len(kept),
        patients=len(set(patients)),
        minutes=minutes,
        head=interval(drawn, patients),
        mean_box=interval(fixed, patients),
        gain=interval(gain, patients),
    )


def interval(values: list[float], patients: list[str]) -> tuple[float, float, float]:
    """Mean, and 95% of the means when patients are drawn again."""
    rng = np.random.default_rng(0)
    groups = [np.array([v for v, p in zip(values, patients, strict=True) if p == one]) for one in sorted(set(patients))]
    draws = rng.integers(len(groups), size=(2000, len(groups)))
    low, high = np.percentile([np.concatenate([groups[i] for i in draw]).mean() for draw in draws], [2.5, 97.5])
    return float(np.mean(values)), float(low), float(high)


def _size(row: dict[str, object], *, work: Path) -> np.ndarray:
    with Image.open(work / str(row["path"])) as picture:
        return np.array(picture.size * 2, dtype=float)


def _share(row: dict[str, object], *, work: Path) -> np.ndarray:
    return np.array([row[name] for name in ("x0", "y0", "x1", "y1")], dtype=float) / _size(row, work=work)


def page(results: list[Reached]) -> str:
    """The result as Markdown."""
    lines = [
        "# Fine-tuning Osler-mini on boxes: a head of its own",
        "",
        "    python -m benchmarks.fine_tuning_boxes --work FOLDER --out benchmarks/fine_tuning_boxes",
        "",
        "X-rays of `lung-boxes` and Montgomery, one box around both lungs, by `osler train --csv`; mean IoU on "
        f"{results[0].kept_out} X-rays of {results[0].patients} patients that neither Osler-mini nor the head saw.",
        "Osler-mini as shipped does not know the label. Intervals are 95%, patients drawn again; *gain* is paired.",
        "",
        "| Training X-rays | Head | Mean box | Gain | Minutes |",
        "|---|---|---|---|---|",
    ]
    for one in results:
        head, mean, gain = (f"{v[0]:.3f} ({v[1]:.3f} to {v[2]:.3f})" for v in (one.head, one.mean_box, one.gain))
        lines.append(f"| {one.scans} | {head} | {mean} | {gain} | {one.minutes:.1f} |")
    lines += [
        "",
        "The trunk that the head reads learned single lungs on the training patients' X-rays, so that this label is "
        "near what it knows; a structure that it never saw needs more scans.",
        f"One core ({', '.join(cpu_features())}) beside other work. Commit {commit()}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Teaches, measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, required=True, help="folder for scans, tables and models")
    parser.add_argument("--out", type=Path, required=True, help="page to write, without its ending")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train, kept = (
        write_scans(real_xrays(options.data, split=side), options.work, split=split)
        for side, split in (("train", "train"), ("held-out", "kept-out"))
    )
    order = np.random.default_rng(_SEED).permutation(len(train))
    results = []
    for count in COUNTS:
        some = [train[i] for i in order[: count or len(train)]]
        results.append(reached(some, kept, work=options.work))
        options.out.with_suffix(".json").write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n")
        options.out.with_suffix(".md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
