"""Features of the frozen tower, computed once, so that a step of the answers stage costs the decoder only.

Kept are the averaged patches that go into the projector's norm: (N, T, V) in
bfloat16, T soft tokens of an image, V width of the tower.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from osler.model.projector import Projector
from osler.model.vision import VisionTower
from osler.prepare import Preprocess
from osler.prepare.pixels import PixelBatches
from osler.train.checkpoints import save_tensors
from osler.weights.safetensors_io import read_safetensors


def pool_patches(features_BPV: Tensor, *, projector: Projector) -> Tensor:
    """Averages squares of patches as the projector does before its norm, (B, T, V)."""
    features_BVpp = features_BPV.transpose(1, 2).unflatten(2, (projector.side, projector.side))
    return F.avg_pool2d(features_BVpp, projector.pool).flatten(2).transpose(1, 2)


def project_pooled(pooled_NTV: Tensor, *, projector: Projector) -> Tensor:
    """The rest of the projector: norm and projection, (N, T, D)."""
    return projector.mm_soft_emb_norm(pooled_NTV) @ projector.mm_input_projection_weight


@torch.no_grad()
def compute_features(
    pixels_NSS3: np.ndarray,
    *,
    tower: VisionTower,
    projector: Projector,
    preprocess: Preprocess,
    path: Path,
    key: str,
    batch: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Encodes pictures, uint8 (N, S, S, 3), or reads what was encoded before under the same key.

    Args:
        preprocess: The contract, which normalizes the pixels.
        path: Where features are kept; those of another key are computed anew.
        key: Of pictures, tower and contract (`osler.train.cache_key`).

    Returns:
        (N, T, V) bfloat16.

    Raises:
        CheckpointError: If the kept file is damaged, or cannot be written.
    """
    if path.is_file():
        kept = read_safetensors(path)
        if kept.metadata.get("key") == key:
            return kept.tensors["pooled"]
    chunks = []
    for start in range(0, len(pixels_NSS3), batch):
        some = PixelBatches(rgb=pixels_NSS3[start : start + batch], preprocess=preprocess)
        with torch.autocast("cpu", torch.bfloat16):
            features = tower(torch.from_numpy(some.array())).float()
            chunks.append(pool_patches(features, projector=projector).to(torch.bfloat16))
        if on_progress is not None:
            on_progress(min(start + batch, len(pixels_NSS3)), len(pixels_NSS3))
    pooled = torch.cat(chunks)
    save_tensors(path, {"pooled": pooled}, metadata={"key": key})
    return pooled
