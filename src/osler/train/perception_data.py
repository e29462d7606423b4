"""Everything that the perception stage reads, opened or rendered once.

Dimensions: K texts, C width of a text state, L tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor

from osler.engine.head_features import text_states
from osler.errors import RequestError
from osler.prepare import Preprocess
from osler.synth.iterate import iterate_reports
from osler.train.cache_key import cache_key
from osler.train.checkpoints import save_tensors
from osler.train.heads_recipe import HeadsRecipe
from osler.train.labeled_volumes import (
    LabeledVolume,
    hippocampus_volumes,
    phantom_volumes,
    read_volumes,
    write_volumes,
)
from osler.train.labeled_xrays import (
    LabeledXray,
    XraySeries,
    calibration_part,
    real_xrays,
    synthetic_series,
    xray_findings,
)
from osler.train.local_table import is_kept_out
from osler.train.perception_bank import FeatureBank, fill_bank
from osler.train.synthetic_films import FilmRequest, read_films, render_films
from osler.weights import Checkpoint
from osler.weights.safetensors_io import read_safetensors

REPORT_TOKENS = 160
"""Tokens of a report that its state is made of."""

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all."""

_BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerceptionData:
    """Training data in memory.

    Args:
        findings: Keys in the order of the head's queries.
        series: Synthetic patients. first_film: Number of each one's first film in the bank ``films``.
        xrays: Real X-rays, without those that calibrate; their features are in ``xray_bank``.
        kept: Real X-rays of patients that only calibrate; their features are in ``kept_bank``.
        volumes: A bank for each kind of volume, drawn from in turn.
        label_states: Text state of each label that boxes are asked by. lab_states: Of each laboratory value.
        report_states: (K, C), the report of each series' last film.
    """

    findings: tuple[str, ...]
    series: tuple[XraySeries, ...]
    first_film: tuple[int, ...]
    films: FeatureBank
    xrays: tuple[LabeledXray, ...]
    xray_bank: FeatureBank
    kept: tuple[LabeledXray, ...]
    kept_bank: FeatureBank
    volumes: tuple[FeatureBank, ...]
    label_states: dict[str, Tensor]
    lab_states: dict[str, Tensor]
    report_states: Tensor
    preprocess: Preprocess


def open_perception_data(
    recipe: HeadsRecipe, *, checkpoint: Checkpoint, on_report: Progress | None = None
) -> PerceptionData:
    """Opens the sets, renders what is not there, and computes text states.

    Args:
        recipe: Names the sets. checkpoint: Whose tower and decoder are read.
        on_report: See `report_states`.

    Raises:
        RequestError: If the data folder is not right.
        DataError: If rendering fails.
    """
    root = Path(recipe.data)
    if not (root / "cxr").is_dir():
        raise RequestError(
            f"No training data at {root}.", allowed="A folder with cxr/ and mr/, as the model card lists them."
        )
    films = Path(recipe.films)
    request = FilmRequest(seed=recipe.film_seed, patients=recipe.film_patients, size=checkpoint.preprocess.image_size)
    render_films(films, request=request, workers=recipe.workers)
    series = tuple(synthetic_series(films, seed=recipe.film_seed))
    xrays, kept = calibration_part(real_xrays(root, split="train"))
    kept = [film for film in kept if film.findings]
    hippocampi = tuple(
        hippocampus_volumes(root, split="train", preprocess=checkpoint.preprocess, slices=3 * recipe.slices)
    )
    phantoms = _phantoms(recipe, preprocess=checkpoint.preprocess)
    kinds = tuple(kind for kind in (hippocampi, phantoms) if kind)
    every = [film for item in series for film in item.films]
    bank = partial(_bank, recipe, checkpoint=checkpoint)
    labels = {label for item in series for film in item.films for label in (*(film.boxes or ()), *film.findings)}
    labels |= {label for film in xrays for label in film.boxes or ()}
    labels |= {label for kind in kinds for volume in kind for label in volume.boxes}
    labs = {name for item in series for name, _, _ in item.labs}
    return PerceptionData(
        findings=xray_findings(),
        series=series,
        first_film=tuple(accumulate((len(item.films) for item in series[:-1]), initial=0)),
        films=bank("films", every, views=recipe.views.films),
        xrays=tuple(xrays),
        xray_bank=bank("xrays", xrays, views=recipe.views.xrays),
        kept=tuple(kept),
        kept_bank=bank("kept", kept, views=1),
        volumes=tuple(bank(kind[0].source, kind, views=recipe.views.volumes) for kind in kinds),
        label_states=states_of(sorted(labels), checkpoint=checkpoint),
        lab_states=states_of(sorted(labs), checkpoint=checkpoint),
        report_states=_report_states(recipe, checkpoint=checkpoint, films=films, on_report=on_report),
        preprocess=checkpoint.preprocess,
    )


def share_of(data: PerceptionData, *, series: float, xrays: float) -> PerceptionData:
    """Keeps the patients whose hash lies in a share, of the synthetic and of the real ones.

    Raises:
        RequestError: If no synthetic patient is left.
    """

    def kept(films: Sequence[LabeledXray], *, share: float) -> list[int]:
        digests = (sha256(f"share:{film.source}:{film.patient}".encode()).digest() for film in films)
        return [i for i, digest in enumerate(digests) if int.from_bytes(digest[:4], "big") < share * 2**32]

    some = kept([item.films[0] for item in data.series], share=series)
    real = kept(data.xrays, share=xrays)
    if not some:
        raise RequestError(
            f"A share of {series} of {len(data.series)} synthetic patients is nobody.", next_step="Raise series_share."
        )
    views = tuple(data.xray_bank.views[i] for i in real)
    return replace(
        _of_series(data, some),
        xrays=tuple(data.xrays[i] for i in real),
        xray_bank=replace(data.xray_bank, views=views),
    )


def without_kept_out(data: PerceptionData, *, share: float) -> PerceptionData:
    """Takes out the synthetic patients whom films with questions are kept out for (`is_kept_out`).

    Raises:
        RequestError: If no synthetic patient is left.
    """
    first = [item.films[0] for item in data.series]
    some = [i for i, film in enumerate(first) if not is_kept_out(f"{film.source} {film.patient}", share=share)]
    if not some:
        raise RequestError("All synthetic patients are kept out.", next_step="Keep out fewer, or raise film_patients.")
    return _of_series(data, some)


def _of_series(data: PerceptionData, some: Sequence[int]) -> PerceptionData:
    return replace(
        data,
        series=tuple(data.series[i] for i in some),
        first_film=tuple(data.first_film[i] for i in some),
        report_states=data.report_states[list(some)],
    )


def _bank(
    recipe: HeadsRecipe,
    name: str,
    items: Sequence[LabeledXray] | Sequence[LabeledVolume],
    *,
    views: int,
    checkpoint: Checkpoint,
) -> FeatureBank:
    tower = checkpoint.model.vision
    assert tower is not None
    owners = [(item.source, item.patient) for item in items]
    return fill_bank(
        Path(recipe.banks) / name,
        items=items,
        views=views,
        tower=tower,
        layers=len(tower.encoder.layers) - recipe.trunk,
        preprocess=checkpoint.preprocess,
        slices=recipe.slices,
        key=cache_key(weights=checkpoint.key, owners=owners),
        seed=recipe.seed,
        workers=recipe.workers,
    )


def states_of(texts: Sequence[str], *, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Text states of labels and names, as the heads get them in use; float32."""
    # A copy: what was computed for use only takes no part in a backward pass.
    return dict(zip(texts, text_states(checkpoint, texts).float().clone(), strict=True)) if texts else {}


def _phantoms(recipe: HeadsRecipe, *, preprocess: Preprocess) -> tuple[LabeledVolume, ...]:
    if not recipe.phantoms:
        return ()
    key = cache_key(count=recipe.phantoms, slices=recipe.slices, seed=recipe.film_seed, contract=preprocess.hash)
    path = Path(recipe.banks) / f"phantoms-{key[:16]}.npz"
    if not path.is_file():
        patients = range(1_000_000, 1_000_000 + recipe.phantoms * 3)
        found = phantom_volumes(
            seed=recipe.film_seed, patients=patients, preprocess=preprocess, slices=2 * recipe.slices
        )
        write_volumes(path, [volume for volume, _ in zip(found, range(recipe.phantoms), strict=False)])
    return tuple(read_volumes(path))


def _report_states(recipe: HeadsRecipe, *, checkpoint: Checkpoint, films: Path, on_report: Progress | None) -> Tensor:
    """State of the report of each series' last film, computed once."""
    last = last_exams(films)
    key = cache_key(wanted=sorted(last.items()), weights=checkpoint.key, tokens=REPORT_TOKENS)
    path = Path(recipe.banks) / "reports.safetensors"
    if path.is_file():
        kept = read_safetensors(path)
        if kept.metadata.get("key") == key:
            return kept.tensors["states"]
    texts = reports_of(last, seed=recipe.film_seed)
    states = report_states(list(texts.values()), checkpoint=checkpoint, on_report=on_report)
    save_tensors(path, {"states": states}, metadata={"key": key})
    return states


def last_exams(films: Path) -> dict[int, int]:
    """The exam of each patient's last film."""
    last: dict[int, int] = {}
    for film in read_films(films):
        last[film.patient] = max(film.exam, last.get(film.patient, 0))
    return last


def reports_of(exams: Mapping[int, int], *, seed: int) -> dict[int, str]:
    """The report of one exam of each synthetic patient."""
    texts = dict.fromkeys(exams, "")
    for sample in iterate_reports(seed=seed, stop=max(exams) + 1):
        if exams.get(sample.patient) == sample.exam:
            texts[sample.patient] = sample.report
    return texts


@torch.no_grad()
def report_states(texts: Sequence[str], *, checkpoint: Checkpoint, on_report: Progress | None = None) -> Tensor:
    """Mean of the decoder's last hidden states over each text, (K, C) float32.

    Args:
        texts: Reports; their first `REPORT_TOKENS` tokens are read.
        checkpoint: Whose decoder reads them.
        on_report: Called with the reports done and in all.
    """
    decoder, tokens = checkpoint.model.decoder, checkpoint.model.config.tokens
    ids = [[tokens.bos, *checkpoint.tokenizer.encode(text)[:REPORT_TOKENS]] for text in texts]
    states_KC = torch.empty(len(ids), checkpoint.model.config.decoder.width)
    by_length = sorted(range(len(ids)), key=lambda number: len(ids[number]))  # so that little is padded
    for start in range(0, len(ids), _BATCH):
        chosen = by_length[start : start + _BATCH]
        longest = len(ids[chosen[-1]])
        ids_BL = torch.full((len(chosen), longest), tokens.pad)
        padding_BL = torch.ones(len(chosen), longest, dtype=torch.bool)
        for row, number in enumerate(chosen):
            ids_BL[row, : len(ids[number])] = torch.tensor(ids[number])
            padding_BL[row, : len(ids[number])] = False
        positions_BL = torch.arange(longest).expand(len(chosen), -1)
        hidden_BLC = decoder(decoder.embed(ids_BL), positions_BL=positions_BL, padding_BL=padding_BL).float()
        kept = (~padding_BL)[..., None].float()
        states_KC[chosen] = (hidden_BLC * kept).sum(1) / kept.sum(1)
        if on_report is not None:
            on_report(start + len(chosen), len(ids))
    return states_KC
