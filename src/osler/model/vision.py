"""The SigLIP image tower: a plain vision transformer, bidirectional.

Layer norms, biases everywhere, a learned table of absolute positions, no class
token, no pooling head. Parameters carry the published names.

Dimensions: B images, C channels, S side of an image (px), P patches, D width,
F width of the MLP, N heads, H width of a head.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from osler.model.config import VisionConfig


class VisionTower(nn.Module):
    """Turns images into one feature vector a patch.

    Args:
        config: Sizes.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = PatchEmbedding(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, pixels_BCSS: Tensor) -> Tensor:
        """Encodes images.

        Args:
            pixels_BCSS: RGB in [-1, 1]; cast to the dtype of the weights.

        Returns:
            Features (B, P, D), row by row from the top left.
        """
        return self.post_layernorm(self.encoder(self.embeddings(pixels_BCSS)))

    def forward_to(self, pixels_BCSS: Tensor, *, layers: int) -> Tensor:
        """Encodes images with the first layers only; the last norm belongs to all of them.

        Returns:
            (B, P, D).
        """
        x_BPD = self.embeddings(pixels_BCSS)
        for layer in self.encoder.layers[:layers]:
            x_BPD = layer(x_BPD)
        return x_BPD if layers < len(self.encoder.layers) else self.post_layernorm(x_BPD)


class PatchEmbedding(nn.Module):
    """Projects patches and adds their positions."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, config.width, kernel_size=config.patch, stride=config.patch)
        self.position_embedding = nn.Embedding(config.side**2, config.width)

    def forward(self, pixels_BCSS: Tensor) -> Tensor:
        """Returns (B, P, D)."""
        x_BDhw = self.patch_embedding(pixels_BCSS.to(self.patch_embedding.weight.dtype))
        return x_BDhw.flatten(2).transpose(1, 2) + self.position_embedding.weight


class Encoder(nn.Module):
    """The stack of layers."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Returns (B, P, D)."""
        for layer in self.layers:
            x_BPD = layer(x_BPD)
        return x_BPD


class EncoderLayer(nn.Module):
    """Attention and MLP, each after a norm, added to the stream."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.self_attn = VisionAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = VisionMLP(config)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Returns the stream after this layer, (B, P, D)."""
        x_BPD = x_BPD + self.self_attn(self.layer_norm1(x_BPD))
        return x_BPD + self.mlp(self.layer_norm2(x_BPD))


class VisionAttention(nn.Module):
    """Attention of all patches over all patches of an image."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.k_proj = nn.Linear(config.width, config.width)
        self.v_proj = nn.Linear(config.width, config.width)
        self.q_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Returns (B, P, D)."""
        q_BNPH, k_BNPH, v_BNPH = (
            projection(x_BPD).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(self.gather(q_BNPH, k_BNPH=k_BNPH, v_BNPH=v_BNPH).transpose(1, 2).flatten(2))

    def gather(self, q_BNPH: Tensor, *, k_BNPH: Tensor, v_BNPH: Tensor) -> Tensor:
        """Returns the values that queries attend to, (B, N, P, H)."""
        return F.scaled_dot_product_attention(q_BNPH, k_BNPH, v_BNPH)


class VisionMLP(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x_BPD: Tensor) -> Tensor:
        """Returns (B, P, D)."""
        return self.fc2(F.gelu(self.fc1(x_BPD), approximate="tanh"))
