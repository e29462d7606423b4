"""Question sets at 16, 8 and 4 bits: the same cases in pairs, from the rows that `osler evaluate` keeps.

    osler evaluate --data data --sets perception,nih-findings,lung-boxes --bits 16 --out at-16
    osler evaluate --data data --sets perception,nih-findings,lung-boxes --bits 8 --out at-8
    python -m benchmarks.quantisation_sets at-16 at-8 --out benchmarks/quantisation_sets

The first folder is what the others are compared with. Differences are those of the same cases, so that they are far
nearer than two values with their own intervals; intervals are 95%, patients resampled.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

MEASURES = {
    "right": "answers right",
    "likeliest": "likeliest letter right",
    "generated": "written letter right",
    "closed": "closed answers right",
    "f1": "token F1",
    "iou": "mean IoU",
    "probability": "probability of a finding",
}
Key = tuple[str, ...]


def rows_of(folder: Path) -> dict[tuple[str, str], dict[Key, tuple[str, float]]]:
    """Patient and value of each row, by set and measure."""
    found: dict[tuple[str, str], dict[Key, tuple[str, float]]] = {}
    for file in sorted((folder / "rows").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines()[1:]:
            for row in json.loads(line).get("rows", []):
                key = (row["case"], row["group"], row["part"], str(row.get("asked", "")))
                for measure in MEASURES:
                    if "model" in row["values"].get(measure, {}):
                        rows = found.setdefault((file.stem, measure), {})
                        rows[key] = (row["patient"], float(row["values"][measure]["model"][0]))
    return found


def difference(
    reference: Mapping[Key, tuple[str, float]], other: Mapping[Key, tuple[str, float]]
) -> tuple[float, float, float, float, int, int]:
    """Mean of the other, mean difference with its interval, rows that differ by more than 0.01, and rows."""
    keys = [key for key in reference if key in other]
    patients = np.array([reference[key][0] for key in keys])
    values = np.array([other[key][1] for key in keys])
    gaps = values - np.array([reference[key][1] for key in keys])
    names, index = np.unique(patients, return_inverse=True)
    sums, counts = np.bincount(index, weights=gaps), np.bincount(index)
    picks = np.random.default_rng(0).integers(0, len(names), (2000, len(names)))
    means = sums[picks].sum(1) / counts[picks].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return values.mean(), gaps.mean(), low, high, int((np.abs(gaps) > 0.01).sum()), len(keys)


def table(folders: list[Path]) -> Iterator[str]:
    """Writes the comparison in Markdown."""
    yield "| Set | Measure | Folder | mean | difference from the first, points | rows that changed |"
    yield "|---|---|---|---|---|---|"
    first = rows_of(folders[0])
    for (name, measure), reference in first.items():
        for folder in folders:
            other = rows_of(folder).get((name, measure))
            if not other:
                continue
            mean, gap, low, high, changed, count = difference(reference, other)
            gained = "" if folder == folders[0] else f"{gap * 100:+.2f} ({low * 100:+.2f} to {high * 100:+.2f})"
            yield f"| {name} | {MEASURES[measure]} | {folder.name} | {mean:.1%} | {gained} | {changed} of {count} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of `osler evaluate --out`; the first is the reference")
    parser.add_argument("--out", type=Path, required=True, help="write OUT-table.md")
    options = parser.parse_args()
    text = "\n".join(table(options.folders)) + "\n"
    print(text)
    options.out.with_name(f"{options.out.name}-table.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
