"""Stage one: the image tower learns what a picture is.

Pictures are rendered once; a step reads a batch from memory, keeps a random
part of the patches (cheaper, and a strong augmentation), and predicts all
labels from the mean of the patch features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.config import get_config
from osler.model.vision import VisionTower
from osler.prepare import Preprocess, preprocess_for
from osler.prepare.pixels import PixelBatches
from osler.train.checkpoints import resume_training, save_tensors, save_training
from osler.train.emphasis import Emphasis
from osler.train.finite import require_finite
from osler.train.optimizer import RunningMean, make_optimizer, set_rate
from osler.train.picture_book import RenderedPictures, open_book, render
from osler.train.recipe import VisionRecipe
from osler.train.run_log import RunLog
from osler.train.vision_labels import Targets, VisionHeads, accuracies, targets_of, vision_loss

TOWER_FILE = "vision_tower.safetensors"


class VisionTrainee(nn.Module):
    """The tower with its training heads."""

    def __init__(self, tower: VisionTower) -> None:
        super().__init__()
        self.vision_tower = tower
        self.heads = VisionHeads(tower.config.width)

    def forward(self, pixels_B3SS: Tensor, *, keep_BK: Tensor | None = None) -> dict[str, Tensor]:
        """Scores the labels; ``keep_BK`` are the indices of the patches to read."""
        tower = self.vision_tower
        if keep_BK is None:
            return self.heads(tower(pixels_B3SS))
        x_BPD = tower.embeddings(pixels_B3SS)
        x_BKD = x_BPD.gather(1, keep_BK[..., None].expand(-1, -1, x_BPD.shape[-1]))
        return self.heads(tower.post_layernorm(tower.encoder(x_BKD)))


def init_tower(tower: VisionTower, *, seed: int) -> None:
    """Fresh weights: truncated normals, residual ends scaled down by depth, waves for positions."""
    generator = torch.Generator().manual_seed(seed)
    depth = (2 * len(tower.encoder.layers)) ** -0.5
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
                continue
            std = parameter[0].numel() ** -0.5
            if name.endswith(("out_proj.weight", "fc2.weight")):
                std *= depth
            nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std, generator=generator)
        table = tower.embeddings.position_embedding.weight
        table.copy_(0.7 * position_waves(tower.config.side, width=table.shape[1]))


def position_waves(side: int, *, width: int) -> Tensor:
    """Sines and cosines of row and column, (side * side, width): places differ from the first step on."""
    count = width // 4
    frequency = torch.exp(torch.linspace(0, -math.log(side), count)) * math.pi / 2
    at = torch.arange(side, dtype=torch.float32)
    waves = torch.cat([(at[:, None] * frequency).sin(), (at[:, None] * frequency).cos()], dim=1)
    rows = waves[:, None].expand(side, side, -1)
    columns = waves[None].expand(side, side, -1)
    table = torch.cat([rows, columns], dim=-1).reshape(side * side, -1)
    return torch.nn.functional.pad(table, (0, width - table.shape[1]))


def whiten_patches(
    tower: VisionTower, *, pixels_NSS3: np.ndarray, preprocess: Preprocess, seed: int, damping: float = 3e-3
) -> None:
    """Sets the patch embedding to the damped principal components of real patches.

    Raw patches are almost one-dimensional (brightness); whitened ones let the
    optimizer move in all directions at once.
    """
    rng = np.random.default_rng(seed)
    patch = tower.config.patch
    chosen = np.sort(rng.choice(len(pixels_NSS3), size=min(len(pixels_NSS3), 1500), replace=False))
    images = torch.from_numpy(PixelBatches(rgb=pixels_NSS3[chosen], preprocess=preprocess).array())
    patches = images.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
    patches = patches[torch.from_numpy(rng.permutation(len(patches))[:60_000])]
    mean = patches.mean(0)
    centered = patches - mean
    values, vectors = torch.linalg.eigh(centered.T @ centered / len(centered))
    kept = min(tower.config.width, vectors.shape[1])
    top, basis = values[-kept:].flip(0), vectors[:, -kept:].flip(1)
    weight = basis.T / (top + damping).sqrt()[:, None]
    embedding = tower.embeddings.patch_embedding
    with torch.no_grad():
        embedding.weight[:kept] = weight.reshape(kept, 3, patch, patch)
        embedding.bias[:kept] = -(weight @ mean)  # type: ignore[index]


def jitter(pixels_B3SS: Tensor, *, rng: torch.Generator) -> Tensor:
    """Small changes of contrast and brightness, one a picture, on top of the rendered ones."""
    shape = (len(pixels_B3SS), 1, 1, 1)
    gain = 1 + 0.3 * (torch.rand(shape, generator=rng) - 0.5)
    shift = 0.3 * (torch.rand(shape, generator=rng) - 0.5)
    return (pixels_B3SS * gain + shift).clamp_(-1, 1)


def train_vision(recipe: VisionRecipe, *, listener: Callable[[Mapping[str, float]], None] | None = None) -> Path:
    """Runs the stage, from its last checkpoint if there is one.

    Returns:
        The tower's file, ``vision_tower.safetensors`` in the run's folder.

    Raises:
        RequestError: If the network has no tower, or the data folder is not right.
        DataError: If a set is damaged, or rendering fails.
        CheckpointError: If a file of the run is damaged, does not fit, or cannot be written.
        TrainingError: If a loss or the gradient is not a number.
    """
    out = Path(recipe.out)
    whole = get_config(recipe.config)
    config, preprocess = whole.vision, preprocess_for(whole)
    if config is None:
        raise RequestError(f"The configuration {recipe.config!r} has no image tower.", allowed="One with a tower.")
    pictures = _pictures(recipe, preprocess=preprocess)
    targets = targets_of(pictures.labels)
    torch.manual_seed(recipe.seed)
    trainee = VisionTrainee(VisionTower(config))
    init_tower(trainee.vision_tower, seed=recipe.seed)
    whiten_patches(trainee.vision_tower, pixels_NSS3=pictures.pixels, preprocess=preprocess, seed=recipe.seed)
    optimizer = make_optimizer([(trainee.parameters(), 1.0)], config=recipe.optimizer)
    mean = RunningMean(trainee, decay=recipe.optimizer.average)
    first = resume_training(out, module=trainee, optimizer=optimizer, mean=mean)
    if first:
        # A kill may have come between the state and the tower.
        _publish(out, trainee=trainee, mean=mean)
    log = RunLog(out, first=first, listener=listener)
    for step in range(first, recipe.optimizer.steps):
        metrics = _update(
            recipe,
            step=step,
            trainee=trainee,
            optimizer=optimizer,
            pictures=pictures,
            targets=targets,
            preprocess=preprocess,
        )
        mean.update(trainee)
        log.write(step=step, **metrics)
        if (step + 1) % recipe.save_every == 0 or step + 1 == recipe.optimizer.steps:
            save_training(out, step=step + 1, module=trainee, optimizer=optimizer, mean=mean)
            _publish(out, trainee=trainee, mean=mean)
    return out / TOWER_FILE


def _pictures(recipe: VisionRecipe, *, preprocess: Preprocess) -> RenderedPictures:
    book = open_book(
        Path(recipe.data), split="train", preprocess=preprocess, shares=recipe.shares, extras=recipe.extras
    )
    return render(
        Path(recipe.out) / "pictures",
        book=book,
        count=recipe.pictures,
        size=preprocess.image_size,
        config=recipe.augment,
        seed=recipe.seed,
        workers=recipe.workers,
    )


def _update(
    recipe: VisionRecipe,
    *,
    step: int,
    trainee: VisionTrainee,
    optimizer: torch.optim.Optimizer,
    pictures: RenderedPictures,
    targets: Targets,
    preprocess: Preprocess,
) -> dict[str, float]:
    rate = set_rate(optimizer, step=step, config=recipe.optimizer)
    rng = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
    rows = _rows(recipe, step=step, pictures=pictures, rng=rng)
    shown = PixelBatches(rgb=pictures.pixels[rows.numpy()], preprocess=preprocess)
    pixels = jitter(torch.from_numpy(shown.array()), rng=rng)
    keep = None
    if step < recipe.full_from * recipe.optimizer.steps and recipe.keep_patches < 1:
        patches = trainee.vision_tower.config.side**2
        keep = torch.rand(len(rows), patches, generator=rng).argsort(1)[:, : int(patches * recipe.keep_patches)]
    with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        scores = trainee(pixels, keep_BK=keep)
    batch = targets.pick(rows)
    loss, parts = vision_loss(scores, batch, weights=recipe.losses)
    names = [f"picture {int(row)} of {recipe.out}" for row in rows]
    inputs = list(zip(names, pixels, strict=True))
    require_finite({"loss": loss}, step=step, inputs=inputs, names=names)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(trainee.parameters(), recipe.optimizer.clip)
    require_finite({"gradient": norm}, step=step, inputs=inputs, names=names)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    right = {f"right_{k}": r / max(1, n) for k, (r, n) in accuracies(scores, batch).items()}
    return {"loss": float(loss.detach()), "rate": rate, "norm": float(norm), **parts, **right}


def _rows(recipe: VisionRecipe, *, step: int, pictures: RenderedPictures, rng: torch.Generator) -> Tensor:
    """Which pictures an update takes: each once a pass, or drawn by emphasis."""
    batch, count = recipe.optimizer.batch, len(pictures.labels)
    if recipe.emphasis != Emphasis():
        shares = torch.tensor([recipe.emphasis.of(labels, source=source) for labels, source in pictures.named()])
        return torch.multinomial(shares, batch, replacement=True, generator=rng)
    places = torch.arange(step * batch, (step + 1) * batch)
    return torch.stack([_shuffled(count, epoch=int(p) // count, seed=recipe.seed)[int(p) % count] for p in places])


@lru_cache(maxsize=2)
def _shuffled(count: int, *, epoch: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 7919 + epoch))


def _publish(out: Path, *, trainee: VisionTrainee, mean: RunningMean) -> None:
    averaged = mean.copy_to(trainee) if mean.decay > 0 else trainee
    save_tensors(out / TOWER_FILE, averaged.state_dict())
