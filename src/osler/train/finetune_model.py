"""The network of a fine-tuning run: a base model with an adapter, or with all weights free; and its result."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from osler.engine.features import image_batch
from osler.model.osler import Osler
from osler.prepare import PixelBatches
from osler.train.recipe import FinetuneRecipe
from osler.train.teacher import AnswerTeacher
from osler.weights.assemble import DTypeName
from osler.weights.catalog import GEMMA_TERMS
from osler.weights.checkpoint import Checkpoint, load_checkpoint
from osler.weights.lora import LoraConfig, add_lora
from osler.weights.osler_folder import save_adapter_folder, save_osler_folder
from osler.weights.skills import Skill


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
    teacher = AnswerTeacher(model, preprocess=checkpoint.preprocess, keep_tokens=recipe.keep_tokens)
    return Learner(checkpoint=checkpoint, teacher=teacher, lora=lora)


def image_encoder(learner: Learner) -> Callable[[PixelBatches], Tensor]:
    """What is kept of images: their soft tokens, as inference computes them; pixels where the tower learns."""
    if learner.lora is None:
        return lambda pixels: torch.from_numpy(pixels.rgb)
    model = learner.model
    weight = model.decoder.embed_tokens.weight

    @torch.no_grad()
    def encode(pixels: PixelBatches) -> Tensor:
        batches = pixels.batches(size=image_batch(model))
        parts = [model.encode_images(torch.from_numpy(batch).to(weight.device, weight.dtype)) for batch in batches]
        return torch.cat(parts).cpu()

    return encode


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
