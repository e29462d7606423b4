"""Draws how exams are made: scanner, geometry and technique that go together."""

from __future__ import annotations

from functools import cache

import numpy as np

from osler.synth.draw_exams import Exams
from osler.synth.draw_tables import uniform16
from osler.synth.fact_table import ACQUISITION_WORDS
from osler.synth.ontology import load_ontology


def word(text: str) -> int:
    """Code of an acquisition word."""
    return ACQUISITION_WORDS.index(text)


def pick(values: list[float], *, u: np.ndarray) -> np.ndarray:
    """One of equally likely values."""
    return np.array(values)[np.floor(u * len(values)).astype(np.int64)]


@cache
def _modalities() -> np.ndarray:
    return np.array([("CT", "MR", "DX", "SM").index(p.modality) for p in load_ontology().protocols])


def draw_acquisitions(exams: Exams, *, bodies: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Draws the acquisition columns of `ExamColumns`."""
    count = len(exams.day)
    columns: dict[str, np.ndarray] = {}
    for name in ("device", "kernel", "contrast", "sequence", "view", "stain"):
        columns[name] = np.zeros(count, dtype=np.int16)
    for name in ("rows", "columns", "slices", "kvp", "mas", "flip_deg", "magnification"):
        columns[name] = np.zeros(count, dtype=np.int32)
    for name in ("pixel_mm", "slice_mm", "spacing_mm", "field_t", "te_ms", "tr_ms", "ti_ms"):
        columns[name] = np.full(count, np.nan)
    bits = exams.draws.bits("acquisition", exams.number)
    more = exams.draws.bits("technique", exams.number)
    modality = _modalities()[exams.protocol]
    for code, draw in enumerate((_ct, _mr, _x_ray, _slide)):
        rows = np.nonzero(modality == code)[0]
        drawn = draw(exams, rows=rows, bits=bits[rows], more=more[rows], bodies=bodies)
        for name, values in drawn.items():
            columns[name][rows] = values
    columns["study_uid"] = exams.draws.bits("study-uid", exams.number)
    columns["series_uid"] = exams.draws.bits("series-uid", exams.number)
    return columns


@cache
def _ct_tables() -> dict[str, np.ndarray]:
    """By protocol: kernels, contrast phase, exposure of 75 kg at 120 kVp, share of the trunk scanned."""
    protocols = load_ontology().protocols
    phase = {
        "ct-chest-contrast": "portal-venous",
        "ct-pulmonary-angiography": "pulmonary-arterial",
        "ct-abdomen-portal-venous": "portal-venous",
    }
    return {
        "head": np.array([p.region == "head" for p in protocols]),
        "chest": np.array([p.region == "chest" for p in protocols]),
        "angiography": np.array([p.key == "ct-pulmonary-angiography" for p in protocols]),
        "contrast": np.array([word(phase.get(p.key, "none")) for p in protocols]),
        "mas": np.array([{"head": 230.0, "chest": 90.0}.get(p.region, 150.0) for p in protocols]),
        "cover": np.array([0.52 if p.region == "chest" else 0.72 for p in protocols]),
    }


def _ct(
    exams: Exams, *, rows: np.ndarray, bits: np.ndarray, more: np.ndarray, bodies: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    t, protocol, patient = _ct_tables(), exams.protocol[rows], exams.patient[rows]
    head, angiography = t["head"][protocol], t["angiography"][protocol]
    weight = bodies["weight_kg"][patient]
    kernel = np.where(t["chest"][protocol], pick([word("soft"), word("lung")], u=uniform16(bits, part=0)), word("soft"))
    kernel = np.where(angiography, word("soft"), np.where(head, word("brain"), kernel)).astype(np.int16)
    sharp = kernel == word("lung")
    thin = sharp | angiography
    thickness = np.where(
        thin,
        pick([0.625, 0.8, 1.0, 1.25, 1.5], u=uniform16(bits, part=1)),
        pick([2.0, 2.5, 3.0, 5.0], u=uniform16(bits, part=1)),
    )
    overlap = uniform16(bits, part=2) < 0.4
    spacing = np.round(np.where(overlap & ~head, 0.8, 1.0) * thickness, 2)
    length = np.where(head, 155.0, t["cover"][protocol] * bodies["trunk_mm"][patient]) + 25 * uniform16(bits, part=3)
    light, heavy = weight < 65, weight > 95
    usual = pick([100, 120, 120], u=uniform16(more, part=0))
    kvp = np.where(
        light,
        pick([80, 100, 100], u=uniform16(more, part=0)),
        np.where(heavy, pick([120, 120, 140], u=uniform16(more, part=0)), usual),
    )
    kvp = np.where(head, 120, kvp)
    dose = (
        t["mas"][protocol]
        * np.where(head, 1.0, weight / 75)
        * (120 / kvp) ** 2
        * (0.85 + 0.3 * uniform16(more, part=1))
    )
    field = np.where(
        head,
        215 + 35 * uniform16(more, part=2),
        2 * bodies["half_width_mm"][patient] + 10 + 40 * uniform16(more, part=2),
    )
    return {
        "device": pick([word("CT-16"), word("CT-64"), word("CT-128"), word("CT-256")], u=uniform16(more, part=3)),
        "rows": np.full(len(rows), 512),
        "columns": np.full(len(rows), 512),
        "slices": np.ceil(length / spacing),
        "pixel_mm": np.round(np.minimum(field, 500) / 512, 3),
        "slice_mm": thickness,
        "spacing_mm": spacing,
        "kvp": kvp,
        "mas": np.rint(dose),
        "kernel": kernel,
        "contrast": t["contrast"][protocol],
    }


_SEQUENCES: dict[str, tuple[str, tuple[float, float], tuple[float, float], tuple[int, int]]] = {
    # sequence, TE (ms), TR (ms), flip angles
    "mr-brain-t1": ("T1", (8.0, 15.0), (450.0, 680.0), (70, 90)),
    "mr-brain-t1-contrast": ("T1", (8.0, 15.0), (450.0, 680.0), (70, 90)),
    "mr-brain-t2": ("T2", (85.0, 110.0), (3500.0, 5800.0), (90, 150)),
    "mr-brain-flair": ("FLAIR", (90.0, 135.0), (8000.0, 9800.0), (90, 150)),
    "mr-brain-dwi": ("DWI", (65.0, 95.0), (4000.0, 7500.0), (90, 90)),
    "mr-knee-pd-fs": ("PD-FS", (28.0, 42.0), (2500.0, 4200.0), (90, 150)),
    "mr-liver": ("T1-FS", (1.2, 2.4), (3.5, 5.2), (9, 12)),
}


@cache
def _mr_tables() -> dict[str, np.ndarray]:
    keys = [p.key for p in load_ontology().protocols]
    rows = [_SEQUENCES.get(key, ("", (1.0, 1.0), (1.0, 1.0), (1, 1))) for key in keys]
    geometry = {"mr-knee-pd-fs": (150, 180, 2.5, 4.0, 100), "mr-liver": (340, 420, 3.0, 5.0, 230)}
    shape = [geometry.get(key, (220, 240, 3.0, 5.0, 145)) for key in keys]
    return {
        "sequence": np.array([word(row[0]) for row in rows]),
        "te": np.array([row[1] for row in rows]),
        "tr": np.array([row[2] for row in rows]),
        "flip": np.array([row[3] for row in rows]),
        "shape": np.array(shape),
        "contrast": np.array(
            [word("gadolinium" if k in ("mr-brain-t1-contrast", "mr-liver") else "none") for k in keys]
        ),
        "decimals": np.array([1 if key == "mr-liver" else 0 for key in keys]),
    }


def _mr(
    exams: Exams, *, rows: np.ndarray, bits: np.ndarray, more: np.ndarray, bodies: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    t, protocol = _mr_tables(), exams.protocol[rows]
    strong = uniform16(bits, part=0) < 0.45
    te, tr, shape = t["te"][protocol], t["tr"][protocol], t["shape"][protocol]
    inversion = t["sequence"][protocol] == word("FLAIR")
    u = uniform16(bits, part=1)
    repetition = np.where(
        t["decimals"][protocol] == 1,
        np.round(tr[:, 0] + u * (tr[:, 1] - tr[:, 0]), 1),
        10 * np.rint((tr[:, 0] + u * (tr[:, 1] - tr[:, 0])) / 10),
    )
    thickness = np.round(2 * (shape[:, 2] + uniform16(bits, part=2) * (shape[:, 3] - shape[:, 2]))) / 2
    spacing = np.round(thickness * pick([1.0, 1.1, 1.2], u=uniform16(bits, part=3)), 2)
    spacing = np.where(t["decimals"][protocol] == 1, thickness, spacing)
    matrix = pick([256, 320, 384, 512], u=uniform16(more, part=0))
    field = np.rint(shape[:, 0] + uniform16(more, part=1) * (shape[:, 1] - shape[:, 0]))
    flip = t["flip"][protocol]
    # the inversion that nulls fluid grows with the repetition time and the field
    nulling = 10 * np.rint((0.235 + 0.02 * strong + 0.01 * uniform16(more, part=2)) * repetition / 10)
    return {
        "device": np.where(strong, word("MR-3T"), word("MR-1.5T")),
        "field_t": np.where(strong, 3.0, 1.5),
        "rows": matrix,
        "columns": matrix,
        "slices": np.ceil(shape[:, 4] / spacing),
        "pixel_mm": np.round(field / matrix, 3),
        "slice_mm": thickness,
        "spacing_mm": spacing,
        "sequence": t["sequence"][protocol],
        "contrast": t["contrast"][protocol],
        "te_ms": np.round(te[:, 0] + uniform16(more, part=3) * (te[:, 1] - te[:, 0]), 1),
        "tr_ms": repetition,
        "ti_ms": np.where(inversion, nulling, np.nan),
        "flip_deg": np.where(uniform16(more, part=2) < 0.5, flip[:, 0], flip[:, 1]),
    }


@cache
def _views() -> np.ndarray:
    keys = {"xr-chest-pa": "PA", "xr-chest-ap": "AP", "xr-chest-lateral": "lateral"}
    return np.array([word(keys.get(p.key, "")) for p in load_ontology().protocols])


def _x_ray(
    exams: Exams, *, rows: np.ndarray, bits: np.ndarray, more: np.ndarray, bodies: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    view = _views()[exams.protocol[rows]]
    mobile, lateral = view == word("AP"), view == word("lateral")
    weight = bodies["weight_kg"][exams.patient[rows]] / 75
    pixel = pick([0.139, 0.143, 0.148, 0.168, 0.175], u=uniform16(bits, part=0))
    tall = pick([430.0, 430.0, 350.0], u=uniform16(bits, part=1))
    wide = np.where(lateral, 350.0, np.where(tall == 350.0, 430.0, pick([430.0, 350.0], u=uniform16(bits, part=2))))
    volts = np.where(mobile, 80 + 20 * uniform16(bits, part=3), 110 + 15 * uniform16(bits, part=3))
    exposure = np.where(lateral, 7.0, np.where(mobile, 2.4, 2.8)) * weight * (0.8 + 0.6 * uniform16(more, part=0))
    return {
        "device": np.where(mobile, word("DR-MOBILE"), word("DR-FIXED")),
        "rows": np.rint(tall / pixel),
        "columns": np.rint(wide / pixel),
        "slices": np.ones(len(rows)),
        "pixel_mm": pixel,
        "kvp": np.rint(volts),
        "mas": np.maximum(1, np.rint(exposure)),
        "contrast": np.full(len(rows), word("none")),
        "view": view,
    }


def _slide(
    exams: Exams, *, rows: np.ndarray, bits: np.ndarray, more: np.ndarray, bodies: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    fine = uniform16(bits, part=0) < 0.6
    pixel = np.where(fine, 0.00025, 0.0005)
    tall = 4 + 14 * uniform16(bits, part=1)
    wide = 6 + 20 * uniform16(bits, part=2)
    return {
        "device": np.where(fine, word("WSI-40"), word("WSI-20")),
        "rows": 256 * np.rint(tall / pixel / 256),
        "columns": 256 * np.rint(wide / pixel / 256),
        "slices": np.ones(len(rows)),
        "pixel_mm": pixel,
        "magnification": np.where(fine, 40, 20),
        "stain": np.full(len(rows), word("H&E")),
    }
