"""How well questions that need film and record can be answered with the film reader that is there, and what it takes.

    python -m benchmarks.film_and_record --models osler-mini OTHER --out benchmarks/film_and_record

The cases are those of `osler evaluate --sets ehr-imaging`: yes only if the film shows the finding and the value is
high. A program that reads the value without a mistake and asks the findings head of a model for the rest stands for the
best decoder that could be put on these heads; its threshold for each finding is the best of these very cases, so that
its share of right answers is a bound from above. The line is that of two normal distributions of equal width.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist

import numpy as np

import osler
from benchmarks.machine import commit
from osler.errors import OslerError, RequestError
from osler.evaluate.metrics import auroc
from osler.evaluate.sets.ehr_imaging import CASES, FINDINGS, Both, balanced_cases
from osler.evaluate.synthetic import study_of
from osler.prepare.finding_names import finding_names

RECORD_ALONE, AIM = 0.75, 0.90
"""Right by the record alone, and 15 points above."""
_HIGH, _SEEN_IF_HIGH = 0.75, 2 / 3
"""Cases with a high value, and of these the share with the finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a model's findings head makes of the films.

    Args:
        auroc: Mean over the findings, of the cases with a high value. best: Right answers with its best thresholds.
    """

    model: str
    cases: int
    auroc: float
    best: float


def bound(film_auroc: float) -> float:
    """Right answers with the best threshold, by the AUROC of the film reader where the value is high."""
    normal = NormalDist()
    apart = 2**0.5 * normal.inv_cdf(film_auroc)
    cuts = np.linspace(-4, apart + 4, 801)
    right = [_SEEN_IF_HIGH * normal.cdf(apart - cut) + (1 - _SEEN_IF_HIGH) * normal.cdf(cut) for cut in cuts]
    return 1 - _HIGH + _HIGH * max(right)


def read(model: str, *, cases: Sequence[Both]) -> Reading:
    """Asks the findings head of a model for the finding of each case."""
    session = osler.load(model, studies="memory")
    head = session.heads.get("findings")
    if head is None:
        raise RequestError(f"{model!r} has no findings head.", allowed="Weights with the skill findings.")
    names = {entry.key: entry.name for entry in finding_names()}
    shares, right, areas = {}, 0, []
    for number, case in enumerate(cases):
        study = study_of(case.patient, [case.exam], events=(case.event,))
        found = head.probabilities(session, study, findings=[names[case.finding]])
        share = found[names[case.finding]]
        shares[number] = 0.5 if share is None else share
    for finding in FINDINGS:
        mine = [number for number, case in enumerate(cases) if case.finding == finding]
        high = [number for number in mine if cases[number].high]
        values, seen = np.array([shares[n] for n in high]), np.array([cases[n].seen for n in high])
        areas.append(float(auroc(values, seen.astype(float), weights_RN=np.ones((1, len(high))))[0]))
        cuts = [*values, 1.1]
        right += max(int(((values >= cut) == seen).sum()) for cut in cuts) + len(mine) - len(high)
    return Reading(model=Path(model).name, cases=len(cases), auroc=float(np.mean(areas)), best=right / len(cases))


def draw(readings: Sequence[Reading], *, path: Path) -> None:
    """The line, the models on it, and the aim."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(6, 3.8), layout="constrained")
    axes = canvas.subplots()
    areas = np.linspace(0.5, 0.99, 50)
    axes.plot(areas, [bound(area) for area in areas], label="best threshold, two normal distributions")
    for one in readings:
        axes.plot(one.auroc, one.best, "o", label=f"{one.model}, best thresholds of these cases")
    axes.axhline(RECORD_ALONE, color="gray", linestyle=":", label="record alone")
    axes.axhline(AIM, color="gray", linestyle="--", label="aim")
    axes.set_xlabel("AUROC of the film reader where the value is high")
    axes.set_ylabel("right answers, film and record")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    canvas.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Reads the films of the cases with each model, and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["osler-mini"])
    parser.add_argument("--out", type=Path, required=True, help="write OUT.json and OUT.svg")
    given = parser.parse_args()
    try:
        cases = balanced_cases(CASES)
        readings = [read(model, cases=cases) for model in given.models]
    except OslerError as error:
        raise SystemExit(f"film_and_record: {error}") from error
    needed = next(area for area in np.linspace(0.5, 0.999, 500) if bound(float(area)) >= AIM)
    for one in readings:
        print(f"{one.model}: {one.cases} cases, AUROC {one.auroc:.3f}, at most {one.best:.1%} right", flush=True)
    print(f"{AIM:.0%} right needs an AUROC of {needed:.3f}")
    content = {"commit": commit(), "needed": float(needed), "readings": [asdict(one) for one in readings]}
    given.out.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draw(readings, path=given.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
