"""The network of a fine-tuning run: a base model with an adapter, or with all weights free; and its result."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from osler.engine.features import FeatureStore
from osler.engine.slab_features import SlabStore
from osler.errors import RequestError
from osler.model.osler import Osler
from osler.prepare import PreparedImages
from osler.train.recipe import FinetuneRecipe
from osler.train.teacher import AnswerTeacher
from osler.weights.assemble import DTypeName
from osler.weights.catalog import GEMMA_TERMS
from osler.weights.checkpoint import Checkpoint, load_checkpoint
from osler.weights.lora import LoraConfig, add_lora
from osler.weights.osler_folder import save_adapter_folder, save_osler_folder
from osler.weights.skills import Skill

_KEPT_BYTES = 64 << 20
"""Of features in memory: a scan is encoded once, for all its questions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learner:
    """The network in training.

    Args:
        checkpoint: The base; its network is the one that learns.
        teacher: Computes the loss with it.
        lora: The adapter, ``None`` where all weights learn.
    """

    checkpoint: Checkpoint
    teacher: AnswerTeacher
    lora: LoraConfig | None

    @property
    def model(self) -> Osler:
        """The network."""
        return self.teacher.model

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: p for name, p in self.teacher.named_parameters() if p.requires_grad}


def build_learner(recipe: FinetuneRecipe, *, device: torch.device) -> Learner:
    """Loads the base and makes ready what learns.

    Under ``bfloat16`` an adapter (float32) learns beside weights in bfloat16; all weights learn
    in float32 and compute in bfloat16, as smaller updates would be lost.

    Raises:
        RequestError: If the base is unknown.
        CheckpointError: If its files are at fault.
    """
    dtype: DTypeName = "bfloat16" if recipe.precision == "bfloat16" and recipe.method == "lora" else "float32"
    checkpoint = load_checkpoint(recipe.base, dtype=dtype)
    model = checkpoint.model
    lora = None
    if recipe.method == "lora":
        lora = LoraConfig(rank=recipe.rank, alpha=recipe.alpha, base=_named(recipe.base))
        torch.manual_seed(recipe.seed)
        for parameter in add_lora(model.language_model, config=lora):
            parameter.requires_grad_(True)
    else:
        # Mapped files cannot be written to.
        for parameter in model.parameters():
            parameter.data = parameter.data.clone()
        model.requires_grad_(True)
    model.to(device)
    teacher = AnswerTeacher(
        model,
        preprocess=checkpoint.preprocess,
        keep_tokens=recipe.keep_tokens,
        box_weight=recipe.box_weight,
        weigh=recipe.weigh,
    )
    return Learner(checkpoint=checkpoint, teacher=teacher, lora=lora)


def image_encoder(learner: Learner) -> Callable[[PreparedImages], Tensor]:
    """What is kept of images: their soft tokens, as inference computes them; pixels where the tower learns.

    What is returned refuses (RequestError) volumes that are read as slabs where the tower learns.
    """
    if learner.lora is None:
        return _pixels
    images = FeatureStore(learner.model, kept_bytes=_KEPT_BYTES)
    slabs = SlabStore(learner.model, kept_bytes=_KEPT_BYTES)

    def encode(prepared: PreparedImages) -> Tensor:
        features = slabs.encode_shown(prepared, images=images)
        assert features is not None  # asked for only where there are images
        return features.cpu()

    return encode


def _pixels(prepared: PreparedImages) -> Tensor:
    if prepared.volumes:
        raise RequestError(
            "Volumes that are read as slabs need an image tower that stays as it is: fine-tune with an adapter.",
            next_step='Set method = "lora".',
        )
    return torch.from_numpy(prepared.pixels.rgb)


def write_result(
    recipe: FinetuneRecipe, *, learner: Learner, weights: Mapping[str, Tensor] | None, skills: frozenset[Skill]
) -> None:
    """Writes the folder that ``osler ask --model`` opens; the learner is not used after it.

    Args:
        weights: Of all that learned, whole, by the names of `Learner.trainable`, where the learner is sharded;
            ``None`` where it is not.
        skills: What was taught.

    Raises:
        CheckpointError: If the folder cannot be written or is full.
    """
    fresh = learner if weights is None else build_learner(recipe, device=torch.device("cpu"))
    with torch.no_grad():
        for name, parameter in fresh.trainable().items() if weights is not None else ():
            parameter.copy_(weights[name])
    checkpoint, out = learner.checkpoint, Path(recipe.out)
    trained = checkpoint.trained | skills
    if fresh.lora is not None:
        save_adapter_folder(
            fresh.model,
            out,
            lora=fresh.lora,
            preprocess=checkpoint.preprocess,
            base_digest=checkpoint.digest,
            licence=checkpoint.licence,
            trained=trained,
        )
        return
    save_osler_folder(
        fresh.model.to(torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32),
        out,
        preprocess=checkpoint.preprocess,
        tokenizer=checkpoint.tokenizer,
        licence="Gemma Terms of Use" if checkpoint.licence == GEMMA_TERMS else "unknown",
        trained=trained,
    )


def _named(base: str) -> str:
    """A folder by its whole path, a known model by its name."""
    return str(Path(base).resolve()) if os.sep in base or Path(base).is_dir() else base
