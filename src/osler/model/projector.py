"""From image features to the decoder's embedding space.

Dimensions: B images, P patches, p patches of a side, T soft tokens of an image,
V width of the tower, D width of the decoder.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.model.config import OslerConfig, VisionConfig
from osler.model.norm import RMSNorm


class Projector(nn.Module):
    """Averages squares of patches, normalizes, and projects.

    The result is *not* multiplied by the embedding scale.

    Args:
        config: Of the whole network.
        vision: Of the tower.
    """

    def __init__(self, config: OslerConfig, *, vision: VisionConfig) -> None:
        super().__init__()
        self.side = vision.side
        self.pool = vision.side // math.isqrt(config.image_tokens)
        self.mm_soft_emb_norm = RMSNorm(vision.width, eps=vision.norm_eps)
        self.mm_input_projection_weight = nn.Parameter(torch.zeros(vision.width, config.decoder.width))

    def forward(self, features_BPV: Tensor) -> Tensor:
        """Returns soft tokens, (B, T, D)."""
        return self.project(self.pool_patches(features_BPV))

    def pool_patches(self, features_BPV: Tensor) -> Tensor:
        """Averages squares of patches, (B, T, V); V may be any width."""
        features_BVpp = features_BPV.transpose(1, 2).unflatten(2, (self.side, self.side))
        return F.avg_pool2d(features_BVpp, self.pool).flatten(2).transpose(1, 2)

    def project(self, pooled_V: Tensor) -> Tensor:
        """Normalizes and projects the last axis, (..., V) to (..., D)."""
        return self.mm_soft_emb_norm(pooled_V) @ self.mm_input_projection_weight
