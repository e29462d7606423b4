"""The retention term of a fine-tuning run: what the adapter must leave as it was.

Dimensions: P positions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from osler.errors import RequestError
from osler.train.distributed import Place
from osler.train.finetune_model import Learner
from osler.train.recall import RecallConfig, draw_recall, recall_loss, recall_texts
from osler.train.recipe import FinetuneRecipe

_STREAM = 23
"""Of the seeds of an update, so that texts are drawn apart from samples."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Retention:
    """Holds an adapted decoder to its base on plain text that the base wrote.

    Args:
        learner: Whose adapter learns.
        texts: To recall, (texts, length).
        config: How often and how much. seed: Of the draws. precision: Of the products.
    """

    learner: Learner
    texts: Tensor
    config: RecallConfig
    seed: int
    precision: str

    def gradients(self, step: int) -> float | None:
        """Adds the gradients of an update; returns the divergence in nats without its weight, ``None`` if not due."""
        if step % self.config.every:
            return None
        rng = np.random.default_rng([self.seed, _STREAM, step])
        model = self.learner.model
        batch = draw_recall(self.texts, config=self.config, pad=model.config.tokens.pad, rng=rng)
        with torch.autocast(model.decoder.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            divergence = recall_loss(model, batch.to(model.decoder.device))
        (self.config.weight * divergence).backward()
        return float(divergence.detach())


def open_retention(recipe: FinetuneRecipe, *, learner: Learner, folder: Path, place: Place) -> Retention | None:
    """Samples the texts, before anything was learned, or reads them; ``None`` where the recipe has no such term.

    Raises:
        RequestError: With more than one process.
        CheckpointError: If the texts cannot be written.
    """
    if not recipe.recall.weight > 0:
        return None
    if place.world > 1:
        raise RequestError(
            f"recall.weight is {recipe.recall.weight!r} with {place.world} processes.",
            allowed="A retention term with one process only.",
            next_step="Set recall.weight to 0, or start one process.",
        )
    texts = recall_texts(
        learner.model,
        tokenizer=learner.checkpoint.tokenizer,
        config=recipe.recall,
        seed=recipe.seed,
        path=folder / "recall.safetensors",
    )
    return Retention(learner=learner, texts=texts, config=recipe.recall, seed=recipe.seed, precision=recipe.precision)
