"""Draws the network as it is built: published and added parts, their sizes, and the gates that start at zero.

python -m benchmarks.network_picture --out docs/concepts/network.svg
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from osler.model.config import get_config
from osler.model.osler import Osler

_NAMES = ("osler-mini-parts", "medgemma-1.5-4b-parts")
_PUBLISHED, _ADDED = "#dfe7ef", "#fbe6c8"
# Name of the submodule, what is written, and the lower left corner of its box.
_BOXES = (
    ("volume", "volume\ntubelets", (0.0, 4.0)),
    ("vision_tower", "vision_tower\nSigLIP", (0.0, 2.0)),
    ("volume_projection", "volume_projection\nmixing, merging", (2.6, 4.0)),
    ("multi_modal_projector", "multi_modal_projector\npooling, projection", (2.6, 2.0)),
    ("adapter", "adapter\ncross-attention", (5.2, 4.0)),
    ("language_model", "language_model\nGemma decoder", (5.2, 2.0)),
    ("heads", "heads\nboxes, findings, change,\nembeddings", (0.0, 0.0)),
    ("temporal", "temporal\ndates and record", (2.6, 0.0)),
)
_ARROWS = (
    ("volume", "vision_tower"),
    ("vision_tower", "multi_modal_projector"),
    ("vision_tower", "volume_projection"),
    ("volume_projection", "multi_modal_projector"),
    ("multi_modal_projector", "language_model"),
    ("adapter", "language_model"),
    ("vision_tower", "heads"),
    ("heads", "temporal"),
    ("temporal", "multi_modal_projector"),
)
_WIDE, _HIGH = 2.0, 1.1


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the network.")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "network"
    import matplotlib.pyplot as plt

    with torch.device("meta"):
        networks = [Osler(get_config(name)) for name in _NAMES]
    figure, axis = plt.subplots(figsize=(9, 6))
    for name, said, corner in _BOXES:
        _box(axis, name, said=said, corner=corner, networks=networks)
    places = {name: corner for name, _, corner in _BOXES}
    for start, end in _ARROWS:
        _arrow(axis, places[start], places[end])
    axis.text(
        5.2,
        0.55,
        "blue: published\nsand: added, identity at the start\nfigures: millions of weights,\nmini / 4B",
        va="center",
    )
    axis.set_xlim(-0.2, 7.5)
    axis.set_ylim(-0.2, 5.4)
    axis.axis("off")
    figure.tight_layout()
    figure.savefig(options.out, metadata={"Date": None})


def _box(axis: Any, name: str, *, said: str, corner: tuple[float, float], networks: list[Osler]) -> None:
    """A part with its weights, and its gates where it has some."""
    parts = [network.get_submodule(name) for network in networks]
    counts = [sum(value.numel() for value in part.parameters()) / 1e6 for part in parts]
    gates = sum(key.endswith("gate") for key, _ in parts[1].named_parameters())
    published = name in ("vision_tower", "multi_modal_projector", "language_model")
    from matplotlib.patches import FancyBboxPatch

    color = _PUBLISHED if published else _ADDED
    axis.add_patch(FancyBboxPatch(corner, _WIDE, _HIGH, boxstyle="round,pad=0.04", fc=color, ec="#555555"))
    zero = f"\n{gates} gate{'s' if gates > 1 else ''} at 0 (4B)" if gates else ""
    text = f"{said}\n{counts[0]:.3g} / {counts[1]:.4g} M{zero}"
    axis.text(corner[0] + _WIDE / 2, corner[1] + _HIGH / 2, text, ha="center", va="center", fontsize=8)


def _arrow(axis: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From the near side of one box to that of the other."""
    across, up = end[0] - start[0], end[1] - start[1]
    points = []
    for (x, y), sign in ((start, 1), (end, -1)):
        dx = (
            0 if not across or (up and abs(up) > abs(across)) else sign * (_WIDE / 2 + 0.06) * (1 if across > 0 else -1)
        )
        dy = 0 if dx else sign * (_HIGH / 2 + 0.06) * (1 if up > 0 else -1)
        points.append((x + _WIDE / 2 + dx, y + _HIGH / 2 + dy))
    axis.annotate("", xy=points[1], xytext=points[0], arrowprops={"arrowstyle": "-|>", "color": "#555555"})


if __name__ == "__main__":
    main()
