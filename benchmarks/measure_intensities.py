"""Measures intensities of tissues in real scans, for the ranges that phantoms are held against.

    python benchmarks/measure_intensities.py ../shared/data > src/osler/synth/phantoms/ct_ranges.csv

Only numbers leave the scans: percentiles of the masks' inner voxels. Sources: the torso CT at 3 mm
with organ masks made by TotalSegmentator (CC BY 4.0), without contrast.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

NAMES = {
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


def inner(mask: np.ndarray) -> np.ndarray:
    """The mask without its outermost voxels."""
    out = mask.copy()
    for axis in range(3):
        for step in (1, -1):
            out &= np.roll(mask, step, axis=axis)
    return out


def main(folder: Path) -> None:
    """Prints the table."""
    torso = folder / "ct/torso-3mm"
    scan = nib.load(torso / "example_ct.nii.gz")
    labels = nib.load(torso / "example_seg_fast_force_split.nii.gz")
    values, codes = np.asarray(scan.dataobj), np.asarray(labels.dataobj)
    if values.shape != codes.shape:
        raise SystemExit(f"scan {values.shape} and masks {codes.shape} do not fit")
    print("# Percentiles of HU of inner voxels; see benchmarks/measure_intensities.py for sources and licences.")
    print("tissue,voxels,p05,p50,p95,source,licence")
    found: dict[str, list[np.ndarray]] = {}
    for code, name in NAMES.items():
        found.setdefault(name, []).append(values[codes == code if name.endswith("lung") else inner(codes == code)])
    for name, parts in found.items():
        sample = np.concatenate(parts)
        if len(sample) > 50:
            row = np.percentile(sample, [5, 50, 95]).round(0)
            print(f"{name},{len(sample)},{row[0]:.0f},{row[1]:.0f},{row[2]:.0f},torso-3mm,CC BY 4.0")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
