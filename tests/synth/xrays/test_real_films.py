"""Synthetic X-rays have the gray levels of real ones."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osler.synth.xrays import render_xray
from tests.shared_data import SHARED_DATA, needs_shared_data
from tests.synth.xrays.patients import body, exam, patient

FILMS = 16


def real_quartiles(view: str) -> np.ndarray:
    """Quartiles (0 to 1) of real films of a view, (films, 3)."""
    folder = Path(SHARED_DATA) / "cxr/nih"
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        named = {Path(row["Image Index"]).stem: row["View Position"] for row in csv.DictReader(file)}
    files = [path for path in sorted((folder / "images").iterdir()) if named.get(path.stem) == view]
    return np.array(
        [quartiles(np.asarray(Image.open(path).convert("L"))) for path in files[:: max(1, len(files) // 60)]]
    )


def quartiles(pixels: np.ndarray) -> np.ndarray:
    return np.percentile(pixels, [25, 50, 75]) / 255


@needs_shared_data
@pytest.mark.parametrize("view", ["PA", "AP"])
def test_quartiles_lie_among_those_of_real_films(view: str) -> None:
    ours = []
    for number in range(FILMS):
        sex = "female" if number % 2 else "male"
        anatomy = body(sex=sex, height=158 + 1.5 * number, weight=55 + 2.5 * number, shape=number * 31)
        person = patient(
            exam(view, wide=(430, 350)[number % 2]), sex=sex, age=25 + 4 * number, number=number, anatomy=anatomy
        )
        ours.append(quartiles(render_xray(person, exam=person.exams[0], size=256).pixels))
    real, ours = real_quartiles(view), np.array(ours)
    assert np.all(np.abs(np.median(ours, axis=0) - np.median(real, axis=0)) < 0.11)
    low, high = np.percentile(real, [5, 95], axis=0)
    within = ((ours >= low) & (ours <= high)).mean(axis=0)
    assert np.all(within >= 0.7)
