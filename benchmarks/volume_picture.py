"""Draws how a volume is read: the slabs and tokens of a phantom CT, by the real plan.

python -m benchmarks.volume_picture --out docs/concepts/volumes.jpg
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.full_size_4b import phantom_ct
from osler.model.config import get_config
from osler.prepare import SlabbedVolume, prepare_images, preprocess_for, with_visual_tokens

_BUDGETS = (1024, 128)
_SLICES = 85


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw how a volume is read.")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    study = phantom_ct(_SLICES)
    (volume,) = study.volumes()
    hu = volume.read()
    contract = preprocess_for(get_config("medgemma-1.5-4b"))
    figure, axes = plt.subplots(len(_BUDGETS), 2, figsize=(9, 3.6 * len(_BUDGETS)))
    for (coronal, axial), budget in zip(axes, _BUDGETS, strict=True):
        prepared = prepare_images(study, preprocess=with_visual_tokens(contract, budget))
        (plan,) = prepared.volumes.values()
        _draw(coronal, axial, plan=plan, hu=hu, budget=budget)
    figure.tight_layout()
    figure.savefig(options.out, dpi=90, pil_kwargs={"quality": 80})


def _draw(coronal: Any, axial: Any, *, plan: SlabbedVolume, hu: np.ndarray, budget: int) -> None:
    """One budget: a coronal view with slabs and groups, an axial view with the tokens of a group."""
    depth, height, width = plan.extent_mm
    shades = {"cmap": "gray", "vmin": -160, "vmax": 240, "interpolation": "nearest"}
    coronal.imshow(hu[:, hu.shape[1] // 2], extent=(0, width, 0, depth), origin="lower", **shades)
    axial.imshow(hu[hu.shape[0] // 2], extent=(0, width, height, 0), **shades)
    for slab in plan.slabs:
        coronal.axhline(slab.first * depth / plan.slices, color="#e8a33d", lw=0.5)
    for first, _ in plan.groups:
        coronal.axhline(first * depth / plan.slices, color="#3fb8d6", lw=1.6)
    for column in range(1, plan.grid.columns):
        for axis in (coronal, axial):
            axis.axvline(column * width / plan.grid.columns, color="#3fb8d6", lw=0.8)
    for row in range(1, plan.grid.rows):
        axial.axhline(row * height / plan.grid.rows, color="#3fb8d6", lw=0.8)
    grid = plan.grid
    coronal.set_title(
        f"{budget} visual tokens: {len(plan.slabs)} slabs (orange), {grid.groups} groups (blue)", fontsize=9
    )
    axial.set_title(f"{grid.rows} x {grid.columns} tokens of a group", fontsize=9)
    for axis in (coronal, axial):
        axis.set_xlabel("mm", fontsize=8)
        axis.tick_params(labelsize=8)


if __name__ == "__main__":
    main()
