"""What an update of the heads learns from: drawn alike in all processes, each of which gathers its own part.

Dimensions: P patches, V width of the tower.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from osler.train.distributed import ALONE, Place
from osler.train.heads_recipe import HeadsRecipe
from osler.train.perception_batch import FilmBatch, VolumeBatch, any_view, film_batch, pick, volume_batch
from osler.train.perception_data import PerceptionData


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """What one process learns from in one update.

    Args:
        films: Of synthetic patients. xrays: Real ones, ``None`` where no process has any.
        volumes: ``None`` where this process has none.
        texts: Keys of the reports of the synthetic patients of all processes.
    """

    films: FilmBatch
    xrays: FilmBatch | None
    volumes: VolumeBatch | None
    texts: tuple[int, ...]


def draw_lesson(recipe: HeadsRecipe, *, step: int, data: PerceptionData, place: Place = ALONE) -> Lesson:
    """Draws an update's films, X-rays and volumes; the same for the same step.

    Of several processes each takes every so many-th patient, X-ray and volume: all of them once.
    """
    rng = np.random.default_rng([recipe.seed, step])
    chosen = pick(data.series, count=recipe.shares.series, rng=rng)
    films, rows, views, mine = [], [], [], []
    for turn, number in enumerate(chosen):
        first, count = data.first_film[number], len(data.series[number].films)
        if turn % place.world == place.rank:
            rows.append(range(len(mine), len(mine) + count))
            mine.extend(range(len(films), len(films) + count))
        films.extend(data.series[number].films)
        views.extend(any_view(data.films.views[first + film], rng=rng) for film in range(count))
    own = chosen[place.rank :: place.world]
    shown = film_batch(
        films,
        views=views,
        bank=data.films,
        findings=data.findings,
        rng=rng,
        series=rows,
        labs=[data.series[number].labs for number in own],
        texts=own,
        mine=mine,
    )
    xrays = volumes = None
    if recipe.shares.xrays and data.xrays:
        taken = _spread_kinds(data, count=recipe.shares.xrays, rng=rng)
        xrays = film_batch(
            [data.xrays[i] for i in taken],
            views=[any_view(data.xray_bank.views[i], rng=rng) for i in taken],
            bank=data.xray_bank,
            findings=data.findings,
            rng=rng,
            mine=range(place.rank, len(taken), place.world),
        )
    if recipe.shares.volumes and data.volumes:
        bank = data.volumes[step % len(data.volumes)]
        some = rng.integers(len(bank.views), size=recipe.shares.volumes)
        drawn = [any_view(bank.views[int(i)], rng=rng) for i in some][place.rank :: place.world]
        numbers = range(place.rank + 1, len(some) + 1, place.world)
        names = [f"volume {number} of the update" for number in numbers]
        volumes = volume_batch(drawn, bank=bank, names=names) if drawn else None
    return Lesson(films=shown, xrays=xrays, volumes=volumes, texts=tuple(chosen))


def _spread_kinds(data: PerceptionData, *, count: int, rng: np.random.Generator) -> list[int]:
    """Two fifths of the X-rays with boxes, the rest with findings."""
    boxed = [i for i, film in enumerate(data.xrays) if film.boxes is not None]
    others = [i for i, film in enumerate(data.xrays) if film.boxes is None]
    sizes = (count * 2 // 5, count - count * 2 // 5) if boxed and others else (count, 0) if boxed else (0, count)
    return [
        int(pool[int(i)]) for pool, size in zip((boxed, others), sizes, strict=True) if size
        for i in rng.integers(len(pool), size=size)
    ]  # fmt: skip


def named_inputs(lesson: Lesson) -> list[tuple[str, Tensor]]:
    """The features of each picture and volume, (P, V) of each slice, with its name."""
    batches = [lesson.films, *([lesson.xrays] if lesson.xrays is not None else [])]
    found = [pair for batch in batches for pair in zip(batch.names, batch.features, strict=True)]
    if lesson.volumes is not None:
        each = len(lesson.volumes.features) // len(lesson.volumes.names)
        found += zip(lesson.volumes.names, lesson.volumes.features.split(each), strict=True)
    return found
