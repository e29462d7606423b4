"""Measures intensities of tissues in real scans, for the ranges that phantoms are held against.

    python -m benchmarks.measure_intensities ../shared/data --out src/osler/synth/phantoms

Writes ct_ranges.csv (HU) and mr_ranges.csv (signal as a share of the white matter's). Only numbers leave
the scans: percentiles of the masks' inner voxels. All sets may be trained on:

- torso-3mm: torso CT without contrast, organ masks made by TotalSegmentator (CC BY 4.0).
- lidc-idri-0314 (CC BY 3.0), lung-petct-dx-a0001 (CC BY 4.0): chest CTs without masks. Their tissues are told
  apart by thresholds (`by_threshold`), so the ends of these ranges are bounded by the thresholds; phantoms
  are measured with the same function.
- aseg: brain MR, T1-weighted, with FreeSurfer's regions (BSD-2).
- ms-lesions: FLAIR with lesions drawn by several raters (CC BY); the median of the brain stands for white matter.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from osler.readers import open_study

ORGANS = {
    1: "spleen",
    2: "right-kidney",
    3: "left-kidney",
    5: "liver",
    11: "left-lung",
    14: "right-lung",
    52: "aorta",
    63: "veins",
    27: "spine",
    28: "spine",
    29: "spine",
    30: "spine",
    31: "spine",
    77: "pelvis",
    78: "pelvis",
    88: "muscle",
    89: "muscle",
}
BRAIN = {
    "gray-matter": (3, 42, *range(11100, 11176), *range(12100, 12176)),
    "ventricles": (4, 43),
    "deep-gray": (11, 12, 50, 51),
    "thalamus": (10, 49),
    "hippocampus": (17, 53),
    "cerebellum": (7, 8, 46, 47),
    "brainstem": (16,),
}
WHITE = (2, 41)
SETS = {
    "torso-3mm": "CC BY 4.0",
    "lidc-idri-0314": "CC BY 3.0",
    "lung-petct-dx-a0001": "CC BY 4.0",
    "aseg": "BSD-2",
    "ms-lesions": "CC BY",
}
HEAD = "# Percentiles of {what} of inner voxels; see benchmarks/measure_intensities.py for sources and licences.\n"


def inner(mask: np.ndarray) -> np.ndarray:
    """The mask without its outermost voxels."""
    out = mask.copy()
    for axis in range(3):
        for step in (1, -1):
            out &= np.roll(mask, step, axis=axis)
    return out


def between(mask: np.ndarray, *, axis: int) -> np.ndarray:
    """Voxels that have the mask on both sides along an axis."""
    ahead = np.logical_or.accumulate(mask, axis=axis)
    behind = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis=axis), axis)
    return ahead & behind


def by_threshold(values: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of lung, soft tissue and bone in a chest CT (slice, row, column) by HU, inside of the body only."""
    dense = inner(values > -200)
    body = between(dense, axis=1) & between(dense, axis=2)
    masks = {
        "chest-lung": (values > -980) & (values < -500),
        "chest-soft": (values > -20) & (values < 120),
        "chest-bone": (values > 180) & (values < 1600),
    }
    return {name: inner(mask & body) for name, mask in masks.items()}


def row_of(name: str, sample: np.ndarray, *, source: str, digits: int) -> str:
    """A line of a table."""
    low, middle, high = (f"{x:.{digits}f}" for x in np.percentile(sample, [5, 50, 95]))
    return f"{name},{sample.size},{low},{middle},{high},{source},{SETS[source]}"


def torso_rows(folder: Path) -> Iterator[str]:
    """HU of organs with masks."""
    values, codes = (
        np.asarray(nib.load(folder / name).dataobj)
        for name in ("example_ct.nii.gz", "example_seg_fast_force_split.nii.gz")
    )
    if values.shape != codes.shape:
        raise SystemExit(f"scan {values.shape} and masks {codes.shape} do not fit")
    found: dict[str, list[np.ndarray]] = {}
    for code, name in ORGANS.items():
        found.setdefault(name, []).append(values[codes == code if name.endswith("lung") else inner(codes == code)])
    for name, parts in found.items():
        sample = np.concatenate(parts)
        if len(sample) > 50:
            yield row_of(name, sample, source="torso-3mm", digits=0)


def chest_rows(folder: Path) -> Iterator[str]:
    """HU of tissues of a chest CT, told apart by thresholds."""
    study = open_study(folder / "dicom")
    volume = max(study.volumes(), key=lambda one: one.pixels.shape[0])
    values = np.asarray(volume.pixels.read(), dtype=np.float32)
    for name, mask in by_threshold(values).items():
        yield row_of(name, values[mask], source=folder.name, digits=0)


def brain_rows(folder: Path) -> Iterator[str]:
    """T1 signal of brain regions as a share of the white matter's median."""
    values, codes = (np.asarray(nib.load(folder / name).dataobj) for name in ("norm.mgz", "aparc.a2009s+aseg.mgz"))
    white = np.median(values[inner(np.isin(codes, WHITE))])
    for name, numbers in BRAIN.items():
        mask = np.isin(codes, numbers)
        # The cortex is two or three voxels thick: it has hardly any inner ones.
        sample = values[mask if name == "gray-matter" else inner(mask)] / white
        yield row_of(f"t1-{name}", sample, source="aseg", digits=2)


def lesion_rows(folder: Path) -> Iterator[str]:
    """FLAIR signal of demyelinating lesions as a share of the brain's median."""
    values, mask = (np.asarray(nib.load(folder / f"patient07/{name}.nii.gz").dataobj) for name in ("FLAIR", "GOLD"))
    yield row_of("flair-lesion", values[mask > 0] / np.median(values[values > 0]), source="ms-lesions", digits=2)


def main() -> None:
    """Writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder of ct_ranges.csv and mr_ranges.csv")
    options = parser.parse_args()
    columns = "tissue,voxels,p05,p50,p95,source,licence\n"
    ct, mr = options.data / "ct", options.data / "mr"
    rows = [
        *torso_rows(ct / "torso-3mm"),
        *chest_rows(ct / "lidc-idri-0314"),
        *chest_rows(ct / "lung-petct-dx-a0001"),
    ]
    text = HEAD.format(what="HU") + columns + "\n".join(rows) + "\n"
    (options.out / "ct_ranges.csv").write_text(text, encoding="utf-8")
    rows = [*brain_rows(mr / "aseg"), *lesion_rows(mr / "ms-lesions")]
    text = HEAD.format(what="MR signal (share of white matter)") + columns + "\n".join(rows) + "\n"
    (options.out / "mr_ranges.csv").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
