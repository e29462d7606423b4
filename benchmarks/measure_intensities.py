"""Measures intensities of tissues in real scans, for the ranges that phantoms are held against.

    python -m benchmarks.measure_intensities ../shared/data --out src/osler/synth/phantoms

Writes ct_ranges.csv (HU) and mr_ranges.csv (signal as a share of the white matter's
or the liver's). Only numbers leave
the scans: percentiles of the masks' inner voxels. All sets may be trained on:

- torso-3mm: torso CT without contrast, organ masks made by TotalSegmentator (CC BY 4.0).
- lidc-idri-0314 (CC BY 3.0), lung-petct-dx-a0001 (CC BY 4.0): chest CTs without masks. Their tissues are told
  apart by thresholds (`by_threshold`), so the ends of these ranges are bounded by the thresholds; phantoms
  are measured with the same function.
- aseg: brain MR, T1-weighted, with FreeSurfer's regions (BSD-2).
- ms-lesions: FLAIR with lesions drawn by several raters (CC BY); the median of the brain stands for white matter.
- hippocampus: 3 T MPRAGE crops with hippocampus masks (CC BY-SA 4.0). White matter and CSF have no masks: they are the
  brightest and the darkest of three classes of the voxels around the hippocampus (`three_classes`).
- torso-mr: coarse torso MR with organ masks (CC BY 4.0). Its sequence is not known; fat, marrow and liver are bright,
  all that has a T1 of 900 ms or more is dark. So only the order counts, not the shares.
- No set has a knee.
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
TORSO_MR = {"spleen": (1,), "kidney": (2, 3), "marrow": (19,), "blood": (23, 24), "muscle": (46, 47, 48, 49)}
TORSO_LIVER = 5
SETS = {
    "torso-3mm": "CC BY 4.0",
    "lidc-idri-0314": "CC BY 3.0",
    "lung-petct-dx-a0001": "CC BY 4.0",
    "aseg": "BSD-2",
    "ms-lesions": "CC BY",
    "hippocampus": "CC BY-SA 4.0",
    "torso-mr": "CC BY 4.0",
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


def three_classes(values: np.ndarray) -> np.ndarray:
    """The class of each value, 0 (dark) to 2 (bright), by k-means in one dimension."""
    centers = np.percentile(values, [10, 50, 90])
    for _ in range(100):
        classes = np.searchsorted((centers[:-1] + centers[1:]) / 2, values)
        means = np.array([values[classes == number].mean() for number in range(3)])
        if np.allclose(means, centers, rtol=1e-6):
            break
        centers = means
    return classes


def crop_shares(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signal of the hippocampus and of CSF in a crop as a share of the white matter's median."""
    around = ~mask & (values < np.percentile(values, 99.5))  # without bright vessels
    classes = np.full(values.shape, -1)
    classes[around] = three_classes(values[around])
    white = np.median(values[inner(classes == 2)])
    return values[inner(mask)] / white, values[inner(classes == 0)] / white


def hippocampus_rows(folder: Path) -> Iterator[str]:
    """T1 signal of the hippocampus and of CSF around it in all crops."""
    shares: list[tuple[np.ndarray, np.ndarray]] = []
    for path in sorted((folder / "images").glob("*.nii.gz")):
        values, codes = (np.asarray(nib.load(p).dataobj, dtype=float) for p in (path, folder / "labels" / path.name))
        shares.append(crop_shares(values, codes > 0))
    for number, name in enumerate(("hippocampus", "csf")):
        sample = np.concatenate([pair[number] for pair in shares])
        yield row_of(f"t1-3t-{name}", sample, source="hippocampus", digits=2)


def torso_mr_rows(folder: Path) -> Iterator[str]:
    """MR signal of organs as a share of the liver's median."""
    values, codes = (
        np.asarray(nib.load(folder / name).dataobj, dtype=float)
        for name in ("example_mr_sm.nii.gz", "example_seg_mr.nii.gz")
    )
    liver = np.median(values[inner(codes == TORSO_LIVER)])
    for name, numbers in TORSO_MR.items():
        sample = np.concatenate([values[inner(codes == number)] for number in numbers])
        yield row_of(f"torso-{name}", sample / liver, source="torso-mr", digits=2)


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
    rows = [
        *brain_rows(mr / "aseg"),
        *lesion_rows(mr / "ms-lesions"),
        *hippocampus_rows(mr / "hippocampus"),
        *torso_mr_rows(mr / "torso"),
    ]
    text = HEAD.format(what="MR signal (share of white matter; torso: of the liver)") + columns + "\n".join(rows) + "\n"
    (options.out / "mr_ranges.csv").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
