"""The network of a fine-tuning run: a base model with an adapter, or with all weights free; and its result."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from osler.engine.adapter_memory import MemoryStore
from osler.engine.features import FeatureStore
from osler.engine.slab_features import SlabStore, outside_volumes, slab_places, token_starts
from osler.errors import RequestError
from osler.model.osler import Osler
from osler.prepare import PixelBatches, PreparedImages
from osler.train.local_box_head import TaughtBoxes
from osler.train.parts_reading import Reading
from osler.train.perception_parts import ship_parts
from osler.train.recipe import FinetuneRecipe
from osler.train.teacher import AnswerTeacher
from osler.weights.added_parts import add_parts, part_parameters, read_own_parts
from osler.weights.assemble import DTypeName
from osler.weights.catalog import GEMMA_TERMS
from osler.weights.checkpoint import Checkpoint, load_checkpoint
from osler.weights.json_file import read_json
from osler.weights.lora import LoraConfig, add_lora, stack_adapters
from osler.weights.osler_folder import PARTS_FILE, save_osler_folder, save_tuned_folder
from osler.weights.safetensors_io import read_safetensors
from osler.weights.skills import Skill

_KEPT_BYTES = 64 << 20
"""Of features in memory: a scan is encoded once, for all its questions."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learner:
    """The network in training.

    Args:
        checkpoint: The base; its network is the one that learns.
        teacher: Computes the loss with it.
        lora: The adapter on the decoder, ``None`` without.
        parts: That learn. tubelets: Whether what precedes the tower is among them.
        full: Whether all weights learn.
    """

    checkpoint: Checkpoint
    teacher: AnswerTeacher
    lora: LoraConfig | None
    parts: tuple[str, ...] = ()
    tubelets: bool = False
    full: bool = False

    @property
    def model(self) -> Osler:
        """The network."""
        return self.teacher.model

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: p for name, p in self.teacher.named_parameters() if p.requires_grad}


def build_learner(
    recipe: FinetuneRecipe, *, device: torch.device, decoder: Literal["learns", "stays"] = "learns"
) -> Learner:
    """Loads the base and makes ready what learns.

    Args:
        decoder: ``"stays"`` adds no adapter to it.

    Under ``bfloat16`` an adapter and parts (float32) learn beside weights in bfloat16; all weights learn
    in float32 and compute in bfloat16, as smaller updates would be lost.

    Raises:
        RequestError: If the base is unknown, or has no place for a part.
        CheckpointError: If its files are at fault.
    """
    full = recipe.method == "full"
    dtype: DTypeName = "bfloat16" if recipe.precision == "bfloat16" and not full else "float32"
    checkpoint = load_checkpoint(recipe.base, dtype=dtype)
    model = checkpoint.model
    lora = None
    _free_parts(recipe, model=model)
    if recipe.method == "lora" and decoder == "learns":
        lora = LoraConfig(rank=recipe.rank, alpha=recipe.alpha, base=_named(recipe.base))
        torch.manual_seed(recipe.seed)
        for parameter in add_lora(model.language_model, config=lora):
            parameter.requires_grad_(True)
    elif full:
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
    return Learner(
        checkpoint=checkpoint,
        teacher=teacher,
        lora=lora,
        parts=recipe.parts,
        tubelets=recipe.tubelets == "learn",
        full=full,
    )


def _free_parts(recipe: FinetuneRecipe, *, model: Osler) -> None:
    """Adds the parts that the base lacks, and lets them learn."""
    add_parts(model, recipe.parts, seed=recipe.seed)
    for name, parameter in part_parameters(model, recipe.parts):
        # Mapped files cannot be written to.
        parameter.data = parameter.data.float().clone()
        parameter.requires_grad_(recipe.tubelets == "learn" or not name.startswith("volume."))


class FrozenEncoder:
    """Images to what is kept of them where the tower is frozen.

    Args:
        learner: Whose network encodes.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._images = FeatureStore(learner.model, kept_bytes=_KEPT_BYTES)
        self._slabs = SlabStore(learner.model, kept_bytes=_KEPT_BYTES)
        self._memories = MemoryStore(learner.model, slabs=self._slabs)

    def __call__(self, prepared: PreparedImages) -> Tensor:
        """Their soft tokens, as inference computes them; zeros in the places of those that learn."""
        if not (prepared.volumes and "volume" in self._learner.parts):
            features = self._slabs.encode_shown(prepared, images=self._images)
            assert features is not None  # asked for only where there are images
            return features.cpu()
        model, alone = self._learner.model, outside_volumes(prepared)
        each = model.config.image_tokens
        starts = token_starts(prepared, image_tokens=each)
        total = each * len(alone) + sum(plan.grid.tokens for plan in prepared.volumes.values())
        tokens_MD = torch.zeros(total, model.config.decoder.width, dtype=model.dtype)
        pixels = PixelBatches(rgb=prepared.pixels.rgb[alone], preprocess=prepared.pixels.preprocess)
        for number, tokens_TD in zip(alone, self._images.encode(pixels) if alone else (), strict=True):
            tokens_MD[starts[number] : starts[number] + len(tokens_TD)] = tokens_TD.cpu()
        return tokens_MD[:, None]

    @property
    def reads(self) -> bool:
        """Whether parts read more than soft tokens."""
        return bool(self._learner.parts) or self._learner.model.adapter is not None

    def reading(self, prepared: PreparedImages) -> Reading | None:
        """What an adapter and the parts that learn read of images."""
        model, learner = self._learner.model, self._learner
        if not prepared.images:
            return None
        alone_NMV = None if model.adapter is None else self._memories.image_features(prepared)
        images_MV = None if alone_NMV is None else alone_NMV.flatten(0, 1)
        if not prepared.volumes:
            return Reading(images_MV=images_MV)
        plans = prepared.volumes.values()
        starts = token_starts(prepared, image_tokens=model.config.image_tokens)
        places = slab_places(list(plans), side=math.isqrt(model.config.image_tokens))
        rows = [torch.arange(plan.grid.tokens) + starts[start] for start, plan in prepared.volumes.items()]
        slots = np.concatenate([start + plan.slots for start, plan in prepared.volumes.items()])
        return Reading(
            images_MV=images_MV,
            cells_STV=None if learner.tubelets else self._slabs.cells(prepared),
            slices_NSS3=torch.from_numpy(prepared.pixels.rgb) if learner.tubelets else None,
            slots_Sd=torch.from_numpy(slots) if learner.tubelets else None,
            places=places,
            rows_M=torch.cat(rows) if "volume" in learner.parts else None,
        )


def image_encoder(learner: Learner) -> FrozenEncoder | Callable[[PreparedImages], Tensor]:
    """What is kept of images: what inference computes of them; pixels where the tower learns.

    What is returned refuses (RequestError) volumes that are read as slabs where the tower learns.
    """
    return _pixels if learner.full else FrozenEncoder(learner)


def _pixels(prepared: PreparedImages) -> Tensor:
    if prepared.volumes:
        raise RequestError(
            "Volumes that are read as slabs need an image tower that stays as it is: fine-tune with an adapter.",
            next_step='Set method = "lora".',
        )
    return torch.from_numpy(prepared.pixels.rgb)


def write_result(
    recipe: FinetuneRecipe,
    *,
    learner: Learner,
    weights: Mapping[str, Tensor] | None,
    skills: frozenset[Skill],
    boxes: TaughtBoxes | None = None,
) -> None:
    """Writes the folder that ``osler ask --model`` opens; the learner is not used after it.

    Args:
        weights: Of all that learned, whole, by the names of `Learner.trainable`, where the learner is sharded;
            ``None`` where it is not.
        skills: What was taught.
        boxes: A box head that was taught beside it.

    Raises:
        CheckpointError: If the folder cannot be written or is full.
    """
    fresh = learner if weights is None else build_learner(recipe, device=torch.device("cpu"))
    with torch.no_grad():
        for name, parameter in fresh.trainable().items() if weights is not None else ():
            parameter.copy_(weights[name])
    checkpoint, out = learner.checkpoint, Path(recipe.out)
    trained = checkpoint.trained | skills
    parts = {name: tensor.detach() for name, tensor in part_parameters(fresh.model, recipe.parts)}
    if boxes is not None:
        boxes.put_on(fresh.model)
        assert fresh.model.heads is not None
        parts |= {f"heads.{name}": tensor for name, tensor in fresh.model.heads.state_dict().items()}
    if recipe.method != "full":
        save_tuned_folder(
            fresh.model,
            out,
            base=_named(recipe.base),
            lora=fresh.lora,
            parts=parts,
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


def ship_result(recipe: FinetuneRecipe, *, learner: Learner) -> None:
    """Puts the result into ``recipe.ship``, a copy of the base: the adapter stacked onto its own, parts beside them.

    Raises:
        CheckpointError: If a folder does not fit, or cannot be written.
    """
    source, out, folder = learner.checkpoint.source, Path(recipe.out), Path(recipe.ship)
    if learner.lora is not None:
        # From the base, not from the copy: the same command again must not add the adapter twice.
        stack_adapters(source, out, out=folder)
    own = read_own_parts(out, read_json(out / "config.json"), preprocess=learner.checkpoint.preprocess)
    if own is not None:
        stored = read_safetensors(source / PARTS_FILE).tensors if (source / PARTS_FILE).is_file() else {}
        ship_parts(
            folder,
            tensors={**own.without(stored), **own.tensors},
            config=learner.model.config,
            preprocess=learner.checkpoint.preprocess,
        )


def _named(base: str) -> str:
    """A folder by its whole path, a known model by its name."""
    return str(Path(base).resolve()) if os.sep in base or Path(base).is_dir() else base
