"""Where nuclei lie and how each looks, by position only.

Candidates stand on jittered grids that are tied to the slide. A candidate that comes
too near one of higher rank is dropped; ranks are part of the hash, and only two rounds
are played, so the outcome depends on a few tens of µm around a nucleus and is the same
in every tile that sees it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.extras import import_extra
from osler.synth.elementary import angle as angle_of
from osler.synth.elementary import exp
from osler.synth.histology.fields import cell_bits, quarters, smooth_noise
from osler.synth.histology.layout import Layout

EPITHELIUM, TUMOR, LYMPHOCYTE, STROMA, MITOSIS, DEBRIS = range(6)
KINDS = ("epithelium", "tumor", "lymphocyte", "stroma", "mitosis", "debris")
MARGIN_UM = 34.0
_GREATEST_PAIR_UM = 12.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nuclei:
    """Nuclei of a window, one entry each.

    Args:
        x, y: Center (µm). long, short: Half axes (µm). angle: Of the long axis (radians).
        kind: Index into `KINDS`.
        dark: Optical density. open_chromatin, nucleolus: See `NucleusLook`; the second is 0 or 1.
        goblet: 1 where the cell holds a mucin vacuole. reach: How far it lies from the nucleus (µm).
        halo: Half width of the cell's own cytoplasm (µm); 0 where it is part of an epithelium.
        chance: A uniform number for the texture's place.
        rank: Higher ranks are painted above.
    """

    x: np.ndarray
    y: np.ndarray
    long: np.ndarray
    short: np.ndarray
    angle: np.ndarray
    kind: np.ndarray
    dark: np.ndarray
    open_chromatin: np.ndarray
    nucleolus: np.ndarray
    goblet: np.ndarray
    halo: np.ndarray
    chance: np.ndarray
    rank: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def where(self, chosen: np.ndarray) -> Nuclei:
        """The nuclei chosen by a mask or an index."""
        return Nuclei(**{name: getattr(self, name)[chosen] for name in _NAMES})


Window = tuple[float, float, float, float]
"""x0, y0, width and height of a part of the slide (µm)."""
_NAMES = tuple(Nuclei.__dataclass_fields__)


def place_nuclei(layout: Layout, *, key: int, window: Window, inflammation: float) -> Nuclei:
    """Places all nuclei whose centers lie in a window and `MARGIN_UM` around it.

    Args:
        layout: The map, with a lattice that covers the window and the margin.
        key: Of the slide.
        window: x0, y0, width, height (µm).
        inflammation: Factor on lymphocytes.
    """
    parts = [
        *_epithelium(layout, key=key, window=window),
        _stroma(layout, key=key, window=window),
        _lymphocytes(layout, key=key, window=window, inflammation=inflammation),
        _single_cells(layout, key=key, window=window),
        _debris(layout, key=key, window=window),
    ]
    every = _joined(parts)
    return every.where(_survivors(every))


def _joined(parts: list[Nuclei]) -> Nuclei:
    return Nuclei(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _NAMES})


def dust(layout: Layout, *, key: int, window: Window, amount: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grains of black pigment in the stroma, in clumps: x, y and radius (µm)."""
    x, y, bits, _ = _grid(key, "dust", window=window, spacing=3.0)
    _, _, c, d = quarters(bits)
    clumps = np.clip(2.5 * smooth_noise(key, "dust-clumps", x=x, y=y, period=45.0), 0, None) ** 2
    held = _held(d < amount * 9e-6 * clumps, layout, x=x, y=y, room=0.5)
    return x[held], y[held], 0.5 + 0.9 * c[held]


def _grid(
    key: int, stream: str, *, window: Window, spacing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Jittered candidates in a window and its margin: x, y (µm) and two sets of random bits."""
    x0, y0, width, height = window
    columns, rows = _steps(x0, width, spacing=spacing), _steps(y0, height, spacing=spacing)
    bits = cell_bits(key, stream, columns[None, :], rows[:, None])
    more = cell_bits(key, stream + "-look", columns[None, :], rows[:, None])
    a, b, _, _ = quarters(bits)
    x, y = (columns[None, :] + a) * spacing, (rows[:, None] + b) * spacing
    return x.ravel(), y.ravel(), bits.ravel(), more.ravel()


def _steps(start: float, length: float, *, spacing: float) -> np.ndarray:
    first, last = int(np.floor((start - MARGIN_UM) / spacing)), int(np.ceil((start + length + MARGIN_UM) / spacing))
    return np.arange(first, last)


def _slope(layout: Layout, field: np.ndarray, *, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit direction in which a field rises."""
    step = 2.0
    sample = layout.lattice.sample
    a = sample(field, x=x + step, y=y) - sample(field, x=x - step, y=y)
    b = sample(field, x=x, y=y + step) - sample(field, x=x, y=y - step)
    length = np.maximum(np.hypot(a, b), 1e-6)
    return a / length, b / length


def _kinds_at(layout: Layout, *, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    i = np.clip(np.rint(x / 2.0).astype(np.intp) - layout.lattice.column, 0, layout.lattice.shape[1] - 1)
    j = np.clip(np.rint(y / 2.0).astype(np.intp) - layout.lattice.row, 0, layout.lattice.shape[0] - 1)
    return layout.kind[j, i]


def _bell(chance: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Roughly normal numbers (mean 0, deviation 1) from two uniform ones."""
    return (chance + other - 1) * 2.45


def _epithelium(layout: Layout, *, key: int, window: Window) -> list[Nuclei]:
    """The nuclei of every tissue's epithelium, one set for each tissue in the window."""
    sets = []
    for number, pattern in enumerate(layout.patterns):
        if pattern.wall <= 0 or pattern.present <= 0 or not np.any(layout.kind == number):
            continue
        x, y, bits, more = _grid(key, f"epithelium-{pattern.crowd}", window=window, spacing=0.72 * pattern.crowd)
        depth = layout.lattice.sample(layout.depth, x=x, y=y)
        lumen = layout.lattice.sample(layout.lumen, x=x, y=y)
        held = (depth > 0.5) & (lumen < 0) & (_kinds_at(layout, x=x, y=y) == number)
        x, y, bits, more, depth = x[held], y[held], bits[held], more[held], depth[held]
        _, _, c, d = quarters(bits)
        e, f, g, h = quarters(more)
        wall = layout.lattice.sample(layout.wall, x=x, y=y)
        nx, ny = _slope(layout, layout.depth, x=x, y=y)
        row = np.clip(pattern.row + pattern.row_spread * (c - 0.5), 0.1, 0.92)
        move = np.where(wall < 100, np.clip(row * np.minimum(wall, 100) - depth, -14, 14), 0.0)
        x, y = x + move * nx, y + move * ny
        look = pattern.nucleus
        radius = look.radius * exp(np.clip(look.spread * _bell(e, f), -0.5, 0.75))
        aspect = 1 + (look.aspect - 1) * (0.6 + 0.8 * g)
        is_tumor = layout.lattice.sample(layout.tumor, x=x, y=y) > 0
        share = pattern.mitoses * pattern.crowd**2 * 1e-6
        mitosis = is_tumor & (h < share)
        dead = layout.lattice.sample(layout.necrosis, x=x, y=y) > 0
        # A nucleus may have been moved out of its gland where the outline turns sharply.
        stays = (layout.lattice.sample(layout.lumen, x=x, y=y) < 1.0) & ~dead
        section = layout.lattice.sample(layout.tissue, x=x, y=y)
        stays &= section > 4
        angle = np.where(wall < 100, angle_of(ny, nx) + 0.5 * (d - 0.5), np.pi * d)
        long, short = radius * np.sqrt(aspect), radius / np.sqrt(aspect)
        sets.append(
            Nuclei(
                x=x, y=y, long=np.where(mitosis, 4.6, long), short=np.where(mitosis, 1.3 + 2.0 * (g > 0.7), short),
                angle=np.where(mitosis, np.pi * d, angle),
                kind=np.where(mitosis, MITOSIS, np.where(is_tumor, TUMOR, EPITHELIUM)),
                dark=np.where(mitosis, 1.35, look.dark * (1 + (0.12 + 0.5 * look.spread) * _bell(f, g))),
                open_chromatin=np.where(mitosis, 0.0, np.clip(look.open_chromatin + 0.5 * (e - 0.5), 0, 1)),
                nucleolus=np.where(mitosis, 0.0, d < look.nucleolus).astype(np.float64),
                goblet=((g < pattern.goblets) & (wall < 100) & (section > 20)).astype(np.float64),
                halo=np.where(mitosis, 7.5, 0.0),
                chance=h, rank=c + 1 + 3 * mitosis,
            ).where(stays)
        )  # fmt: skip
    return sets


def _stroma(layout: Layout, *, key: int, window: Window) -> Nuclei:
    x, y, bits, more = _grid(key, "stroma", window=window, spacing=10.0)
    _, _, c, d = quarters(bits)
    e, f, g, h = quarters(more)
    density = layout.table("fibroblasts")[_kinds_at(layout, x=x, y=y)] * 100e-6
    held = _held(d < density, layout, x=x, y=y, room=2.2)
    x, y, c, e, f, g, h = (values[held] for values in (x, y, c, e, f, g, h))
    nx, ny = _slope(layout, layout.fiber, x=x, y=y)
    zero = np.zeros(len(x))
    return Nuclei(
        x=x, y=y, long=4.2 + 4.0 * e, short=1.1 + 0.9 * f, angle=angle_of(nx, -ny) + 0.35 * (g - 0.5),
        kind=np.full(len(x), STROMA), dark=0.6 + 0.3 * g, open_chromatin=0.2 + zero, nucleolus=zero, goblet=zero,
        halo=zero, chance=h, rank=0.5 * c,
    )  # fmt: skip


def _lymphocytes(layout: Layout, *, key: int, window: Window, inflammation: float) -> Nuclei:
    x, y, bits, more = _grid(key, "lymphocytes", window=window, spacing=7.0)
    _, _, c, d = quarters(bits)
    e, f, g, h = quarters(more)
    clusters = np.clip(1 + 2.2 * smooth_noise(key, "clusters", x=x, y=y, period=130.0), 0.05, None) ** 2
    density = layout.table("lymphocytes")[_kinds_at(layout, x=x, y=y)] * 49e-6 * inflammation * clusters
    held = _held(d < density, layout, x=x, y=y, room=3.0)
    x, y, c, e, f, g, h = (values[held] for values in (x, y, c, e, f, g, h))
    zero = np.zeros(len(x))
    plasma = g < 0.3
    return Nuclei(
        x=x, y=y, long=2.9 + 0.6 * e, short=2.7 + 0.4 * f, angle=np.pi * g, kind=np.full(len(x), LYMPHOCYTE),
        dark=1.05 + 0.2 * f, open_chromatin=np.where(plasma, 0.45, 0.2), nucleolus=zero, goblet=zero,
        halo=np.where(plasma, 4.6, 3.5), chance=h, rank=0.3 + 0.5 * c,
    )  # fmt: skip


def _single_cells(layout: Layout, *, key: int, window: Window) -> Nuclei:
    """Tumor cells that invade the stroma alone or in files."""
    x, y, bits, more = _grid(key, "single-cells", window=window, spacing=9.0)
    _, _, c, d = quarters(bits)
    e, f, g, h = quarters(more)
    number = _kinds_at(layout, x=x, y=y)
    files = np.clip(1 + 1.6 * smooth_noise(key, "files", x=x, y=y, period=30.0), 0, None)
    density = layout.table("single_cells")[number] * 81e-6 * files
    held = _held(d < density, layout, x=x, y=y, room=3.0)
    x, y, c, e, f, g, h, number = (values[held] for values in (x, y, c, e, f, g, h, number))
    looks = [pattern.nucleus for pattern in layout.patterns]
    mean = np.array([look.radius for look in looks])[number]
    spread = np.array([look.spread for look in looks])[number]
    radius = mean * exp(np.clip(spread * _bell(e, f), -0.5, 0.7))
    return Nuclei(
        x=x, y=y, long=radius * 1.1, short=radius / 1.1, angle=np.pi * g, kind=np.full(len(x), TUMOR),
        dark=np.array([look.dark for look in looks])[number] * (0.85 + 0.3 * f),
        open_chromatin=np.array([look.open_chromatin for look in looks])[number],
        nucleolus=(g < np.array([look.nucleolus for look in looks])[number]).astype(np.float64),
        goblet=np.zeros(len(x)), halo=radius * 1.75, chance=h, rank=0.6 + 0.5 * c,
    )  # fmt: skip


def _debris(layout: Layout, *, key: int, window: Window) -> Nuclei:
    """Fragments of dead nuclei in necrosis and in the debris of tumor lumens."""
    x, y, bits, more = _grid(key, "debris", window=window, spacing=9.0)
    _, _, c, d = quarters(bits)
    e, f, g, h = quarters(more)
    dead = layout.lattice.sample(layout.necrosis, x=x, y=y) > 3
    dirty = np.array([pattern.lumen == "debris" for pattern in layout.patterns])[_kinds_at(layout, x=x, y=y)]
    dirty &= layout.lattice.sample(layout.lumen, x=x, y=y) > 9
    held = ((dead & (d < 0.3)) | (dirty & (d < 0.2))) & (layout.lattice.sample(layout.tissue, x=x, y=y) > 4)
    x, y, c, e, f, g, h = (values[held] for values in (x, y, c, e, f, g, h))
    zero = np.zeros(len(x))
    radius = 0.7 + 1.7 * e**2
    return Nuclei(
        x=x, y=y, long=radius * 1.2, short=radius / 1.2, angle=np.pi * g, kind=np.full(len(x), DEBRIS),
        dark=0.7 + 0.5 * f, open_chromatin=zero, nucleolus=zero, goblet=zero, halo=zero, chance=h, rank=0.2 * c,
    )  # fmt: skip


def _held(drawn: np.ndarray, layout: Layout, *, x: np.ndarray, y: np.ndarray, room: float) -> np.ndarray:
    """Which of the drawn candidates (bool) lie in living stroma, with some room (µm) to the next gland: indices."""
    held = np.flatnonzero(drawn)
    rules = (
        (layout.depth, lambda depth: depth < -room), (layout.fat, lambda depth: depth < -0.3),
        (layout.tissue, lambda depth: depth > 4), (layout.necrosis, lambda depth: depth <= 0),
    )  # fmt: skip
    for field, free in rules:
        held = held[free(layout.lattice.sample(field, x=x[held], y=y[held]))]
    return held


def _survivors(nuclei: Nuclei) -> np.ndarray:
    """Which candidates stay after two rounds of giving way to higher ranks nearby."""
    spatial = import_extra("scipy.spatial", extra="synth")

    count = len(nuclei)
    if count < 2:
        return np.ones(count, bool)
    pairs = spatial.cKDTree(np.column_stack([nuclei.x, nuclei.y])).query_pairs(_GREATEST_PAIR_UM, output_type="ndarray")
    a, b = pairs[:, 0], pairs[:, 1]
    reach = 0.62 * np.sqrt(nuclei.long * nuclei.short) + 0.28 * nuclei.short
    # Cells with cytoplasm of their own need room for it.
    reach = np.where(nuclei.kind == MITOSIS, 5.5, reach)
    near = np.hypot(nuclei.x[a] - nuclei.x[b], nuclei.y[a] - nuclei.y[b]) < reach[a] + reach[b]
    a, b = a[near], b[near]
    lower = np.where(nuclei.rank[a] < nuclei.rank[b], a, b)
    higher = a + b - lower
    open_, kept = np.ones(count, bool), np.zeros(count, bool)
    for _ in range(2):
        both = open_[lower] & open_[higher]
        winners = open_.copy()
        winners[lower[both]] = False
        kept |= winners
        open_ &= ~winners
        open_[lower[winners[higher]]] = False
        open_[higher[winners[lower]]] = False
    return kept
