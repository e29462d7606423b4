"""Teaches the box head when a label is not there, on pictures of other things than X-rays.

The perception stage sees lungs in every X-ray. A head that never saw a picture
without lungs would draw them on a knee. Here its presence score alone is fitted,
on the pictures of the vision stage; boxes do not change.

Dimensions: N pictures, Q labels, C width of a text state, V width of the tower.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from osler.model.heads import Heads, patch_positions
from osler.model.vision import VisionTower
from osler.prepare import Preprocess
from osler.prepare.pixels import PixelBatches
from osler.train.picture_book import PictureBook, to_square

LUNGS = ("right lung", "left lung")
"""The labels that every frontal chest X-ray shows."""

_AT_ONCE = 16
_DECAY = 1e-3


@torch.no_grad()
def presence_states(
    heads: Heads, *, tower: VisionTower, pixels_NSS3: np.ndarray, text_QC: Tensor, preprocess: Preprocess
) -> Tensor:
    """What the box head gathers for each label of each picture, (N, Q, V) float32."""
    shared = len(tower.encoder.layers) - len(heads.trunk.layers)
    places_P3, rows = patch_positions(tower.config.side), []
    dtype = tower.embeddings.patch_embedding.weight.dtype
    for start in range(0, len(pixels_NSS3), _AT_ONCE):
        some = PixelBatches(rgb=pixels_NSS3[start : start + _AT_ONCE], preprocess=preprocess).array()
        features = heads.trunk(tower.forward_to(torch.from_numpy(some).to(dtype), layers=shared).float())
        states, _ = heads.boxes.states(
            text_QC.expand(len(some), -1, -1),
            features_BMV=features,
            positions_BM3=places_P3.expand(len(some), -1, -1),
        )
        rows.append(states)
    return torch.cat(rows)


def draw_pictures(book: PictureBook, *, count: int, size: int, seed: int) -> tuple[np.ndarray, Tensor]:
    """Draws pictures of all kinds: uint8 (N, S, S, 3), and whether each is a frontal chest X-ray, (N,)."""
    rng = np.random.default_rng(seed)
    pictures = [book.draw(rng) for _ in range(count)]
    labels = [picture.labels for picture in pictures]
    chest = [x.modality == "xray" and x.plane == "frontal" and x.region == "chest" for x in labels]
    return np.stack([to_square(picture.pixels, size=size) for picture in pictures]), torch.tensor(chest)


def fit_presence(heads: Heads, *, states_NQV: Tensor, there_N: Tensor) -> None:
    """Fits the presence score by logistic regression, all labels together; changes ``heads`` in place.

    Args:
        states_NQV: Of `presence_states`.
        there_N: Whether the labels are there.
    """
    layer = heads.boxes.presence
    weight = layer.weight.detach().clone().float().requires_grad_(True)
    bias = layer.bias.detach().clone().float().requires_grad_(True)
    wanted_NQ = there_N[:, None].expand(states_NQV.shape[:2]).float()
    optimizer = torch.optim.LBFGS([weight, bias], lr=0.5, max_iter=300, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        logits = F.linear(states_NQV, weight, bias)[..., 0]
        loss = F.binary_cross_entropy_with_logits(logits, wanted_NQ) + _DECAY * weight.pow(2).sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def teach_absence(
    heads: Heads,
    *,
    tower: VisionTower,
    book: PictureBook,
    text_QC: Tensor,
    preprocess: Preprocess,
    count: int,
    seed: int,
) -> None:
    """Fits the presence score of lungs on pictures of all kinds; changes ``heads`` in place.

    Args:
        text_QC: States of `LUNGS`.
        count: Pictures that are drawn.
    """
    pixels, there_N = draw_pictures(book, count=count, size=preprocess.image_size, seed=seed)
    states_NQV = presence_states(heads, tower=tower, pixels_NSS3=pixels, text_QC=text_QC, preprocess=preprocess)
    fit_presence(heads, states_NQV=states_NQV, there_N=there_N)
