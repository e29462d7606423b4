"""Chest X-rays with boxes and findings: real ones and synthetic series, in one form, with their augmentation."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from osler.engine.heads_progression import event_text, relative_value
from osler.model.heads import CHANGES
from osler.synth.draw import draw_patient
from osler.synth.facts import PatientFacts
from osler.synth.ontology import load_ontology
from osler.train.pictures import split_of
from osler.train.sources import hannover, lung_boxes, montgomery, nih
from osler.train.synthetic_films import Film, read_films

NIH_FINDINGS: dict[str, str] = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "pulmonary-edema",
    "Effusion": "pleural-effusion",
    "Emphysema": "emphysema",
    "Fibrosis": "pulmonary-fibrosis",
    "Hernia": "hiatal-hernia",
    "Infiltration": "infiltration",
    "Mass": "lung-mass",
    "Nodule": "pulmonary-nodule",
    "Pleural_Thickening": "pleural-thickening",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}
"""The 14 labels of NIH ChestX-ray14 and the keys of the ontology; ``infiltration`` is in NIH only."""

_CERTAIN = {"present": 1.0, "probable": 1.0, "possible": 0.5, "absent": 0.0}
_BECAME = {"new": "new", "resolved": "resolved", "larger": "worsened", "smaller": "improved", "stable": "stable"}
_PAD = 0.12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabeledXray:
    """One X-ray and what is known of it.

    Args:
        pixels: uint8 (row, column).
        boxes: Label to (x0, y0, x1, y1) in pixels; ``None`` where nobody drew any.
        findings: Finding to 0, 0.5 or 1, for those that are known.
        source: Data set. patient: Within it.
        day: Of a series; NaN if not known.
        changes: Finding to one of `CHANGES`, against the film before.
    """

    pixels: np.ndarray
    boxes: Mapping[str, tuple[float, float, float, float]] | None
    findings: Mapping[str, float]
    source: str
    patient: str
    day: float = float("nan")
    changes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class XraySeries:
    """Films of one patient in order of time, and the measured values of the record.

    Args:
        labs: Name with unit, value (0: middle, 1: upper end of the reference range) and day of each.
    """

    films: tuple[LabeledXray, ...]
    labs: tuple[tuple[str, float, int], ...] = ()


def xray_findings() -> tuple[str, ...]:
    """Keys of all findings that a chest X-ray may show, in the order of the head's queries."""
    groups = {p.group for p in load_ontology().protocols if p.modality == "DX"}
    known = [finding.key for finding in load_ontology().findings if groups & set(finding.prevalence)]
    return (*known, "infiltration")


def real_xrays(root: Path, *, split: str) -> Iterator[LabeledXray]:
    """Yields the real X-rays of a split that carry boxes or findings.

    Args:
        root: Folder of the public sets.
        split: ``"train"`` or ``"held-out"``.
    """
    boxes = _lung_boxes(root) | _montgomery_boxes(root)
    once: set[str] = set()
    for entry in (*nih(root), *lung_boxes(root), *hannover(root), *montgomery(root)):
        if (
            split_of(entry.source, patient=entry.patient) != split
            or entry.path.stem in once
            or not entry.path.is_file()
        ):
            continue
        findings: dict[str, float] = {}
        if entry.labels.findings is not None:
            findings = {key: float(name in entry.labels.findings) for name, key in NIH_FINDINGS.items()}
        found = boxes.get(entry.path.stem)
        if found is None and not findings:
            continue
        once.add(entry.path.stem)
        pixels = np.asarray(Image.open(entry.path).convert("L"))
        yield LabeledXray(pixels=pixels, boxes=found, findings=findings, source=entry.source, patient=entry.patient)


def _lung_boxes(root: Path) -> dict[str, dict[str, tuple[float, float, float, float]]]:
    found: dict[str, dict[str, tuple[float, float, float, float]]] = {}
    with (root / "cxr" / "lung-boxes" / "boxes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            edges = tuple(float(row[name]) for name in ("x0", "y0", "x1", "y1"))
            found.setdefault(Path(row["image"]).stem, {})[row["label"]] = edges  # type: ignore[assignment]
    return found


def _montgomery_boxes(root: Path) -> dict[str, dict[str, tuple[float, float, float, float]]]:
    """Boxes around the drawn masks; the right lung lies at the left of the picture."""
    found: dict[str, dict[str, tuple[float, float, float, float]]] = {}
    folder = root / "cxr" / "montgomery"
    for path in sorted((folder / "lung_masks").iterdir()):
        mask = np.asarray(Image.open(path).convert("L")) > 127
        half = mask.shape[1] // 2
        parts = {"right lung": (mask[:, :half], 0), "left lung": (mask[:, half:], half)}
        boxes = {}
        for label, (part, shift) in parts.items():
            rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
            if len(rows):
                boxes[label] = (
                    float(columns[0] + shift), float(rows[0]), float(columns[-1] + 1 + shift), float(rows[-1] + 1)
                )  # fmt: skip
        found[path.stem] = boxes
    return found


def synthetic_series(folder: Path, *, seed: int, most: int | None = None) -> Iterator[XraySeries]:
    """Yields the rendered films of each synthetic patient, with changes and laboratory values from the facts."""
    films: list[Film] = []
    for film in (*read_films(folder, most=most), None):
        if films and (film is None or film.patient != films[0].patient):
            yield _series(films, facts=draw_patient(seed=seed, number=films[0].patient))
            films = []
        if film is not None:
            films.append(film)


def _series(films: Sequence[Film], *, facts: PatientFacts) -> XraySeries:
    shown = tuple(_labeled(film, earlier=films[:number], facts=facts) for number, film in enumerate(films))
    names = {lab.key: lab.name for lab in load_ontology().labs}
    labs = tuple(
        (event_text(names[lab.key], unit=lab.unit), relative_value(lab.value, reference=lab.reference), lab.day)
        for lab in facts.labs
    )
    return XraySeries(films=shown, labs=labs)


def _labeled(film: Film, *, earlier: Sequence[Film], facts: PatientFacts) -> LabeledXray:
    known = dict.fromkeys(xray_findings()[:-1], 0.0)
    for key, entry in film.findings.items():
        visible = entry["change"] != "resolved"
        known[key] = _CERTAIN[entry["certainty"]] if visible else 0.0
    changes: dict[str, str] = {}
    compared = facts.exams[film.exam].compared
    if compared is not None and any(other.exam == compared for other in earlier):
        for key in known:
            entry = film.findings.get(key, {"certainty": "absent", "change": "first"})
            if entry["certainty"] == "absent":
                changes[key] = "absent"
            elif entry["change"] in _BECAME:
                changes[key] = _BECAME[entry["change"]]
    boxes = {label: max(found, key=_area) for label, found in film.boxes.items()}
    return LabeledXray(
        pixels=film.pixels,
        boxes={label: (box[0], box[1], box[2], box[3]) for label, box in boxes.items()},
        findings=known,
        source="synthetic",
        patient=str(film.patient),
        day=float(film.day),
        changes=changes,
    )


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def shown(
    film: LabeledXray, *, size: int, rng: np.random.Generator | None
) -> tuple[np.ndarray, dict[str, tuple[float, float, float, float]] | None]:
    """Cuts, resizes and shades a film for a step; boxes follow it. Never mirrored: sides stay sides.

    Args:
        size: Side of the square, px; the film is stretched to it as the contract does.
        rng: ``None`` for no augmentation.

    Returns:
        uint8 (size, size, 3), and boxes in 0 to 1; those that are cut away are left out.
    """
    pixels = film.pixels
    height, width = pixels.shape
    left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    if rng is not None:
        padded = np.pad(pixels, ((int(height * _PAD),) * 2, (int(width * _PAD),) * 2))
        zoom = rng.uniform(0.86, 1.1)
        across, down = (zoom * rng.uniform(0.93, 1.07) * side for side in (width, height))
        left = rng.uniform(-0.08, 0.08) * width + (width - across) / 2
        top = rng.uniform(-0.08, 0.08) * height + (height - down) / 2
        right, bottom = left + across, top + down
        offset = (int(width * _PAD), int(height * _PAD))
        window = (left + offset[0], top + offset[1], right + offset[0], bottom + offset[1])
        limits = (padded.shape[1], padded.shape[0]) * 2
        window = tuple(min(max(edge, 0.0), float(limit)) for edge, limit in zip(window, limits, strict=True))
        left, top, right, bottom = (edge - offset[i % 2] for i, edge in enumerate(window))
        image = Image.fromarray(padded).resize((size, size), Image.BILINEAR, box=window)
    else:
        image = Image.fromarray(pixels).resize((size, size), Image.BILINEAR)
    gray = np.asarray(image, dtype=np.float32)
    if rng is not None:
        gray = _shaded(gray, rng=rng)
    boxes = None
    if film.boxes is not None:
        boxes = {}
        for label, box in film.boxes.items():
            edges = tuple(
                min(max((box[i] - (left, top)[i % 2]) / ((right - left), (bottom - top))[i % 2], 0.0), 1.0)
                for i in range(4)
            )
            if edges[2] - edges[0] > 0.01 and edges[3] - edges[1] > 0.01:
                boxes[label] = edges
    return np.repeat(np.clip(gray + 0.5, 0, 255).astype(np.uint8)[..., None], 3, axis=-1), boxes  # type: ignore[return-value]


def _shaded(gray: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    unit = np.clip(gray / 255, 0, 1) ** rng.uniform(0.7, 1.4)
    unit = (unit - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.uniform(-0.08, 0.08)
    if rng.random() < 0.3:
        unit = unit + rng.normal(0, rng.uniform(0.005, 0.03), unit.shape).astype(np.float32)
    return np.clip(unit, 0, 1) * 255


def calibration_part(films: Iterable[LabeledXray]) -> tuple[list[LabeledXray], list[LabeledXray]]:
    """Parts training films into those that train and the fifth of the patients that only calibrates."""
    rest: list[LabeledXray] = []
    kept: list[LabeledXray] = []
    for film in films:
        (kept if split_of(f"calibration-{film.source}", patient=film.patient) == "held-out" else rest).append(film)
    return rest, kept


CHANGE_NUMBER: dict[str, int] = {name: number for number, name in enumerate(CHANGES)}
"""Number of each change, as the progression head scores them."""
