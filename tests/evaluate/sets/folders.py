"""Small folders laid out as the public sets are, whose truth is known by construction."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image as Picture

BOXES = {"right lung": (8, 10, 28, 50), "left lung": (36, 12, 56, 54)}


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    """Writes rows with the keys of the first as columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_lungs(root: Path, *, count: int) -> None:
    """X-rays in ``cxr/lung-boxes`` with two bright lungs, each patient's shifted a little."""
    folder = root / "cxr" / "lung-boxes" / "images"
    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for number in range(count):
        pixels = np.zeros((64, 64), dtype=np.uint8)
        for label, (x0, y0, x1, y1) in BOXES.items():
            dx, dy = number % 3, number % 4
            pixels[y0 + dy : y1 + dy, x0 + dx : x1 + dx] = 255
            box = {"x0": x0 + dx, "y0": y0 + dy, "x1": x1 + dx, "y1": y1 + dy}
            rows.append({"image": f"{number}.png", "patient": f"p{number}", "view": "PA", "label": label, **box})
        Picture.fromarray(pixels).save(folder / f"{number}.png")
    write_csv(root / "cxr" / "lung-boxes" / "boxes.csv", rows)


def write_hippocampi(root: Path, *, count: int) -> None:
    """MR crops with a bright block, stored with different axis directions, and masks of it."""
    for part in ("images", "labels"):
        (root / "mr" / "hippocampus" / part).mkdir(parents=True)
    for number in range(count):
        mask = np.zeros((20, 24, 16), dtype=np.uint8)
        mask[5:12, 6:14, 4:11] = 1
        mask[5:12, 14:19, 4:11] = 2
        noise = np.random.default_rng(number).integers(1, 40, mask.shape)
        scan = np.where(mask > 0, 900, noise).astype(np.int16)
        flip = -1.0 if number % 2 else 1.0
        affine = np.diag([flip, 1.0, 1.5, 1.0])
        affine[:3, 3] = [-7, 3, 11]
        name = f"hippocampus_{number:03d}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(scan, affine), root / "mr" / "hippocampus" / "images" / name)
        nibabel.save(nibabel.Nifti1Image(mask, affine), root / "mr" / "hippocampus" / "labels" / name)


def write_nih(root: Path, *, count: int) -> None:
    """X-rays in ``cxr/nih``: those with an effusion are bright, the others dark."""
    folder = root / "cxr" / "nih" / "images"
    folder.mkdir(parents=True)
    rows: list[dict[str, object]] = []
    for number in range(count):
        bright = number % 2 == 0
        pixels = np.random.default_rng(number).integers(0, 60, (48, 48)) + (180 if bright else 0)
        Picture.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:08d}_000.jpg")
        labels = "Effusion|Mass" if bright and number % 4 == 0 else "Effusion" if bright else "No Finding"
        rows.append({"Image Index": f"{number:08d}_000.png", "Finding Labels": labels, "Patient ID": str(number)})
    write_csv(root / "cxr" / "nih" / "labels.csv", rows)
