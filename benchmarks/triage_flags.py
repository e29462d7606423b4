"""What `osler triage` flags by images today: sensitivity and specificity on patients never seen.

Chest X-rays of the held-out NIH patients go through the findings head and the rule of
`osler.tasks.urgency`, as in `osler triage`. A study counts as urgent if its label names a finding
that the rule calls immediate or urgent, and as flagged if the rule says so of the model's
probabilities. The labels were mined from reports by a program: about one in ten is wrong.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osler.engine.load import load
from osler.evaluate.intervals import bootstrap_interval
from osler.evaluate.sets.xrays import NIH_FINDINGS, nih_picture, open_xray
from osler.tasks.findings import findings
from osler.tasks.urgency import critical_findings, level_of, reasons_of
from osler.train.pictures import split_of

URGENT = ("immediate", "urgent")
SPECIFICITIES = (0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One X-ray.

    Args:
        patient: Whose. urgent: By its label. flagged: By the rule.
        score: The highest probability of a finding that is immediate or urgent; 0 where none can be told.
    """

    patient: str
    urgent: bool
    flagged: bool
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """How well urgent X-rays are flagged.

    Args:
        xrays: Looked at. patients: Of them. urgent: X-rays with an urgent label.
        findings: The urgent findings that labels know.
        sensitivity: Of the rule, with its interval over patients. specificity: See there.
        auroc: Of the score, with its interval over patients.
        points: (specificity, sensitivity) of the score at other limits, which were not chosen on other patients.
    """

    xrays: int
    patients: int
    urgent: int
    findings: tuple[str, ...]
    sensitivity: tuple[float, float, float]
    specificity: tuple[float, float, float]
    auroc: tuple[float, float, float]
    points: tuple[tuple[float, float], ...]


def measure_flags(root: Path, *, model: str = "osler-mini") -> Flags:
    """Looks at every held-out X-ray of NIH below a folder of the public sets."""
    known = tuple(name for name in NIH_FINDINGS.values() if critical_findings().get(name) in URGENT)
    session = load(model, studies="memory")
    rows = []
    with (root / "cxr/nih/labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            path = nih_picture(root, row["Image Index"])
            if split_of("nih", patient=row["Patient ID"]) != "held-out" or not path.is_file():
                continue
            labels = {NIH_FINDINGS.get(label.strip(), "") for label in row["Finding Labels"].split("|")}
            study = open_xray(path)
            told = findings(session, study).findings
            scores = [entry.probability or 0.0 for entry in told if entry.name in known]
            rows.append(
                Looked(
                    patient=row["Patient ID"],
                    urgent=bool(labels & set(known)),
                    flagged=level_of(reasons_of(study, findings=told)) in URGENT,
                    score=max(scores, default=0.0),
                )
            )
    return flags_of(rows, findings=known)


def flags_of(rows: Sequence[Looked], *, findings: tuple[str, ...]) -> Flags:
    """Counts."""
    urgent, others = [row for row in rows if row.urgent], [row for row in rows if not row.urgent]
    bad, good = np.array([row.score for row in urgent]), np.array([row.score for row in others])
    limits = [float(np.quantile(good, specificity, method="higher")) for specificity in SPECIFICITIES]
    return Flags(
        xrays=len(rows),
        patients=len({row.patient for row in rows}),
        urgent=len(urgent),
        findings=findings,
        sensitivity=_share([row.flagged for row in urgent], rows=urgent),
        specificity=_share([not row.flagged for row in others], rows=others),
        auroc=_auroc(rows),
        points=tuple((float(np.mean(good <= limit)), float(np.mean(bad > limit))) for limit in limits),
    )


def _share(right: Sequence[bool], *, rows: Sequence[Looked]) -> tuple[float, float, float]:
    return float(np.mean(right)), *bootstrap_interval(right, patients=[row.patient for row in rows])


def _auroc(rows: Sequence[Looked], *, draws: int = 2000) -> tuple[float, float, float]:
    """The chance that an urgent X-ray scores higher than another, ties half; resampled over patients."""
    patients = sorted({row.patient for row in rows})
    of = [np.array([number for number, row in enumerate(rows) if row.patient == patient]) for patient in patients]
    score, urgent = np.array([row.score for row in rows]), np.array([row.urgent for row in rows])

    def area(numbers: np.ndarray) -> float:
        bad, good = score[numbers][urgent[numbers]], score[numbers][~urgent[numbers]]
        return float(((bad[:, None] > good) + 0.5 * (bad[:, None] == good)).mean()) if len(bad) and len(good) else 0.5

    rng = np.random.default_rng(0)
    drawn = [area(np.concatenate([of[k] for k in rng.integers(len(of), size=len(of))])) for _ in range(draws)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return area(np.arange(len(rows))), float(low), float(high)
