"""How good a reader of films and scans must be for reports whose facts are right, and where the heads stand.

    python -m benchmarks.report_facts --model osler-mini --out benchmarks/report_facts

The cases are those of `osler evaluate --sets report-facts`: 30 chest X-rays and 30 chest CT. A program that states a
finding where a reader's score is over a threshold and denies all others stands for the writer; F1 is that of the set
(findings, denials, sides, sizes, changes). Readers are simulated: scores of two normal distributions of equal width,
weighed by how common each finding is in patients of another seed. The threshold is the best of these very cases, and
sides are left out, or known without a mistake: bounds from above. The findings head of the model is asked for the
films, too; findings that it does not know are denied.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Literal

import numpy as np

import osler
from benchmarks.machine import commit
from osler.errors import OslerError, RequestError
from osler.evaluate.metrics import auroc
from osler.evaluate.sets.report_facts import ReportFacts, all_denied
from osler.evaluate.sets.types import Setting
from osler.evaluate.synthetic import study_of
from osler.prepare.finding_names import FindingName, finding_names, findings_for
from osler.synth.draw import draw_facts
from osler.synth.facts import Exam, FindingFact, PatientFacts
from osler.synth.read_back import CORE, Factuality, ReadFact, ReadFacts, factuality

AIM = 0.80
AREAS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 0.999)
TURNS = 8
"""Simulated readers for each AUROC."""
_SEED, _PATIENTS = 11, 4000
"""Patients who say how common a finding is: of the seed that the heads have learned from."""
_CUTS = np.linspace(0.04, 0.96, 12)
_NEVER = 1.1

Values = Literal["left out", "sides", "sides and sizes"]
Scores = Mapping[str, float]
"""Of findings, by key: how likely each one is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scan:
    """A case of the set."""

    patient: PatientFacts
    exam: Exam


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """F1 by the AUROC of the reader, means over simulated readers, and the AUROC that the aim needs."""

    modality: str
    values: Values
    areas: tuple[float, ...]
    f1: tuple[float, ...]
    needed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadReading:
    """A findings head on the films.

    Args:
        findings: That it knows, of those that a film may show. auroc: Over all pairs of a film and such a finding.
        f1: Without sides, by the best threshold. denied: F1 where everything is denied.
    """

    model: str
    films: int
    findings: int
    auroc: float
    f1: float
    denied: float


def scans(modality: str) -> list[Scan]:
    """The cases of one modality."""
    plan = ReportFacts().plan(Setting(root=Path(), responder=None))  # type: ignore[arg-type]
    found = [Scan(patient=case.content[0], exam=case.content[1]) for case in plan.cases]
    return [scan for scan in found if scan.exam.modality == modality]


def prevalence(modality: str) -> dict[str, float]:
    """How common each finding is among chest exams of a modality that show or deny anything, of other patients."""
    table = draw_facts(seed=_SEED, patients=np.arange(_PATIENTS, dtype=np.int64))
    exams = [
        exam
        for row in range(_PATIENTS)
        for exam in table.patient(row).exams
        if exam.region == "chest" and exam.modality == modality and exam.findings
    ]
    seen = Counter(key for exam in exams for key in present(exam))
    return {name.key: max(seen[name.key], 0.5) / len(exams) for name in findings_for_chest(modality)}


def findings_for_chest(modality: str) -> tuple[FindingName, ...]:
    """What may be seen."""
    return findings_for(modalities=[modality], regions=["chest"])


def present(exam: Exam) -> dict[str, FindingFact]:
    """The findings that are there, the first of each kind."""
    found: dict[str, FindingFact] = {}
    for fact in exam.findings:
        if fact.certainty != "absent":
            found.setdefault(fact.key, fact)
    return found


def simulated(scan: Scan, *, area: float, common: Mapping[str, float], rng: np.random.Generator) -> dict[str, float]:
    """What a reader of that AUROC makes of a case: the probability of each finding, given its score."""
    apart = 2**0.5 * NormalDist().inv_cdf(area)
    there = present(scan.exam)
    scores = {}
    for key, share in common.items():
        score = rng.normal(apart if key in there else 0.0)
        odds = share / (1 - share) * np.exp(apart * score - apart**2 / 2)
        scores[key] = float(odds / (1 + odds))
    return scores


def facts_of(scan: Scan, *, scores: Scores, cut: float, values: Values) -> Factuality:
    """The agreement of a report that states what is likely and denies all else."""
    there = present(scan.exam)
    stated = []
    for key, share in scores.items():
        fact = there.get(key)
        if share < cut:
            stated.append(ReadFact(key=key, certainty="absent"))
        elif fact is None or values == "left out":
            stated.append(ReadFact(key=key))
        else:
            size = fact.size_mm if values == "sides and sizes" else None
            stated.append(ReadFact(key=key, side=fact.side, size_mm=size))
    return factuality(ReadFacts(findings=tuple(stated)), scan.exam.findings)


def pooled(agreements: Sequence[Factuality]) -> float:
    """F1 of the core facts of all reports together, as the set computes it."""
    scores = [one.score(kind) for one in agreements for kind in CORE]
    return 2 * sum(one.right for one in scores) / sum(one.truth + one.read for one in scores)


def best_f1(cases: Sequence[Scan], *, scores: Sequence[Scores], values: Values) -> float:
    """With the best threshold of these cases; the last one denies everything."""
    return max(
        pooled([facts_of(scan, scores=one, cut=cut, values=values) for scan, one in zip(cases, scores, strict=True)])
        for cut in (*_CUTS, _NEVER)
    )


def curve(cases: Sequence[Scan], *, modality: str, values: Values) -> Curve:
    """F1 over the AUROC of simulated readers."""
    common = prevalence(modality)
    means = []
    for area in AREAS:
        rng = np.random.default_rng([_SEED, round(area * 1000)])
        turns = [
            best_f1(cases, scores=[simulated(scan, area=area, common=common, rng=rng) for scan in cases], values=values)
            for _ in range(TURNS)
        ]
        means.append(float(np.mean(turns)))
    reached = np.maximum.accumulate(means)
    needed = float(np.interp(AIM, reached, AREAS)) if reached[-1] >= AIM else None
    return Curve(modality=modality, values=values, areas=AREAS, f1=tuple(means), needed=needed)


def read_films(model: str, *, cases: Sequence[Scan]) -> HeadReading:
    """Asks the findings head of a model for the films."""
    session = osler.load(model, studies="memory")
    head = session.heads.get("findings")
    if head is None:
        raise RequestError(f"{model!r} has no findings head.", allowed="Weights with the skill findings.")
    keys = {entry.name: entry.key for entry in finding_names()}
    known = [entry.name for entry in findings_for_chest("DX") if entry.name in head.findings]
    scores, shares, truths = [], [], []
    for scan in cases:
        found = head.probabilities(session, study_of(scan.patient, [scan.exam]), findings=known)
        told = {keys[name]: 0.0 if share is None else share for name, share in found.items()}
        scores.append({entry.key: told.get(entry.key, 0.0) for entry in findings_for_chest("DX")})
        shares += told.values()
        truths += [key in present(scan.exam) for key in told]
    area = auroc(np.array(shares), np.array(truths, dtype=float), weights_RN=np.ones((1, len(shares))))[0]
    return HeadReading(
        model=Path(model).name,
        films=len(cases),
        findings=len(known),
        auroc=float(area),
        f1=best_f1(cases, scores=scores, values="left out"),
        denied=pooled([factuality(all_denied(scan.exam), scan.exam.findings) for scan in cases]),
    )


def draw(curves: Sequence[Curve], reading: HeadReading, *, path: Path) -> None:
    """The lines, the head on its own, and the aim."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(6.4, 4), layout="constrained")
    axes = canvas.subplots()
    styles: dict[Values, str] = {"left out": ":", "sides": "--", "sides and sizes": "-"}
    names = {"DX": ("X-rays", "C0"), "CT": ("CT", "C1")}
    for one in curves:
        name, color = names[one.modality]
        axes.plot(one.areas, one.f1, styles[one.values], color=color, label=f"{name}, {one.values}")
    axes.plot(reading.auroc, reading.f1, "o", color="C0", label=f"{reading.model} on the X-rays, sides left out")
    axes.axhline(AIM, color="gray", linewidth=0.8, label="aim")
    axes.set_xlabel("AUROC of the reader, over all findings")
    axes.set_ylabel("F1 of core facts")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    canvas.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Simulates readers, asks the head, and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="osler-mini")
    parser.add_argument("--out", type=Path, required=True, help="write OUT.json and OUT.svg")
    given = parser.parse_args()
    try:
        cases = {modality: scans(modality) for modality in ("DX", "CT")}
        reading = read_films(given.model, cases=cases["DX"])
    except OslerError as error:
        raise SystemExit(f"report_facts: {error}") from error
    print(reading, flush=True)
    curves = []
    for modality, mine in cases.items():
        for values in ("left out", "sides", "sides and sizes"):
            curves.append(curve(mine, modality=modality, values=values))
            print(curves[-1], flush=True)
    content = {"commit": commit(), "head": asdict(reading), "curves": [asdict(one) for one in curves]}
    given.out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draw(curves, reading, path=given.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
