"""How tissues are built: glands, walls, nuclei and stroma of each organ and grade.

Sizes are in µm and follow histology textbooks: a colonic crypt is about 80 µm wide, a
lymphocyte's nucleus 6 to 7 µm, a benign epithelial nucleus 6 to 8 µm, a high-grade
carcinoma's 10 to 18 µm with marked variation. Grades follow what pathologists grade
by: gland formation in the colon (WHO), tubules, pleomorphism and mitoses in the breast
(Nottingham), glandular architecture in the prostate (Gleason).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Lumen = Literal["empty", "mucin", "secretion", "debris", "colloid"]
Ground = Literal["lamina", "collagen", "muscle", "desmoplastic", "fat", "septa"]
SOLID_UM = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NucleusLook:
    """Nuclei of one kind.

    Args:
        radius: Mean of the half axes' geometric mean.
        spread: Deviation of the radius relative to the mean: pleomorphism.
        aspect: Length over width.
        dark: Optical density of hematoxylin.
        open_chromatin: 0 for smudged and even, 1 for a vesicular nucleus with a dark rim.
        nucleolus: Chance of a visible nucleolus.
    """

    radius: float = 3.6
    spread: float = 0.1
    aspect: float = 1.3
    dark: float = 0.75
    open_chromatin: float = 0.4
    nucleolus: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """The architecture of one tissue.

    Args:
        spacing: Distance of gland centers. jitter: Their disorder, 0 to 1.
        gap: Stroma between neighbors. cap: Greatest radius of a gland.
        warp: How far outlines wander. warp_period: Over what length.
        present: Share of places that hold a gland.
        wall: Height of the epithelium; ``SOLID_UM`` fills the gland.
        fold: How much the lumen's outline folds, relative to the wall.
        holes: Distance of the round holes of a cribriform gland; 0 for none.
        stretch: Length over width of the glands.
        row: Where nuclei sit in the wall, 0 at its base, 1 at the lumen.
        row_spread: How much of the wall they fill: 1 is fully stratified.
        crowd: Distance of nuclei in the epithelium.
        goblets: Share of the cells with a mucin vacuole.
        lymphocytes, fibroblasts, single_cells: Per mm² of stroma.
        mitoses: Per mm² of epithelium.
        cytoplasm: Amounts of hematoxylin and eosin in the epithelium's cytoplasm.
    """

    spacing: float = 110.0
    jitter: float = 0.5
    gap: float = 14.0
    cap: float = 60.0
    warp: float = 8.0
    warp_period: float = 60.0
    present: float = 1.0
    wall: float = 18.0
    fold: float = 0.15
    holes: float = 0.0
    stretch: float = 1.0
    row: float = 0.25
    row_spread: float = 0.15
    crowd: float = 6.0
    goblets: float = 0.0
    lumen: Lumen = "empty"
    ground: Ground = "collagen"
    lymphocytes: float = 300.0
    fibroblasts: float = 1500.0
    single_cells: float = 0.0
    mitoses: float = 0.0
    cytoplasm: tuple[float, float] = (0.08, 0.26)
    nucleus: NucleusLook = NucleusLook()


_COLON = Pattern(
    spacing=94, jitter=0.6, gap=15, cap=46, warp=7, wall=27, row=0.16, row_spread=0.1, crowd=5.2, goblets=0.55,
    ground="lamina", lymphocytes=2600, fibroblasts=1800, cytoplasm=(0.08, 0.2),
    nucleus=NucleusLook(radius=3.2, aspect=1.7, dark=0.75),
)  # fmt: skip
_COLON_TUMOR = Pattern(
    spacing=150, jitter=0.8, gap=34, cap=95, warp=16, warp_period=70, wall=30, fold=0.35, row=0.4, row_spread=0.55,
    crowd=5.0, lumen="debris", ground="desmoplastic", lymphocytes=700, fibroblasts=2600, mitoses=30, stretch=1.4,
    cytoplasm=(0.15, 0.27), nucleus=NucleusLook(radius=4.0, spread=0.14, aspect=1.9, dark=0.8, open_chromatin=0.5),
)  # fmt: skip
_BREAST = Pattern(
    spacing=46, jitter=0.5, gap=9, cap=19, warp=3, present=0.95, wall=13, row=0.45, row_spread=0.5, crowd=6.0,
    ground="collagen", lymphocytes=260, fibroblasts=840, cytoplasm=(0.07, 0.25),
    nucleus=NucleusLook(radius=3.3, aspect=1.2, dark=0.78),
)  # fmt: skip
_BREAST_TUMOR = Pattern(
    spacing=62, jitter=0.9, gap=16, cap=30, warp=7, warp_period=40, present=0.85, wall=13, row=0.45, row_spread=0.3,
    crowd=7.0, ground="desmoplastic", lymphocytes=400, fibroblasts=1800, mitoses=8, stretch=1.3, cytoplasm=(0.12, 0.27),
    nucleus=NucleusLook(radius=3.9, spread=0.12, dark=0.72, open_chromatin=0.5, nucleolus=0.15),
)  # fmt: skip
_PROSTATE = Pattern(
    spacing=190, jitter=0.7, gap=46, cap=88, warp=14, warp_period=45, wall=24, fold=0.75, row=0.3, row_spread=0.3,
    crowd=6.0, lumen="secretion", ground="muscle", lymphocytes=90, fibroblasts=1040, cytoplasm=(0.03, 0.16),
    nucleus=NucleusLook(radius=3.3, aspect=1.25, dark=0.72),
)  # fmt: skip
_GLEASON_3 = Pattern(
    spacing=66, jitter=0.75, gap=18, cap=30, warp=5, warp_period=40, present=0.9, wall=16, fold=0.15, row=0.3,
    row_spread=0.15, crowd=7.0, lumen="secretion", ground="muscle", lymphocytes=90, fibroblasts=840, mitoses=2,
    stretch=1.2, cytoplasm=(0.08, 0.23),
    nucleus=NucleusLook(radius=3.8, aspect=1.1, dark=0.7, open_chromatin=0.7, nucleolus=0.75),
)  # fmt: skip
_LUNG = Pattern(
    spacing=118, jitter=0.95, gap=9, cap=74, warp=15, warp_period=75, wall=0, fold=0, ground="septa",
    lymphocytes=700, fibroblasts=3600, cytoplasm=(0.05, 0.25), nucleus=NucleusLook(radius=3.2, dark=0.75),
)  # fmt: skip
_LUNG_ACINAR = Pattern(
    spacing=92, jitter=0.85, gap=20, cap=52, warp=11, warp_period=45, wall=17, fold=0.4, row=0.4, row_spread=0.35,
    crowd=7.2, ground="desmoplastic", lymphocytes=1100, fibroblasts=2000, mitoses=12, stretch=1.3,
    cytoplasm=(0.12, 0.27), nucleus=NucleusLook(radius=4.3, spread=0.17, dark=0.72, open_chromatin=0.6, nucleolus=0.5),
)  # fmt: skip


def _solid(pattern: Pattern, *, spacing: float, gap: float, radius: float, spread: float, mitoses: float) -> Pattern:
    look = replace(pattern.nucleus, radius=radius, spread=spread, aspect=1.25, open_chromatin=0.65, nucleolus=0.5)
    return replace(
        pattern, spacing=spacing, gap=gap, cap=SOLID_UM, wall=SOLID_UM, holes=0, fold=0, crowd=2.0 * radius,
        warp=14, warp_period=55, mitoses=mitoses, nucleus=look, present=0.95, stretch=1.5,
    )  # fmt: skip


PATTERNS: dict[str, Pattern] = {
    "colon": _COLON,
    "colon-grade-1": _COLON_TUMOR,
    "colon-grade-2": replace(
        _COLON_TUMOR,
        spacing=125,
        gap=24,
        holes=46,
        cap=80,
        row=0.45,
        row_spread=0.75,
        mitoses=45,
        nucleus=replace(_COLON_TUMOR.nucleus, radius=4.4, spread=0.2, aspect=1.6),
    ),
    "colon-grade-3": _solid(_COLON_TUMOR, spacing=105, gap=20, radius=4.9, spread=0.26, mitoses=80),
    "breast": _BREAST,
    "breast-stroma": replace(_BREAST, present=0.0, lymphocytes=60, fibroblasts=600),
    "breast-fat": replace(_BREAST, present=0.0, ground="fat", lymphocytes=20, fibroblasts=180),
    "breast-grade-1": _BREAST_TUMOR,
    "breast-grade-2": replace(
        _BREAST_TUMOR,
        spacing=56,
        gap=13,
        wall=20,
        present=0.9,
        mitoses=22,
        crowd=7.4,
        nucleus=replace(_BREAST_TUMOR.nucleus, radius=4.5, spread=0.2),
    ),
    "breast-grade-3": _solid(_BREAST_TUMOR, spacing=88, gap=16, radius=5.6, spread=0.3, mitoses=75),
    "prostate": _PROSTATE,
    "prostate-gleason-3": _GLEASON_3,
    "prostate-gleason-4": replace(
        _GLEASON_3,
        spacing=135,
        gap=20,
        cap=90,
        wall=SOLID_UM,
        holes=34,
        fold=0,
        crowd=8.0,
        warp=12,
        mitoses=6,
    ),
    "prostate-gleason-5": replace(
        _GLEASON_3,
        present=0.12,
        wall=SOLID_UM,
        single_cells=2600,
        fibroblasts=520,
        mitoses=10,
        nucleus=replace(_GLEASON_3.nucleus, radius=4.1, spread=0.16),
    ),
    "lung": _LUNG,
    "lung-grade-1": replace(
        _LUNG,
        spacing=105,
        wall=11,
        gap=13,
        row=0.45,
        row_spread=0.2,
        crowd=7.0,
        fold=0.3,
        mitoses=4,
        lymphocytes=1100,
        fibroblasts=3000,
        nucleus=replace(_LUNG_ACINAR.nucleus, radius=3.9, spread=0.13),
    ),
    "lung-grade-2": _LUNG_ACINAR,
    "lung-grade-3": _solid(_LUNG_ACINAR, spacing=130, gap=18, radius=5.5, spread=0.28, mitoses=70),
    "colon-adenoma": replace(
        _COLON,
        spacing=82,
        gap=11,
        stretch=1.35,
        wall=29,
        row=0.42,
        row_spread=0.5,
        crowd=4.6,
        goblets=0.12,
        mitoses=25,
        cytoplasm=(0.14, 0.25),
        nucleus=NucleusLook(radius=3.7, aspect=2.3, dark=0.88, open_chromatin=0.25),
    ),
    "colon-hyperplastic": replace(_COLON, spacing=100, wall=31, fold=0.8, goblets=0.4),
    "breast-lobular": replace(_BREAST_TUMOR, present=0.0, single_cells=2100, fibroblasts=700, mitoses=3),
    "breast-in-situ": replace(
        _BREAST_TUMOR,
        spacing=240,
        gap=70,
        cap=95,
        jitter=0.6,
        wall=SOLID_UM,
        holes=48,
        warp=8,
        crowd=7.8,
        stretch=1.0,
        ground="collagen",
        fibroblasts=800,
        mitoses=6,
        nucleus=replace(_BREAST_TUMOR.nucleus, radius=4.3, spread=0.14),
    ),
    "breast-fibroadenoma": replace(
        _BREAST,
        spacing=150,
        gap=70,
        cap=60,
        warp=34,
        warp_period=55,
        stretch=2.6,
        wall=11,
        present=0.9,
        ground="lamina",
        fibroblasts=2600,
        lymphocytes=60,
    ),
    "breast-cystic": replace(_BREAST, spacing=210, gap=46, cap=95, wall=12, lumen="secretion", present=0.8),
    "breast-hyperplasia": replace(
        _BREAST, spacing=150, gap=46, cap=60, wall=SOLID_UM, holes=30, fold=0, crowd=5.6, row_spread=1.0
    ),
    "prostate-in-situ": replace(
        _PROSTATE,
        wall=32,
        row=0.42,
        row_spread=0.75,
        crowd=5.8,
        cytoplasm=(0.1, 0.22),
        nucleus=replace(_GLEASON_3.nucleus, radius=3.8),
    ),
    "prostate-hyperplasia": replace(_PROSTATE, spacing=150, gap=24, cap=80, fold=1.0),
    "lung-squamous": replace(
        _solid(_LUNG_ACINAR, spacing=150, gap=24, radius=5.0, spread=0.22, mitoses=40), cytoplasm=(0.08, 0.4)
    ),
    "lung-small-cell": replace(
        _solid(_LUNG_ACINAR, spacing=210, gap=12, radius=3.6, spread=0.16, mitoses=110),
        crowd=5.4,
        cytoplasm=(0.16, 0.16),
        nucleus=NucleusLook(radius=3.6, spread=0.16, aspect=1.4, dark=1.0, open_chromatin=0.15, nucleolus=0.0),
    ),
    "lung-fibrosis": replace(_LUNG, gap=44, ground="collagen", fibroblasts=1700, lymphocytes=500, wall=5, crowd=9.0),
    "lung-organizing": replace(_LUNG, gap=16, lumen="secretion", fibroblasts=3000, lymphocytes=1500),
}
"""Known tissues: an organ's own, and what its findings replace it with."""
