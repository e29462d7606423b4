"""What tissues measure: HU by contrast phase and voltage, MR signal by sequence.

CT numbers are means of enhanced and plain tissue as in radiology textbooks; the
tests hold them against histograms of real scans (`ct_ranges.csv`). MR signal follows
from T1, T2 and proton density (`mr_tissues.csv` names the sources) by the spin-echo,
inversion-recovery and spoiled gradient-echo equations (Bernstein, King and Zhou,
"Handbook of MRI Pulse Sequences", 2004, chapters 14.1 to 14.3).
"""

from __future__ import annotations

import csv
import math
from functools import cache
from importlib.resources import files

from osler.synth.facts import Acquisition

# plain, arterial, portal-venous
_CT: dict[str, tuple[float, float, float]] = {
    "air": (-1000, -1000, -1000),
    "gas": (-990, -990, -990),
    "lung": (-855, -850, -848),
    "fat": (-104, -103, -102),
    "skin": (-8, -2, 2),
    "muscle": (52, 56, 62),
    "breast": (12, 16, 20),
    "blood": (42, 300, 145),
    "venous-blood": (42, 130, 150),
    "pulmonary-blood": (42, 260, 145),
    "myocardium": (44, 100, 105),
    "liver": (57, 64, 108),
    "spleen": (47, 112, 118),
    "pancreas": (42, 98, 92),
    "kidney-cortex": (33, 170, 180),
    "kidney-medulla": (30, 75, 160),
    "bile": (8, 8, 9),
    "urine": (4, 4, 6),
    "water": (2, 2, 3),
    "adrenal": (28, 62, 68),
    "bowel-wall": (38, 75, 82),
    "bowel": (28, 30, 32),
    "feces": (10, 10, 12),
    "gland": (95, 150, 145),
    "uterus": (46, 80, 105),
    "prostate": (40, 60, 78),
    "soft": (40, 52, 60),
    "lymph": (38, 55, 78),
    "cartilage": (115, 115, 115),
    "cortex": (1050, 1050, 1050),
    "rib-cortex": (620, 620, 620),
    "marrow": (190, 195, 200),
    "disc": (72, 76, 78),
    "calcium": (700, 700, 700),
    "metal": (3000, 3000, 3000),
    "table": (-420, -420, -420),
    "cushion": (-880, -880, -880),
    "csf": (6, 6, 6),
    "gray": (38, 40, 42),
    "white": (29, 30, 31),
    "deep-gray": (37, 39, 41),
    "cerebellar": (36, 38, 40),
    "brainstem": (30, 31, 32),
    "hippocampus": (36, 38, 40),
    "dura": (55, 80, 95),
    "vitreous": (7, 7, 7),
    "scalp": (20, 22, 24),
    "fresh-blood": (66, 66, 66),
    "edema": (22, 22, 22),
    "infarct": (17, 17, 18),
    "tumor": (40, 60, 72),
    "rim": (42, 80, 95),
    "necrosis": (18, 18, 20),
    "gliosis": (15, 15, 15),
    "ligament": (80, 80, 80),
    "meniscus": (90, 90, 90),
    "fat-pad": (-95, -95, -95),
    "effusion": (8, 8, 9),
    "pus": (22, 22, 24),
}

CT_NAMES = tuple(_CT)
_FAT_LEFT = {"DWI": 0.03}
"""Share of fat's signal that suppression leaves: echo-planar diffusion needs it, else fat lies far off its place."""


def ct_palette(acquisition: Acquisition) -> dict[str, float]:
    """HU of each tissue for the phase and voltage of an exam."""
    contrast = acquisition.contrast or "none"
    column = 0 if contrast == "none" else (1 if "arterial" in contrast else 2)
    boost = (120 / (acquisition.kvp or 120)) ** 1.2  # iodine shows more at low voltage
    palette = {name: levels[0] + (levels[column] - levels[0]) * boost for name, levels in _CT.items()}
    if contrast == "pulmonary-arterial":
        palette["pulmonary-blood"], palette["blood"], palette["venous-blood"] = 330 * boost, 170 * boost, 120.0
    calcium = (120 / (acquisition.kvp or 120)) ** 0.5
    for name in ("cortex", "rib-cortex", "marrow", "calcium"):
        palette[name] *= calcium
    return palette


@cache
def _mr_rows() -> dict[str, dict[str, str]]:
    text = (files("osler.synth.phantoms") / "mr_tissues.csv").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {row["tissue"]: row for row in csv.DictReader(lines)}


def mr_relaxation(name: str, *, field_t: float) -> tuple[float, float, float]:
    """T1 (ms), T2 (ms) and proton density of a tissue at a field strength."""
    row = _mr_rows()[name]
    field = "3" if field_t > 2 else "1.5"
    return float(row[f"t1_{field}"]), float(row[f"t2_{field}"]), float(row["pd"])


def mr_signal(name: str, acquisition: Acquisition) -> float:
    """Signal of a tissue, 0 to about 1, by the equation of the sequence."""
    row = _mr_rows()[name]
    t1, t2, pd = mr_relaxation(name, field_t=acquisition.field_t or 1.5)
    te, tr, ti = acquisition.te_ms or 15.0, acquisition.tr_ms or 500.0, acquisition.ti_ms
    sequence = acquisition.sequence or "T1"
    if acquisition.contrast == "gadolinium":
        t1 = 1 / (1 / t1 + float(row["gadolinium"]) * 4.5e-3)  # relaxivity 4.5 per mM s
    if sequence in _FAT_LEFT or sequence.endswith("FS"):
        pd *= 1 - (1 - _FAT_LEFT.get(sequence, 0.08)) * float(row["fat"])
    if tr < 20:
        flip = math.radians(acquisition.flip_deg or 10)
        e1 = math.exp(-tr / t1)
        return float(pd * math.sin(flip) * (1 - e1) / (1 - math.cos(flip) * e1) * math.exp(-te / t2) * 6)
    if ti is not None and sequence == "FLAIR":
        longitudinal = 1 - 2 * math.exp(-ti / t1) + math.exp(-tr / t1)
        return float(pd * abs(longitudinal) * math.exp(-te / t2))
    signal = pd * (1 - math.exp(-tr / t1)) * math.exp(-te / t2)
    if sequence == "DWI":
        signal *= math.exp(-1000e-6 * float(row["adc"]))
    return float(signal)


def mr_palette(acquisition: Acquisition) -> dict[str, float]:
    """Signal of each tissue, scaled so that the brightest solid tissue is about 1,000."""
    palette = {name: mr_signal(name, acquisition) for name in _mr_rows()}
    keys = ("gray", "white", "muscle", "fat", "marrow", "liver", "cartilage")
    return {name: 900 * level / max(palette[key] for key in keys) for name, level in palette.items()}


def palette_of(acquisition: Acquisition, *, modality: str) -> dict[str, float]:
    """Values of all tissues for an exam."""
    return ct_palette(acquisition) if modality == "CT" else mr_palette(acquisition)
