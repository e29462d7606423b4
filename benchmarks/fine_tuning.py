"""Fine-tuning Osler-mini on a table of X-rays: what it draws on patients that were kept out.

    python -m benchmarks.fine_tuning --work FOLDER --out benchmarks/fine_tuning

Osler-mini's decoder draws no boxes; its box head does, and is switched off here. The decoder is taught the lungs on
`cxr/lung-boxes` by the command of the how-to, and asked by `osler locate --without heads` on the kept-out patients;
beside it stands the mean box of the training rows, which looks at nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

import osler
from benchmarks.machine import commit, cpu_features
from osler.engine.session import Session
from osler.study import Box2D
from osler.train import run_stage
from osler.train.local_table import LocalRow, is_kept_out, read_local_table
from osler.train.recipe import FinetuneRecipe, OptimizerConfig
from osler.weights.parts import parts_without

COLUMNS = ("path", "patient", "label", "x0", "y0", "x1", "y1")


def main() -> None:
    """Trains, measures and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cxr/lung-boxes"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the table and the model")
    parser.add_argument("--out", type=Path, required=True, help="page to write, without its ending")
    parser.add_argument("--steps", type=int, default=90)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    table = write_table(options.data, options.work / "lungs.csv")
    recipe = FinetuneRecipe(
        stage="finetune",
        csv=str(table),
        out=str(options.work / "lungs"),
        boxes="text",
        micro_batch=2,
        judged=40,
        save_every=6,
        optimizer=OptimizerConfig(steps=options.steps, batch=4, learning_rate=1e-3, warmup=4, weight_decay=0.0),
    )
    run_stage(recipe)
    lines = (Path(recipe.out) / "run" / "metrics.jsonl").read_text().splitlines()
    minutes = json.loads(lines[-1])["seconds"] / 60
    rows = read_local_table(table).rows
    train = [row for row in rows if not is_kept_out(row.patient, share=recipe.kept_out)]
    kept = [row for row in rows if is_kept_out(row.patient, share=recipe.kept_out)]
    session = osler.load(recipe.out, parts=parts_without(("heads",)))
    measured = measure(session, kept=kept, constant=mean_boxes(train))
    summary = json.loads((Path(recipe.out) / "run" / "summary.json").read_text())
    result = {**measured, "loss": summary["kept_out"], "minutes": minutes, "steps": options.steps}
    options.out.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(page(result))


def write_table(data: Path, path: Path) -> Path:
    """Writes the table of the how-to from the set's own."""
    with (data / "boxes.csv").open(encoding="utf-8") as source, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        for row in csv.DictReader(source):
            place = str((data / "images" / row["image"]).resolve())
            writer.writerow({"path": place, **{name: row[name] for name in COLUMNS[1:]}})
    return path


def mean_boxes(rows: list[LocalRow]) -> dict[str, np.ndarray]:
    """The mean box of each label, in fractions of the picture."""
    boxes: dict[str, list[np.ndarray]] = defaultdict(list)
    for row in rows:
        boxes[row.label].append(edges(row) / size(row))
    return {label: np.mean(values, axis=0) for label, values in boxes.items()}


def measure(session: Session, *, kept: list[LocalRow], constant: dict[str, np.ndarray]) -> dict[str, object]:
    """IoU on kept-out pictures, of what is drawn and of the constant box, with intervals over patients."""
    by_path: dict[Path, list[LocalRow]] = defaultdict(list)
    for row in kept:
        by_path[row.path].append(row)
    drawn, fixed, patients, absent = [], [], [], 0
    for path, rows in by_path.items():
        answer = osler.locate(session, osler.open_study(path), [row.label for row in rows])
        for row in rows:
            found = [box.pixel for box in answer.boxes if box.label == row.label and box.pixel is not None]
            absent += not found
            assert isinstance(row.box, Box2D)
            drawn.append(max((box.iou(row.box) for box in found), default=0.0))
            x0, y0, x1, y1 = constant[row.label] * size(row)
            fixed.append(Box2D(x0=x0, y0=y0, x1=x1, y1=y1).iou(row.box))
            patients.append(row.patient)
    return {
        "boxes": len(drawn),
        "pictures": len(by_path),
        "patients": len(set(patients)),
        "not_drawn": absent,
        "iou": interval(drawn, patients),
        "constant_iou": interval(fixed, patients),
    }


def interval(values: list[float], patients: list[str]) -> list[float]:
    """Mean, and 95% of the means when patients are drawn again."""
    rng = np.random.default_rng(0)
    groups = [np.array([v for v, p in zip(values, patients, strict=True) if p == one]) for one in sorted(set(patients))]
    means = [
        np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))]).mean() for _ in range(2000)
    ]
    return [float(np.mean(values)), *map(float, np.percentile(means, [2.5, 97.5]))]


def edges(row: LocalRow) -> np.ndarray:
    """``x0, y0, x1, y1`` in px."""
    assert isinstance(row.box, Box2D)
    return np.array([row.box.x0, row.box.y0, row.box.x1, row.box.y1])


def size(row: LocalRow) -> np.ndarray:
    """``width, height, width, height`` in px."""
    with Image.open(row.path) as picture:
        return np.array(picture.size * 2, dtype=float)


def page(result: dict[str, object]) -> str:
    """The result in words."""
    loss = result["loss"]
    assert isinstance(loss, dict)
    iou, constant = ("{:.2f} ({:.2f} to {:.2f})".format(*result[name]) for name in ("iou", "constant_iou"))  # type: ignore[misc]
    return f"""# Fine-tuning Osler-mini's decoder to draw the lungs

    python -m benchmarks.fine_tuning --work FOLDER --out benchmarks/fine_tuning

{result["steps"]} updates of 4 boxes (LoRA, rank 16) on `cxr/lung-boxes`; measured on {result["boxes"]} boxes of
{result["pictures"]} X-rays of {result["patients"]} patients that were kept out by the hash. Intervals are 95%, patients
drawn again: seven patients are few. The box head of Osler-mini, which draws lungs anyway, is switched off.

| | Mean IoU | Loss, nats a token | Right tokens |
|---|---|---|---|
| the decoder of Osler-mini as shipped | draws none | {loss["before"]["loss"]:.2f} | {loss["before"]["right"]:.0%} |
| fine-tuned | {iou} | {loss["after"]["loss"]:.2f} | {loss["after"]["right"]:.0%} |
| the mean box of the training rows | {constant} | | |

Not drawn: {result["not_drawn"]} of {result["boxes"]}. The updates took {result["minutes"]:.0f} minutes on one core
({", ".join(cpu_features())}) beside other work; both measures of the loss are not in it. Commit {commit()}.
"""


if __name__ == "__main__":
    main()
