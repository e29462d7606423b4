"""What the decoder learns from in a joint run: questions on the films that the heads learn from, too.

Dimensions: P patches, V width of the tower.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from osler.errors import DataError
from osler.model.vision import VisionTower
from osler.prepare import PreparedImages
from osler.train.film_lessons import film_lessons
from osler.train.film_samples import FilmSamples
from osler.train.heads_recipe import JointRecipe
from osler.train.local_table import is_kept_out
from osler.train.synthetic_films import read_films
from osler.train.taught import ChosenOrder
from osler.weights.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JointAnswers:
    """Questions with answers.

    Args:
        source: All of them; of images it has what the frozen layers of the tower make, (1, P, V).
        order: Of those that are learned from. judges: Numbers of those that measure, of other patients.
        counts: Of those that are learned from, by task.
    """

    source: FilmSamples
    order: ChosenOrder
    judges: tuple[int, ...]
    counts: dict[str, int]


def open_answers(
    recipe: JointRecipe,
    *,
    checkpoint: Checkpoint,
    patients: Collection[str],
    on_film: Callable[[int, int], None] | None = None,
) -> JointAnswers:
    """Draws the questions on the rendered films and encodes the films, once.

    Args:
        recipe: Names the films and tasks.
        checkpoint: Whose tower encodes.
        patients: Synthetic patients that the heads learn from: no others are learned from here.
        on_film: See `FilmSamples`.

    Raises:
        DataError: If nothing is left to learn from.
    """
    wanted, tower = recipe.answers, checkpoint.model.vision
    assert tower is not None
    films = tuple(read_films(Path(recipe.films)))
    lessons = film_lessons(films, tasks=wanted.tasks, seed=recipe.film_seed)  # type: ignore[arg-type]
    owners = [str(films[lesson.film].patient) for lesson in lessons]
    kept_out = [is_kept_out(f"synthetic {patient}", share=wanted.kept_out) for patient in owners]
    used = [i for i, patient in enumerate(owners) if patient in patients and not kept_out[i]]
    judges = [i for i, kept in enumerate(kept_out) if kept]
    if not used:
        raise DataError(f"The films in {recipe.films!r} give no lesson.", next_step="Raise film_patients.")
    layers = len(tower.encoder.layers) - recipe.trunk
    source = FilmSamples(
        films,
        lessons,
        checkpoint=checkpoint,
        encode=lambda prepared: _frozen_features(tower, prepared, layers=layers),
        folder=Path(recipe.banks) / f"answers-{layers}-layers",
        boxes_read="images",
        on_progress=on_film,
    )
    most = min(wanted.judged, len(judges))
    return JointAnswers(
        source=source,
        order=ChosenOrder(used, seed=recipe.seed),
        judges=tuple(judges[i * len(judges) // most] for i in range(most)),
        counts={task: sum(lessons[i].task == task for i in used) for task in wanted.tasks},
    )


@torch.no_grad()
def _frozen_features(tower: VisionTower, prepared: PreparedImages, *, layers: int) -> Tensor:
    return tower.forward_to(torch.from_numpy(prepared.pixels.array()), layers=layers)
