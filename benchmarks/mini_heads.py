"""What the heads of a perception run reach on patients never seen, all in one pass over kept features.

    python -m benchmarks.mini_heads --recipe recipes/mini_perception.toml --held-films runs/films-test \
        --out benchmarks/mini_heads

The films of the held-out synthetic patients have a seed of their own; real patients are split by the hash of their
number. Intervals resample patients. Beside each figure stands what a blanked picture gets, and a constant answer.

Dimensions: N pictures, F findings, Q boxes, B volumes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.held_out_figures import Figure, Rows, table
from benchmarks.machine import commit, cpu_features
from osler.evaluate.metrics import auroc, calibration_error, ratio
from osler.model.heads import CHANGES, patch_positions, volume_features
from osler.train.cache_key import cache_key
from osler.train.calibration import Calibration, fit_calibration
from osler.train.checkpoints import load_state, restore_weights
from osler.train.finetune_state import SHARES
from osler.train.labeled_volumes import LabeledVolume, hippocampus_volumes, phantom_volumes
from osler.train.labeled_xrays import (
    LabeledXray,
    XraySeries,
    calibration_part,
    real_xrays,
    synthetic_series,
    xray_findings,
)
from osler.train.perception_bank import FeatureBank, fill_bank
from osler.train.perception_batch import film_batch, known_findings
from osler.train.perception_data import last_exams, report_states, reports_of, states_of
from osler.train.perception_losses import progression_scores
from osler.train.perception_parts import settle_states
from osler.train.perception_stage import PerceptionTrainee, new_config
from osler.train.presence import LUNGS
from osler.train.recipe import PerceptionRecipe, load_recipes
from osler.weights import Checkpoint, load_checkpoint

HELD_SEED = 12
_DRAWS = 1000
_AT_ONCE = 24
_LEAST_POSITIVE = 3


class Bench:
    """A run's weights and the held-out sets.

    Args:
        recipe: Of the run. held_films: Folder with films of the seed `HELD_SEED`. banks: Folder for features.
    """

    def __init__(self, recipe: PerceptionRecipe, *, held_films: Path, banks: Path) -> None:
        self.recipe, self.held_films, self.banks = recipe, held_films, banks
        self.base: Checkpoint = load_checkpoint(recipe.base, dtype="bfloat16")
        self.findings = xray_findings()
        config = new_config(self.base.model.config, findings=self.findings, trunk=recipe.trunk, states=recipe.states)
        self.trainee = PerceptionTrainee(self.base.model, config=config)
        state = load_state(Path(recipe.out))
        if (Path(recipe.out) / SHARES).is_dir():
            raise SystemExit(f"mini_heads: {recipe.out} was saved by several processes: only runs of one are measured.")
        if state is not None:
            restore_weights(self.trainee.state_dict(), {**state.parts["weights"], **state.parts.get("mean", {})})
        self.step = 0 if state is None else state.step
        if recipe.states == "batch":
            rows = [np.load(Path(recipe.banks) / name / "rows.npy", mmap_mode="r") for name in ("films", "xrays")]
            settle_states(self.trainee.heads, banks=[FeatureBank(rows=part, views=()) for part in rows])
        self.trainee.eval()
        root = Path(recipe.data)
        self.held = list(real_xrays(root, split="held-out"))
        learned, self.kept = calibration_part(real_xrays(root, split="train"))
        self.learned = learned

    def bank(self, name: str, items: Sequence[LabeledXray] | Sequence[LabeledVolume]) -> FeatureBank:
        """Features of items, without augmentation."""
        tower = self.base.model.vision
        assert tower is not None
        key = cache_key(weights=self.base.key, owners=[(item.source, item.patient) for item in items])
        return fill_bank(
            self.banks / name,
            items=items,
            views=1,
            tower=tower,
            layers=len(tower.encoder.layers) - self.recipe.trunk,
            preprocess=self.base.preprocess,
            slices=self.recipe.slices,
            key=key,
            seed=0,
            workers=1,
        )

    @torch.no_grad()
    def trunk(self, rows_NPV: Tensor) -> Tensor:
        """What the heads read, (N, P, V) float32."""
        with torch.autocast("cpu", torch.bfloat16):
            parts = [self.trainee.heads.trunk(part).float() for part in rows_NPV.split(_AT_ONCE)]
        return torch.cat(parts)

    def features(self, bank: FeatureBank) -> Tensor:
        """Of the first view of every picture of a bank."""
        return self.trunk(bank.features([views[0].row for views in bank.views]))

    @cached_property
    def blank(self) -> Tensor:
        """Features of a black picture, (1, P, V)."""
        size = self.base.preprocess.image_size
        black = LabeledXray(
            pixels=np.zeros((size, size), np.uint8), boxes=None, findings={}, source="blank", patient="blank"
        )
        return self.features(self.bank("blank", [black]))

    @torch.no_grad()
    def boxes(self, features_NMV: Tensor, labels: Sequence[str], *, places_NM3: Tensor) -> Tensor:
        """Boxes (N, Q, 6) of labels."""
        states = states_of(list(labels), checkpoint=self.base)
        text_NQC = torch.stack([states[label] for label in labels]).expand(len(features_NMV), -1, -1)
        found, _ = self.trainee.heads.boxes(text_NQC, features_BMV=features_NMV, positions_BM3=places_NM3)
        return found


def overlap(found: Sequence[float], wanted: Sequence[float]) -> float:
    """Intersection over union of boxes given as low edges and high edges; a box may be empty."""
    first, second = np.array(found).reshape(2, -1), np.array(wanted).reshape(2, -1)
    both = np.clip(np.minimum(first[1], second[1]) - np.maximum(first[0], second[0]), 0, None).prod()
    return float(both / ((first[1] - first[0]).prod() + (second[1] - second[0]).prod() - both))


def lung_boxes(bench: Bench) -> Iterator[Figure]:
    """Lungs of real X-rays."""
    held = [film for film in bench.held if film.boxes]
    bank = bench.bank("held-lungs", held)
    side = int(bank.rows.shape[1] ** 0.5)
    places_NP3 = patch_positions(side).expand(len(held), -1, -1)
    found = bench.boxes(bench.features(bank), LUNGS, places_NM3=places_NP3)
    blind = bench.boxes(bench.blank, LUNGS, places_NM3=places_NP3[:1])[0]
    mean = {}
    for label in LUNGS:
        known = [(film, film.boxes[label]) for film in bench.learned if film.boxes and label in film.boxes]
        sizes = [np.array([*film.pixels.shape[::-1]] * 2) for film, _ in known]
        mean[label] = np.mean([np.array(box) / size for (_, box), size in zip(known, sizes, strict=True)], axis=0)
    rows, black, fixed = Rows(), Rows(), Rows()
    flat = [0, 1, 3, 4]
    for number, film in enumerate(held):
        wanted_boxes = bank.views[number][0].boxes or {}
        for place, label in enumerate(LUNGS):
            if label not in wanted_boxes:
                continue
            wanted = wanted_boxes[label]
            for kind, box in ((rows, found[number, place, flat]), (black, blind[place, flat]), (fixed, mean[label])):
                kind.add(overlap([float(edge) for edge in box], wanted), 1.0, patient=f"{film.source} {film.patient}")
    value, low, high = rows.interval(ratio)
    yield Figure(
        task="lung boxes, mean IoU", data="Montgomery, lung-boxes, Hannover", value=value, low=low, high=high,
        count=f"{len(rows.values)} boxes, {len(held)} films", blanked=black.interval(ratio)[0],
        constant=fixed.interval(ratio)[0], aim="0.75",
    )  # fmt: skip


def volume_boxes(bench: Bench) -> Iterator[Figure]:
    """3D boxes of hippocampi (real) and of organs (phantoms)."""
    root, slices, contract = Path(bench.recipe.data), bench.recipe.slices, bench.base.preprocess
    load = partial(hippocampus_volumes, root, preprocess=contract, slices=3 * slices)
    drawn = phantom_volumes(seed=HELD_SEED, patients=range(120), preprocess=contract, slices=2 * slices)
    phantoms = [volume for volume, _ in zip(drawn, range(24), strict=False)]
    learned = phantom_volumes(
        seed=bench.recipe.film_seed, patients=range(2_000_000, 2_000_120), preprocess=contract, slices=4
    )
    for name, aim, held, seen in (
        ("hippocampus", "0.60", list(load(split="held-out")), list(load(split="train"))),
        ("phantom organs", "reported", phantoms, [volume for volume, _ in zip(learned, range(24), strict=False)]),
    ):
        labels = ("hippocampus",) if name == "hippocampus" else tuple(sorted({x for v in held for x in v.boxes}))
        regions = {v.region for v in (*held, *seen)}  # a mean of chest and abdomen fits neither
        mean = {
            (region, x): np.mean(boxes, axis=0)
            for region in regions
            for x in labels
            if (boxes := [v.boxes[x] for v in seen if v.region == region and x in v.boxes])
        }
        bank = bench.bank(f"held-{name}".replace(" ", "-"), held)
        side = int(bank.rows.shape[1] ** 0.5)
        rows, black, fixed = Rows(), Rows(), Rows()
        for number, volume in enumerate(held):
            (view,) = bank.views[number]
            shown = bench.trunk(bank.features(range(view.row, view.row + len(view.depth))))
            for kind, features in ((rows, shown), (black, bench.blank.expand(len(shown), -1, -1))):
                pooled, places = volume_features(features, depth_BS=torch.tensor([view.depth]), side=side)
                found = bench.boxes(pooled, labels, places_NM3=places)[0]
                for place, label in enumerate(labels):
                    if label in volume.boxes:
                        kind.add(overlap(found[place], volume.boxes[label]), 1.0, patient=volume.patient, group=label)
            for label in labels:
                if label in volume.boxes:
                    constant = mean.get((volume.region, label))
                    share = 0.0 if constant is None else overlap(constant, volume.boxes[label])
                    fixed.add(share, 1.0, patient=volume.patient, group=label)
        value, low, high = rows.interval(ratio)
        yield Figure(
            task="3D boxes, mean IoU", data=name, value=value, low=low, high=high,
            count=f"{len(rows.values)} boxes, {len(held)} volumes", blanked=black.interval(ratio)[0],
            constant=fixed.interval(ratio)[0], aim=aim,
        )  # fmt: skip


@torch.no_grad()
def finding_logits(bench: Bench, films: Sequence[LabeledXray], *, name: str) -> Tensor:
    """Logits (N, F) of films."""
    _, logits_NF = bench.trainee.heads.findings(bench.features(bench.bank(name, films)))
    return logits_NF


def findings(bench: Bench) -> Iterator[Figure]:
    """Findings of NIH films: discrimination, and probabilities after calibration on kept-out patients."""
    held = [film for film in bench.held if film.findings]
    kept = [film for film in bench.kept if film.findings]
    fitted = fit_calibration(
        finding_logits(bench, kept, name="kept-nih"), wanted_NF=known_findings(kept, findings=bench.findings)
    )
    logits, wanted = finding_logits(bench, held, name="held-nih"), known_findings(held, findings=bench.findings)
    yield from _of_findings(
        logits, wanted, held, fitted=fitted, names=bench.findings, data="NIH", aims=("0.70", "< 0.05")
    )
    raw = Calibration(
        scale_F=torch.ones(len(bench.findings)), shift_F=torch.zeros(len(bench.findings)), films_F=fitted.films_F,
        shown_F=fitted.shown_F,
    )  # fmt: skip
    last = list(
        _of_findings(logits, wanted, held, fitted=raw, names=bench.findings, data="NIH, not calibrated", aims=("", ""))
    )
    yield last[1]
    series = bench_series(bench)
    films = [film for item in series for film in item.films]
    logits = finding_logits(bench, films, name="held-films")
    wanted = known_findings(films, findings=bench.findings)
    wanted = torch.where(wanted == 0.5, torch.nan, wanted)
    yield next(
        _of_findings(logits, wanted, films, fitted=raw, names=bench.findings, data="synthetic", aims=("reported", ""))
    )


def _of_findings(
    logits: Tensor,
    wanted: Tensor,
    films: Sequence[LabeledXray],
    *,
    fitted: Calibration,
    names: Sequence[str],
    data: str,
    aims: tuple[str, str],
) -> Iterator[Figure]:
    rows, scores = Rows(), Rows()
    probabilities = fitted.probabilities(logits)
    each = {}
    for place, name in enumerate(names):
        column = wanted[:, place]
        shown = int((column == 1).sum())
        if shown >= _LEAST_POSITIVE:
            one = Rows()
            for number in torch.nonzero(~column.isnan())[:, 0].tolist():
                for kind in (scores, one):
                    kind.add(logits[number, place], column[number], patient=films[number].patient, group=name)
            each[name] = (*one.interval(auroc), shown)
        for number in torch.nonzero(~column.isnan())[:, 0].tolist():
            if not bool(probabilities[number, place].isnan()):
                rows.add(probabilities[number, place], column[number], patient=films[number].patient)
    value, low, high = scores.interval(auroc, over="groups")
    told = ", ".join(f"{name} {a:.2f} ({n})" for name, (a, _, _, n) in sorted(each.items(), key=lambda x: -x[1][0]))
    yield Figure(
        task="findings, macro AUROC", data=data, value=value, low=low, high=high, constant=0.5,
        blanked=0.5, aim=aims[0],
        count=f"{len(films)} films, {len(each)} findings of {_LEAST_POSITIVE} films or more", notes=told,
    )  # fmt: skip
    value, low, high = rows.interval(calibration_error)
    yield Figure(
        task="findings, calibration error", data=data, value=value, low=low, high=high, aim=aims[1],
        count=f"{len(rows.values)} labels",
    )  # fmt: skip


def bench_series(bench: Bench) -> list[XraySeries]:
    """The held-out synthetic patients."""
    return list(synthetic_series(bench.held_films, seed=HELD_SEED))


@torch.no_grad()
def progression(bench: Bench) -> Iterator[Figure]:
    """What became of findings that are there at one date at least."""
    series = bench_series(bench)
    films = [film for item in series for film in item.films]
    bank = bench.bank("held-films", films)
    states = states_of(sorted({name for item in series for name, _, _ in item.labs}), checkpoint=bench.base)
    blind_FV = bench.trainee.heads.findings(bench.blank)[0]

    class _Texts:
        lab_states = states

    kinds = {"asked": Rows(), "argmax": Rows(), "balanced": Rows(), "blanked": Rows(), "stable": Rows()}
    start = 0
    for item in series:
        numbers = range(start, start + len(item.films))
        start += len(item.films)
        views = [bank.views[number][0] for number in numbers]
        batch = film_batch(
            item.films, views=views, bank=bank, findings=bench.findings, rng=None, series=[range(len(views))],
            labs=[item.labs],
        )  # fmt: skip
        state_NFV, _ = bench.trainee.heads.findings(bench.trunk(batch.features))
        scored = {}
        for kind, state in (("seen", state_NFV), ("blanked", blind_FV.expand_as(state_NFV))):
            scored[kind], wanted = progression_scores(bench.trainee, batch, state, data=_Texts, time=bench.recipe.time)  # type: ignore[arg-type]
        for film, finding in torch.nonzero(wanted > 0).tolist():
            truth = int(wanted[film, finding])
            scores, blank = scored["seen"][film, finding], scored["blanked"][film, finding]
            told = int(scores[1:].argmax()) + 1
            about = {"patient": item.films[0].patient, "group": CHANGES[truth]}
            kinds["asked"].add(told == truth, 1.0, **about)
            kinds["argmax"].add(int(scores.argmax()) == truth, 1.0, **about)
            kinds["blanked"].add(int(blank[1:].argmax()) + 1 == truth, 1.0, **about)
            kinds["stable"].add(truth == CHANGES.index("stable"), 1.0, **about)
    asked = kinds["asked"]
    count = f"{len(asked.values)} findings, {len(series)} patients, 2 to 4 dates"
    blanked, stable = (kinds[name].interval(ratio)[0] for name in ("blanked", "stable"))
    each = ", ".join(
        f"{name} {np.mean([v for v, g in zip(asked.values, asked.groups, strict=True) if g == name]):.2f}"
        f" ({asked.groups.count(name)})"
        for name in sorted(set(asked.groups))
    )
    for task, kind, over in (
        ("progression, accuracy", "asked", "all"),
        ("progression, mean over classes", "asked", "groups"),
        ("progression with absent as a choice", "argmax", "all"),
    ):
        value, low, high = kinds[kind].interval(ratio, over=over)
        yield Figure(
            task=task, data="synthetic", value=value, low=low, high=high, count=count,
            blanked=kinds["blanked"].interval(ratio, over=over)[0] if over == "groups" else blanked,
            constant=kinds["stable"].interval(ratio, over=over)[0] if over == "groups" else stable,
            aim="0.85" if kind == "asked" and over == "all" else "", notes=each if over == "groups" else "",
        )  # fmt: skip


@torch.no_grad()
def retrieval(bench: Bench) -> Iterator[Figure]:
    """The own report of a film among those of all held-out synthetic patients."""
    series = bench_series(bench)
    films = [film for item in series for film in item.films]
    bank, place, last = bench.bank("held-films", films), -1, []
    for item in series:
        place += len(item.films)
        last.append(place)
    texts = reports_of(last_exams(bench.held_films), seed=HELD_SEED)
    patients = [int(item.films[0].patient) for item in series]
    states = report_states([texts[patient] for patient in patients], checkpoint=bench.base)
    head = bench.trainee.heads.contrastive
    images = head.images(bench.trunk(bank.features([bank.views[number][0].row for number in last])))
    scores = images @ head.texts(states).T
    rows = Rows()
    for number, patient in enumerate(patients):
        rank = int((scores[number] > scores[number, number]).sum())
        rows.add(rank < 5, 1.0, patient=str(patient))
    value, low, high = rows.interval(ratio)
    yield Figure(
        task="retrieval of the own report, R@5", data="synthetic", value=value, low=low, high=high,
        constant=5 / len(series), count=f"{len(series)} films and reports", aim="against chance",
    )  # fmt: skip


TASKS = {
    "lungs": lung_boxes,
    "volumes": volume_boxes,
    "findings": findings,
    "progression": progression,
    "retrieval": retrieval,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--run", default="", help="folder of the run, if another than the recipe's")
    parser.add_argument("--data", default="")
    parser.add_argument("--time", default="", choices=["", "attention", "none"])
    parser.add_argument("--held-films", required=True)
    parser.add_argument("--banks", default="runs/held-banks")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--out", default="")
    given = parser.parse_args()
    (recipe,) = load_recipes(given.recipe)
    assert isinstance(recipe, PerceptionRecipe)
    changes = {name: value for name, value in (("out", given.run), ("data", given.data), ("time", given.time)) if value}
    recipe = replace(recipe, **changes)
    torch.set_num_threads(1)
    bench = Bench(recipe, held_films=Path(given.held_films), banks=Path(given.banks))
    figures = []
    for name in given.tasks.split(","):
        for figure in TASKS[name](bench):
            figures.append(figure)
            span = f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"
            beside = f"blanked {figure.blanked}, constant {figure.constant}"
            print(f"{figure.task} [{figure.data}] {span} {beside} {figure.count} {figure.notes}", flush=True)
    if given.out:
        content = {
            "commit": commit(),
            "cpu": cpu_features(),
            "step": bench.step,
            "figures": [asdict(one) for one in figures],
        }
        Path(given.out).with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        text = f"# Heads of Osler-mini on patients never seen\n\nAfter {bench.step} updates.\n\n{table(figures)}\n"
        Path(given.out).with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
