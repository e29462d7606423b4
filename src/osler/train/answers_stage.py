"""Stage two: the projector and a LoRA on the decoder learn to answer.

The tower is frozen and its features are computed once. The loss is on the
answer only, its end included; logits are computed only where the loss is,
because the vocabulary is large. A second term holds the decoder to what the
pretrained one says on plain text (`osler.train.recall`). Long batches keep only
the input of each layer and compute the rest again, which bounds memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from osler.errors import RequestError
from osler.model.adapter import AdapterMemory
from osler.model.decoder import Decoder, ForwardStep
from osler.model.osler import Osler, image_blocks
from osler.train.cache_key import cache_key, file_digest
from osler.train.checkpoints import (
    RunState,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    restore_weights,
    save_state,
)
from osler.train.finite import require_finite
from osler.train.image_features import compute_features, project_pooled
from osler.train.lessons import LessonBook, radiology_questions
from osler.train.optimizer import make_optimizer, set_rate
from osler.train.picture_book import RenderedPictures, open_book, open_rendered
from osler.train.pupil import Pupil, build_pupil, ship
from osler.train.recall import RecallBatch, draw_recall, recall_loss, recall_texts
from osler.train.recipe import AnswersRecipe
from osler.train.run_log import RunLog
from osler.train.samples import Batch, SampleMaker, collate
from osler.train.synthetic_pictures import no_content
from osler.train.text_questions import open_text_book
from osler.train.volume_renders import render_stacks

Listener = Callable[[Mapping[str, float]], None]

KEEP_TOKENS = 2048
"""Tokens of a batch up to which all that the backward pass needs is kept: about 1.5 MB a token."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lessons:
    """What updates are drawn from.

    Args:
        book: Of samples. features_NTV: Averaged patches, a row an image. texts: To recall, (texts, length).
    """

    book: LessonBook
    features_NTV: Tensor
    texts: Tensor


def answer_loss(model: Osler, batch: Batch, *, features_NTV: Tensor) -> tuple[Tensor, float]:
    """Mean cross-entropy of the answers' ids, and the share of them that is right.

    Args:
        features_NTV: The whole feature table (averaged patches); the batch picks its rows.
    """
    projected = None
    if len(batch.rows) and model.projector is not None:
        projected = project_pooled(features_NTV[batch.rows].float(), projector=model.projector)
    x_BLD = model.embed(batch.token_ids_BL, projected)
    blocks_BL = image_blocks(batch.token_ids_BL, image_token=model.config.tokens.image) if len(batch.rows) else None
    hidden_BLD = hidden_states(model.decoder, x_BLD, padding_BL=batch.padding_BL, image_blocks_BL=blocks_BL)
    targets = batch.token_ids_BL.roll(-1, dims=1)[batch.wanted_BL]
    logits = model.logits(hidden_BLD[batch.wanted_BL]).float()
    loss = F.cross_entropy(logits, targets)
    return loss, float((logits.detach().argmax(-1) == targets).float().mean())


def hidden_states(
    decoder: Decoder,
    x_BLD: Tensor,
    *,
    padding_BL: Tensor,
    image_blocks_BL: Tensor | None,
    keep: int = KEEP_TOKENS,
    memory: AdapterMemory | None = None,
) -> Tensor:
    """Runs the decoder; a batch of more than ``keep`` tokens is computed again in the backward pass."""
    positions_BL = torch.arange(x_BLD.shape[1], device=x_BLD.device).expand(x_BLD.shape[:2])
    padding = padding_BL if bool(padding_BL.any()) else None
    if x_BLD.shape[0] * x_BLD.shape[1] <= keep:
        return decoder(
            x_BLD, positions_BL=positions_BL, image_blocks_BL=image_blocks_BL, padding_BL=padding, memory=memory
        )
    step = ForwardStep(
        config=decoder.config,
        positions_BL=positions_BL,
        cache=None,
        image_blocks_BL=image_blocks_BL,
        padding_BL=padding,
        dtype=x_BLD.dtype,
        memory=memory,
    )
    for layer in decoder.layers:
        x_BLD = checkpoint(layer, x_BLD, step=step, use_reentrant=False, preserve_rng_state=False)
    return decoder.norm(x_BLD)


def train_answers(recipe: AnswersRecipe, *, listener: Listener | None = None) -> Path:
    """Runs the stage, from its last checkpoint if there is one.

    Returns:
        The folder of the run; the shipped parts lie in ``recipe.ship`` if that is set.

    Raises:
        RequestError: If the recipe or its data folder is not right.
        DataError: If a volume of the sets is damaged.
        CheckpointError: If a file of the run is damaged, does not fit, or cannot be written.
        TrainingError: If a loss or the gradient is not a number.
    """
    pupil = build_pupil(recipe)
    return teach(recipe, pupil=pupil, lessons=_lessons(recipe, pupil=pupil), listener=listener)


def teach(recipe: AnswersRecipe, *, pupil: Pupil, lessons: Lessons, listener: Listener | None = None) -> Path:
    """Makes the updates of the stage on a network and lessons that are ready; see `train_answers`."""
    out = Path(recipe.out)
    trainable = pupil.trainable()
    adapters = [p for name, p in trainable.items() if ".lora_" in name]
    others = [p for name, p in trainable.items() if ".lora_" not in name]
    optimizer = make_optimizer([(others, 1.0), (adapters, recipe.adapter_rate)], config=recipe.optimizer)
    first = _resume(out, pupil=pupil, optimizer=optimizer)
    log, process = RunLog(out, first=first, listener=listener), psutil.Process()
    for step in range(first, recipe.optimizer.steps):
        rate = set_rate(optimizer, step=step, config=recipe.optimizer)
        metrics = _gradients(recipe, step=step, pupil=pupil, lessons=lessons)
        norm = torch.nn.utils.clip_grad_norm_(list(trainable.values()), recipe.optimizer.clip)
        require_finite({"gradient": norm}, step=step, inputs=(), names=[f"the samples of update {step + 1}"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        log.write(step=step, rate=rate, norm=float(norm), gigabytes=process.memory_info().rss / 1e9, **metrics)
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.optimizer.steps:
            _save(recipe, step=step + 1, pupil=pupil, optimizer=optimizer)
    if recipe.ship:
        # Also after a run that was already done: a kill may have come between the state and these.
        ship(pupil, Path(recipe.ship))
    return out


def _gradients(recipe: AnswersRecipe, *, step: int, pupil: Pupil, lessons: Lessons) -> dict[str, float]:
    """Adds up the gradients of one update; returns its losses."""
    rng = np.random.default_rng([recipe.seed, step])
    lesson, samples = lessons.book.draw(rng)
    pad = pupil.model.config.tokens.pad
    batch = collate(samples, pad=pad)
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        loss, right = answer_loss(pupil.model, batch, features_NTV=lessons.features_NTV)
    rows = [row for sample in samples for row in sample.rows]
    inputs = [(f"{lesson}, image {row}", lessons.features_NTV[row]) for row in rows]
    names = [name for name, _ in inputs] or [f"{lesson} samples"]
    require_finite({"loss": loss}, step=step, inputs=inputs, names=names)
    loss.backward()
    value = float(loss.detach())
    metrics = {"loss": value, "right": right, "tokens": float(batch.token_ids_BL.numel()), f"loss_{lesson}": value}
    if recipe.recall.weight > 0 and step % recipe.recall.every == 0:
        texts = draw_recall(lessons.texts, config=recipe.recall, pad=pad, rng=rng)
        metrics["loss_recall"] = recall_gradients(recipe, pupil=pupil, batch=texts)
    return metrics


def recall_gradients(recipe: AnswersRecipe, *, pupil: Pupil, batch: RecallBatch) -> float:
    """Adds the gradients of the retention term; returns the divergence without its weight."""
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        divergence = recall_loss(pupil.model, batch, base=pupil.base)
    (recipe.recall.weight * divergence).backward()
    return float(divergence.detach())


def _lessons(recipe: AnswersRecipe, *, pupil: Pupil) -> Lessons:
    out, root, side = Path(recipe.out), Path(recipe.data), pupil.preprocess.image_size
    rendered = open_rendered(Path(recipe.pictures))
    count = min(recipe.use_pictures, len(rendered.labels))
    sections = _later_sections(rendered, first=count)[: recipe.more_sections]
    rows = [*range(count), *sections]
    stack_pixels, stacks = render_stacks(
        out / "stacks",
        book=open_book(root, split="train", preprocess=pupil.preprocess, extras=recipe.extras),
        size=side,
        config=recipe.augment,
        seed=recipe.seed,
        hippocampi=recipe.hippocampi,
        slices=recipe.slices,
    )
    blanks = np.zeros((recipe.blanks, side, side, 3), dtype=np.uint8)
    for index in range(recipe.blanks):
        blanks[index] = no_content(recipe.seed, index=index, size=side)
    tables = [
        _features(recipe, name=name, pixels=pixels, pupil=pupil)
        for name, pixels in (
            ("pictures", rendered.pixels[:count]),
            ("sections", rendered.pixels[sections]),
            ("stacks", stack_pixels),
            ("blanks", blanks),
        )
    ]
    book = LessonBook(
        maker=SampleMaker(tokenizer=pupil.tokenizer, tokens=pupil.model.config.tokens, preprocess=pupil.preprocess),
        labels=tuple(rendered.labels[row] for row in rows),
        names=tuple((rendered.sources[row], rendered.patients[row]) for row in rows),
        stacks=stacks,
        stack_offset=len(rows),
        blank_rows=range(len(rows) + len(stack_pixels), len(rows) + len(stack_pixels) + len(blanks)),
        text=open_text_book(root),
        radiology=radiology_questions(root),
        config=recipe.lessons,
        emphasis=recipe.emphasis,
    )
    texts = recall_texts(
        pupil.base,
        tokenizer=pupil.tokenizer,
        config=recipe.recall,
        seed=recipe.seed,
        path=out / "recall.safetensors",
    )
    return Lessons(book=book, features_NTV=torch.cat(tables), texts=texts)


def _later_sections(rendered: RenderedPictures, *, first: int) -> list[int]:
    """Rows from ``first`` on with CT and MR pictures of VQA-RAD, which are few."""
    return [
        row
        for row in range(first, len(rendered.labels))
        if rendered.sources[row] == "vqa-rad" and rendered.labels[row].modality != "xray"
    ]


def _features(recipe: AnswersRecipe, *, name: str, pixels: np.ndarray, pupil: Pupil) -> Tensor:
    tower, projector = pupil.model.vision, pupil.model.projector
    if tower is None or projector is None:
        raise RequestError(f"The configuration {recipe.config!r} has no image tower.", allowed="One with a tower.")
    return compute_features(
        pixels,
        tower=tower,
        projector=projector,
        preprocess=pupil.preprocess,
        path=Path(recipe.out) / f"features_{name}.safetensors",
        key=cache_key(tower=file_digest(Path(recipe.tower)), preprocess=pupil.preprocess.hash, pixels=pixels),
    )


def _save(recipe: AnswersRecipe, *, step: int, pupil: Pupil, optimizer: torch.optim.Optimizer) -> None:
    parts = {"weights": pupil.trainable(), "optimizer": optimizer_tensors(optimizer)}
    save_state(Path(recipe.out), RunState(step=step, parts=parts, counts={}))
    if recipe.ship:
        ship(pupil, Path(recipe.ship))


def _resume(out: Path, *, pupil: Pupil, optimizer: torch.optim.Optimizer) -> int:
    state = load_state(out)
    if state is None:
        return 0
    restore_weights(pupil.trainable(), state.parts.get("weights", {}))
    restore_optimizer(optimizer, state.parts.get("optimizer", {}))
    return state.step
