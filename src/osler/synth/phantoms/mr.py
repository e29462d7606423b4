"""MR signal of tissues from their relaxation times, and the faults of an MR image.

Signal equations: Bernstein, King and Zhou, Handbook of MRI Pulse Sequences (2004): spin
echo, inversion recovery and spoiled gradient echo. Relaxation times of gray and white
matter at 3 T follow Wansapura et al., J Magn Reson Imaging 1999;9:531; those of muscle, cartilage, liver, kidney, spleen and blood at 1.5 and 3 T follow Stanisz et al., Magn
Reson Med 2005;54:507, and Bojorquez et al., Magn Reson Imaging 2017;35:69; the rest is
assumed, near those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from osler.synth.facts import Acquisition
from osler.synth.phantoms.canvas import Grid, smooth_field


@dataclass(frozen=True, slots=True)
class Relaxation:
    """T1 at 1.5 T and 3 T (ms), T2 (ms), proton density, diffusion (1e-3 mm2/s), uptake of gadolinium (mmol/l)."""

    t1: float
    t1_3t: float
    t2: float
    density: float
    diffusion: float = 1.0
    uptake: float = 0.0


TISSUES: Mapping[str, Relaxation] = {
    "air": Relaxation(1000, 1000, 10, 0.0), "gas": Relaxation(1000, 1000, 10, 0.0), "airway": Relaxation(1000, 1000, 10, 0.0),
    "skin": Relaxation(900, 1100, 35, 0.7), "fat": Relaxation(300, 380, 68, 0.9, 0.1),
    "muscle": Relaxation(1000, 1400, 44, 0.8, 1.4, 0.05), "lung": Relaxation(1200, 1300, 12, 0.15),
    "blood": Relaxation(1440, 1930, 200, 0.35, 1.5, 0.9), "heart": Relaxation(1030, 1470, 40, 0.8, 1.4, 0.3),
    "vessel": Relaxation(1440, 1930, 200, 0.25, 1.5, 0.9), "mediastinum": Relaxation(340, 420, 65, 0.8),
    "esophagus": Relaxation(1000, 1300, 45, 0.8), "thyroid": Relaxation(1000, 1300, 60, 0.85, 1.2, 0.5),
    "cortex": Relaxation(800, 900, 2, 0.1), "marrow": Relaxation(420, 480, 55, 0.75, 0.3),
    "disc": Relaxation(900, 1000, 60, 0.75), "canal": Relaxation(3500, 4000, 1200, 1.0, 3.0),
    "cartilage": Relaxation(1020, 1170, 36, 0.85, 1.4), "liver": Relaxation(586, 810, 46, 0.8, 1.2, 0.3),
    "bile": Relaxation(2500, 2800, 700, 1.0, 2.8), "spleen": Relaxation(1060, 1330, 78, 0.85, 0.9, 0.45),
    "pancreas": Relaxation(584, 725, 46, 0.8, 1.4, 0.35), "stomach-wall": Relaxation(900, 1100, 60, 0.8, 1.5, 0.3),
    "stomach-fluid": Relaxation(2500, 3000, 500, 0.95, 2.8), "kidney": Relaxation(970, 1140, 85, 0.85, 1.9, 0.7),
    "medulla": Relaxation(1410, 1550, 95, 0.88, 1.9, 0.5), "urine": Relaxation(3200, 3600, 900, 1.0, 3.0),
    "adrenal": Relaxation(800, 950, 60, 0.8, 1.3, 0.4), "bowel-wall": Relaxation(900, 1100, 60, 0.8, 1.5, 0.3),
    "bowel": Relaxation(1500, 1700, 150, 0.8, 2.0), "stool": Relaxation(700, 800, 50, 0.5, 1.0),
    "prostate": Relaxation(1320, 1600, 80, 0.85, 1.5, 0.3), "uterus": Relaxation(1310, 1510, 80, 0.85, 1.4, 0.5),
    "ovary": Relaxation(1400, 1600, 100, 0.85, 1.5, 0.3), "gray-matter": Relaxation(1000, 1331, 99, 0.84, 0.85),
    "white-matter": Relaxation(650, 832, 74, 0.71, 0.72), "csf": Relaxation(4000, 4300, 1800, 1.0, 3.0),
    "deep-gray": Relaxation(880, 1150, 82, 0.82, 0.78), "hippocampus": Relaxation(1010, 1340, 102, 0.87, 0.9),
    "cerebellum": Relaxation(980, 1300, 96, 0.85, 0.8), "brainstem": Relaxation(720, 920, 76, 0.76, 0.75),
    "dura": Relaxation(700, 800, 30, 0.5, 1.0, 0.4), "eye": Relaxation(3800, 4200, 1200, 1.0, 3.0),
    "lens": Relaxation(1000, 1200, 30, 0.6), "nerve": Relaxation(880, 1080, 78, 0.75), "table": Relaxation(1000, 1000, 5, 0.0),
    "pleural-fluid": Relaxation(3000, 3400, 700, 1.0, 3.0), "blood-clot": Relaxation(450, 520, 55, 0.8, 0.6),
    "calcium": Relaxation(900, 1000, 5, 0.15), "stone": Relaxation(900, 1000, 3, 0.05), "metal": Relaxation(900, 900, 1, 0.0),
    "ligament": Relaxation(800, 900, 6, 0.35), "meniscus": Relaxation(850, 1000, 8, 0.4), "tendon": Relaxation(800, 900, 5, 0.3),
    "joint-fluid": Relaxation(3000, 3500, 650, 1.0, 2.8), "tumor": Relaxation(1250, 1600, 110, 0.9, 1.0, 0.25),
    "edema": Relaxation(1350, 1800, 150, 0.9, 1.4), "edema-fat": Relaxation(900, 1000, 110, 0.9, 1.2),
    "marrow-edema": Relaxation(1000, 1200, 110, 0.9, 1.4), "necrosis": Relaxation(2000, 2400, 260, 0.95, 2.0),
    "cyst": Relaxation(3300, 3700, 900, 1.0, 2.9), "infarct": Relaxation(1350, 1800, 150, 0.9, 0.42),
    "enhancing": Relaxation(1300, 1700, 120, 0.9, 0.9, 0.8), "abscess": Relaxation(1800, 2200, 220, 0.95, 0.5),
    "hemangioma": Relaxation(1300, 1600, 210, 0.95, 1.9, 0.7), "adenoma": Relaxation(700, 850, 70, 0.85, 1.1, 0.3),
    "scar": Relaxation(950, 1100, 28, 0.6, 0.9, 0.2), "nodule": Relaxation(1200, 1500, 90, 0.8, 1.0, 0.3),
    "consolidation": Relaxation(1200, 1500, 110, 0.8, 1.2), "ground-glass": Relaxation(1200, 1400, 60, 0.35),
    "emphysema": Relaxation(1200, 1300, 10, 0.05), "hemosiderin": Relaxation(900, 1000, 6, 0.4),
}  # fmt: skip
FAT_TISSUES = ("fat", "mediastinum", "edema-fat", "marrow")
R1_GADOLINIUM = 4.5  # per mmol/l and second, at 1.5 to 3 T (Rohrer et al., Invest Radiol 2005;40:715)


def mr_palette(made: Acquisition) -> dict[str, float]:
    """Signal (arbitrary, 0 to about 1000) of every tissue under an acquisition."""
    raw = {name: signal(row, made=made, fat=name in FAT_TISSUES) for name, row in TISSUES.items()}
    top = max(raw[name] for name in ("gray-matter", "white-matter", "muscle", "fat", "liver", "cartilage"))
    return {name: float(min(1000.0 * value / top, 2600.0)) for name, value in raw.items()}


def signal(tissue: Relaxation, *, made: Acquisition, fat: bool) -> float:
    """Signal of one tissue, proton density 1 fully relaxed = 1. A missing time counts as that of T1 weighting."""
    sequence = (made.sequence or "T1").upper()
    tr, te, ti = made.tr_ms or 550.0, made.te_ms or 12.0, made.ti_ms
    t1 = tissue.t1_3t if (made.field_t or 1.5) >= 2.5 else tissue.t1
    if made.contrast == "gadolinium":
        t1 = 1.0 / (1.0 / t1 + R1_GADOLINIUM * tissue.uptake / 1000.0)
    if ti is not None and ti > 0:
        relaxed = abs(1.0 - 2.0 * np.exp(-ti / t1) + np.exp(-tr / t1))
    elif made.flip_deg is not None and made.flip_deg < 60 and tr < 400:
        angle, e1 = np.radians(made.flip_deg), np.exp(-tr / t1)
        relaxed = np.sin(angle) * (1 - e1) / (1 - np.cos(angle) * e1)
    else:
        relaxed = 1.0 - np.exp(-tr / t1)
    out = tissue.density * relaxed * np.exp(-te / tissue.t2)
    if "DWI" in sequence or "DIFF" in sequence:
        out *= np.exp(-1.0 * tissue.diffusion)  # b = 1000 s/mm2
    if fat and ("FS" in sequence or "DWI" in sequence or "DIFF" in sequence):
        out *= 0.10
    return float(out)


def finish_mr(value: np.ndarray, *, grid: Grid, seed: int, snr: float) -> np.ndarray:
    """Adds the coil's shading and Rician noise; returns uint16.

    Args:
        value: (Z, Y, X) signal.
        snr: Mean tissue signal over the noise's standard deviation.
    """
    shade = smooth_field(grid, seed=seed, period_mm=320.0, modes=(1, 3), reach_mm=60.0)
    value *= np.float32(1.0) + np.float32(0.10) * shade
    rng = np.random.Generator(np.random.SFC64(seed))
    sigma = np.float32(700.0 / snr)
    real = value + sigma * rng.standard_normal(value.shape, dtype=np.float32)
    other = sigma * rng.standard_normal(value.shape, dtype=np.float32)
    real *= real
    other *= other
    real += other
    return np.clip(np.rint(np.sqrt(real, out=real)), 0, 65535).astype(np.uint16)
