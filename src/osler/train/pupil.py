"""The network of the answers stage: frozen decoder and tower, fresh projector and LoRA; and its shipped parts."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from osler.errors import CheckpointError, RequestError
from osler.model.config import OslerConfig, get_config
from osler.model.osler import Osler
from osler.prepare import Preprocess, preprocess_for
from osler.train.checkpoints import load_tensors
from osler.train.recipe import AnswersRecipe
from osler.weights.assemble import assemble
from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_config import gguf_tensors
from osler.weights.gguf_file import read_gguf
from osler.weights.lora import LoraConfig, add_lora, save_adapter
from osler.weights.osler_folder import save_osler_folder
from osler.weights.tokenizer import GemmaTokenizer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pupil:
    """The network in training with what belongs to it.

    Args:
        model: With adapters. base: The same frozen tensors without adapters.
    """

    model: Osler
    base: Osler
    tokenizer: GemmaTokenizer
    preprocess: Preprocess
    lora: LoraConfig

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def build_pupil(recipe: AnswersRecipe) -> Pupil:
    """Joins the embedded decoder, the trained tower and a fresh projector, and adds the LoRA.

    Raises:
        RequestError: If the configuration has no image tower.
        CheckpointError: If the tower's file is absent or does not fit.
    """
    config = get_config(recipe.config)
    if config.vision is None:
        raise RequestError(f"The configuration {config.name!r} has no image tower.", allowed="One with a tower.")
    tower = {n: t for n, t in load_tensors(Path(recipe.tower)).items() if n.startswith("vision_tower.")}
    file = read_gguf(embedded_gguf())
    tensors = dict(gguf_tensors(file, dtype=torch.bfloat16)) | tower
    tensors |= fresh_projector(config, embeddings=tensors["language_model.embed_tokens.weight"], seed=recipe.seed)
    # Both take up the same tensors, so the second network costs no memory.
    base, model = (assemble(config, tensors, source=recipe.tower) for _ in range(2))
    torch.manual_seed(recipe.seed)
    lora = LoraConfig(rank=recipe.rank, alpha=recipe.alpha, base="gemma-3-270m")
    for parameter in add_lora(model.language_model, config=lora):
        parameter.requires_grad_(True)
    if model.projector is not None:
        for parameter in model.projector.parameters():
            # The projector learns; the base keeps its own.
            parameter.data = parameter.data.clone()
            parameter.requires_grad_(True)
    return Pupil(
        model=model,
        base=base,
        tokenizer=GemmaTokenizer.from_gguf(file),
        preprocess=preprocess_for(config),
        lora=lora,
    )


def fresh_projector(config: OslerConfig, *, embeddings: Tensor, seed: int) -> dict[str, Tensor]:
    """A projector whose output has the size of scaled text embeddings."""
    if config.vision is None:
        return {}
    width, out = config.vision.width, config.decoder.width
    size = embeddings[:: max(1, len(embeddings) // 4096)].float().pow(2).mean().sqrt().item() * out**0.5
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(width, out, generator=generator) * size * width**-0.5
    return {
        "multi_modal_projector.mm_soft_emb_norm.weight": torch.zeros(width),
        "multi_modal_projector.mm_input_projection_weight": weight,
    }


def ship(pupil: Pupil, folder: Path) -> None:
    """Writes the shipped parts: tower and projector in bfloat16, the adapter, the contract.

    They are written into a folder beside and take the name together, so that parts of two
    updates never stand in one folder.

    Raises:
        CheckpointError: If the place cannot be written or is full.
    """
    mark = f"{os.getpid()}-{secrets.token_hex(4)}"
    fresh, old = (folder.with_name(f".{folder.name}.{mark}.{kind}") for kind in ("partial", "old"))
    own = {name: t for name, t in pupil.model.state_dict().items() if not name.startswith("language_model.")}
    twin = _WithTensors(pupil.model, {name: t.to(torch.bfloat16) for name, t in own.items()})
    try:
        save_osler_folder(twin, fresh, preprocess=pupil.preprocess, tokenizer=pupil.tokenizer, decoder="embedded")  # type: ignore[arg-type]
        save_adapter(pupil.model, fresh, config=pupil.lora, dtype=torch.bfloat16)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        raise CheckpointError(
            f"Cannot write {str(folder)!r}: {error}.", next_step="Choose a folder with room that you can write to."
        ) from error
    finally:
        for rest in (fresh, old):
            shutil.rmtree(rest, ignore_errors=True)


class _WithTensors:
    """The model's configuration with other tensors, for the writer."""

    def __init__(self, model: Osler, tensors: dict[str, Tensor]) -> None:
        self.config = model.config
        self._tensors = tensors

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors."""
        return self._tensors
