"""Stage two: the projector and a LoRA on the decoder learn to answer.

The tower is frozen and its features are computed once. The loss is on the
answer only, its end included; logits are computed only where the loss is,
because the vocabulary is large.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.config import OslerConfig, get_config
from osler.model.osler import Osler, image_blocks
from osler.prepare import Preprocess, preprocess_for
from osler.train.checkpoints import load_tensors, optimizer_tensors, restore_optimizer, save_json, save_tensors
from osler.train.image_features import compute_features, project_pooled
from osler.train.lessons import LessonBook, radiology_questions
from osler.train.optimizer import make_optimizer, set_rate
from osler.train.picture_book import open_book, open_rendered
from osler.train.recipe import AnswersRecipe
from osler.train.run_log import RunLog
from osler.train.samples import Batch, SampleMaker, collate
from osler.train.text_questions import open_text_book
from osler.train.volume_renders import render_stacks
from osler.weights.assemble import assemble
from osler.weights.embedded import embedded_gguf
from osler.weights.gguf_config import gguf_tensors
from osler.weights.gguf_file import read_gguf
from osler.weights.lora import LoraConfig, add_lora, save_adapter
from osler.weights.osler_folder import save_osler_folder
from osler.weights.tokenizer import GemmaTokenizer

Listener = Callable[[Mapping[str, float]], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pupil:
    """The network in training with what belongs to it."""

    model: Osler
    tokenizer: GemmaTokenizer
    preprocess: Preprocess
    lora: LoraConfig

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that learn, by name."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def build_pupil(recipe: AnswersRecipe) -> Pupil:
    """Joins the embedded decoder, the trained tower and a fresh projector, and adds the LoRA."""
    config = get_config(recipe.config)
    if config.vision is None:
        raise RequestError(f"The configuration {config.name!r} has no image tower.", allowed="One with a tower.")
    file = read_gguf(embedded_gguf())
    tensors = dict(gguf_tensors(file, dtype=torch.bfloat16))
    prefix = "vision_tower."
    tower = load_tensors(Path(recipe.tower))
    tensors.update({name: value for name, value in tower.items() if name.startswith(prefix)})
    tensors.update(fresh_projector(config, embeddings=tensors["language_model.embed_tokens.weight"], seed=recipe.seed))
    model = assemble(config, tensors, source=recipe.tower)
    torch.manual_seed(recipe.seed)
    lora = LoraConfig(rank=recipe.rank, alpha=recipe.alpha, base="gemma-3-270m")
    for parameter in add_lora(model.language_model, config=lora):
        parameter.requires_grad_(True)
    if model.projector is not None:
        model.projector.requires_grad_(True)
    return Pupil(model=model, tokenizer=GemmaTokenizer.from_gguf(file), preprocess=preprocess_for(config), lora=lora)


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


def answer_loss(model: Osler, batch: Batch, *, features_NTV: Tensor) -> tuple[Tensor, float]:
    """Mean cross-entropy of the answers' ids, and the share of them that is right.

    Args:
        features_NTV: The whole feature table (averaged patches); the batch picks its rows.
    """
    projected = None
    if len(batch.rows) and model.projector is not None:
        projected = project_pooled(features_NTV[batch.rows].float(), projector=model.projector)
    x_BLD = model.embed(batch.token_ids_BL, projected)
    positions_BL = torch.arange(batch.token_ids_BL.shape[1]).expand_as(batch.token_ids_BL)
    blocks_BL = image_blocks(batch.token_ids_BL, image_token=model.config.tokens.image) if len(batch.rows) else None
    hidden_BLD = model.decoder(
        x_BLD,
        positions_BL=positions_BL,
        image_blocks_BL=blocks_BL,
        padding_BL=batch.padding_BL if bool(batch.padding_BL.any()) else None,
    )
    targets = batch.token_ids_BL.roll(-1, dims=1)[batch.wanted_BL]
    logits = model.logits(hidden_BLD[batch.wanted_BL]).float()
    loss = F.cross_entropy(logits, targets)
    return loss, float((logits.detach().argmax(-1) == targets).float().mean())


def train_answers(recipe: AnswersRecipe, *, listener: Listener | None = None) -> Path:
    """Runs the stage, from its last checkpoint if there is one.

    Returns:
        The folder of the run; the shipped parts lie in ``recipe.ship`` if that is set.
    """
    out = Path(recipe.out)
    pupil = build_pupil(recipe)
    book, features = _lessons(recipe, pupil=pupil)
    trainable = pupil.trainable()
    adapters = [p for name, p in trainable.items() if ".lora_" in name]
    others = [p for name, p in trainable.items() if ".lora_" not in name]
    optimizer = make_optimizer([(others, 1.0), (adapters, recipe.adapter_rate)], config=recipe.optimizer)
    first = _resume(out, trainable=trainable, optimizer=optimizer)
    log = RunLog(out, listener=listener)
    for step in range(first, recipe.optimizer.steps):
        rate = set_rate(optimizer, step=step, config=recipe.optimizer)
        lesson, samples = book.draw(np.random.default_rng([recipe.seed, step]))
        batch = collate(samples, pad=pupil.model.config.tokens.pad)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
            loss, right = answer_loss(pupil.model, batch, features_NTV=features)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(trainable.values()), recipe.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = float(loss.detach())
        log.write(step=step, loss=value, rate=rate, norm=float(norm), right=right, **{f"loss_{lesson}": value})
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.optimizer.steps:
            _save(recipe, step=step + 1, pupil=pupil, optimizer=optimizer)
    return out


def _lessons(recipe: AnswersRecipe, *, pupil: Pupil) -> tuple[LessonBook, Tensor]:
    out, root = Path(recipe.out), Path(recipe.data)
    rendered = open_rendered(Path(recipe.pictures))
    count = min(recipe.use_pictures, len(rendered.labels))
    tower, projector = pupil.model.vision, pupil.model.projector
    if tower is None or projector is None:
        raise RequestError(f"The configuration {recipe.config!r} has no image tower.", allowed="One with a tower.")
    stack_pixels, stacks = render_stacks(
        out / "stacks",
        book=open_book(root, split="train"),
        size=pupil.preprocess.image_size,
        config=recipe.augment,
        seed=recipe.seed,
        hippocampi=recipe.hippocampi,
        slices=recipe.slices,
    )
    tables = [
        compute_features(pixels, tower=tower, projector=projector, path=out / f"features_{name}.safetensors")
        for name, pixels in (("pictures", rendered.pixels[:count]), ("stacks", stack_pixels))
    ]
    book = LessonBook(
        maker=SampleMaker(tokenizer=pupil.tokenizer, tokens=pupil.model.config.tokens, preprocess=pupil.preprocess),
        labels=rendered.labels[:count],
        names=tuple(zip(rendered.sources[:count], rendered.patients[:count], strict=True)),
        stacks=stacks,
        stack_offset=count,
        text=open_text_book(root),
        radiology=radiology_questions(root),
        config=recipe.lessons,
    )
    return book, torch.cat(tables)


def ship(pupil: Pupil, folder: Path) -> None:
    """Writes the shipped parts: tower and projector in bfloat16, the adapter, the contract."""
    own = {name: t for name, t in pupil.model.state_dict().items() if not name.startswith("language_model.")}
    bfloat = {name: t.to(torch.bfloat16) for name, t in own.items()}
    twin = _WithTensors(pupil.model, bfloat)
    save_osler_folder(twin, folder, preprocess=pupil.preprocess, tokenizer=pupil.tokenizer, decoder="embedded")  # type: ignore[arg-type]
    save_adapter(pupil.model, folder, config=pupil.lora, dtype=torch.bfloat16)


class _WithTensors:
    """The model's configuration with other tensors, for the writer."""

    def __init__(self, model: Osler, tensors: dict[str, Tensor]) -> None:
        self.config = model.config
        self._tensors = tensors

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors."""
        return self._tensors


def _save(recipe: AnswersRecipe, *, step: int, pupil: Pupil, optimizer: torch.optim.Optimizer) -> None:
    out = Path(recipe.out)
    save_tensors(out / "resume_weights.safetensors", pupil.trainable())
    save_tensors(out / "resume_optimizer.safetensors", optimizer_tensors(optimizer))
    save_json(out / "resume.json", {"step": step})
    if recipe.ship:
        ship(pupil, Path(recipe.ship))


def _resume(out: Path, *, trainable: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> int:
    if not (out / "resume.json").is_file():
        return 0
    stored = load_tensors(out / "resume_weights.safetensors")
    with torch.no_grad():
        for name, parameter in trainable.items():
            parameter.copy_(stored[name])
    restore_optimizer(optimizer, load_tensors(out / "resume_optimizer.safetensors"))
    return int(json.loads((out / "resume.json").read_text(encoding="utf-8"))["step"])
