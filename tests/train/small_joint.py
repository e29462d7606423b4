"""A small joint run for tests: rendered films of synthetic patients, of which some stand for real ones."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
import torch

from osler.train.heads_recipe import FilmAnswers, FilmShares
from osler.train.labeled_volumes import LabeledVolume
from osler.train.labeled_xrays import synthetic_series, xray_findings
from osler.train.perception_bank import fill_bank
from osler.train.perception_data import PerceptionData
from osler.train.recipe import JointRecipe, OptimizerConfig
from osler.train.synthetic_films import FilmRequest, render_films
from osler.weights.checkpoint import load_checkpoint

KEPT_OUT = 0.3
PATIENTS = 30


def write_films(folder: Path) -> Path:
    """Renders films of synthetic patients."""
    render_films(folder, request=FilmRequest(seed=11, patients=PATIENTS, size=64), workers=1)
    return folder


def joint_data(folder: Path, *, base: Path, films: Path) -> PerceptionData:
    """What the heads learn from; the same whenever it is opened with the same folder."""
    checkpoint = load_checkpoint(base, dtype="float32")
    series = tuple(synthetic_series(films, seed=11))
    every = [film for item in series for film in item.films]
    real = [dataclasses.replace(film, source="nih", changes={}) for film in every[:6]]
    rng = np.random.default_rng(0)
    volume = LabeledVolume(
        slices=rng.integers(0, 255, (4, 32, 32, 3)).astype(np.uint8),
        depth=np.array([0.1, 0.4, 0.6, 0.9], dtype=np.float32),
        boxes={"hippocampus": (0.2, 0.3, 0.1, 0.7, 0.8, 0.9)},
        source="hippocampus",
        patient="1",
    )
    assert checkpoint.model.vision is not None
    bank = partial(
        fill_bank,
        views=1,
        tower=checkpoint.model.vision,
        layers=1,
        preprocess=checkpoint.preprocess,
        slices=3,
        key="drawn",
        seed=0,
        workers=1,
    )
    width, generator = checkpoint.model.config.decoder.width, torch.Generator().manual_seed(1)
    labels = {label for film in every for label in (*(film.boxes or ()), *film.findings)} | {"hippocampus"}
    labs = {name for item in series for name, _, _ in item.labs}
    firsts = np.cumsum([0, *(len(item.films) for item in series[:-1])])
    return PerceptionData(
        findings=xray_findings(),
        series=series,
        first_film=tuple(int(first) for first in firsts),
        films=bank(folder / "films", items=every),
        xrays=tuple(real),
        xray_bank=bank(folder / "xrays", items=real),
        kept=tuple(real[:4]),
        kept_bank=bank(folder / "kept", items=real[:4]),
        volumes=(bank(folder / "volumes", items=[volume]),),
        label_states={name: torch.randn(width, generator=generator) for name in sorted(labels)},
        lab_states={name: torch.randn(width, generator=generator) for name in sorted(labs)},
        report_states=torch.randn(len(series), width, generator=generator),
        preprocess=checkpoint.preprocess,
    )


def joint_recipe(out: Path, *, base: Path, films: Path) -> JointRecipe:
    """Four updates of all losses, in float32."""
    return JointRecipe(
        stage="joint",
        data="unused",
        out=str(out),
        films=str(films),
        banks=str(out.parent / "encoded"),
        base=str(base),
        film_patients=PATIENTS,
        trunk=1,
        save_every=2,
        precision="float32",
        skills=("boxes",),
        shares=FilmShares(series=3, xrays=2, volumes=1),
        answers=FilmAnswers(samples=3, micro_batch=2, rank=2, kept_out=KEPT_OUT, judged=4),
        optimizer=OptimizerConfig(steps=4, batch=1, learning_rate=1e-2, warmup=2, average=0.0),
    )
