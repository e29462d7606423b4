"""Heads that read image features: where, what, whether, and how alike.

All read the same features, those of `HeadTrunk`, and their positions: the same
code serves one picture and a volume of any depth, because a feature's place is
given by coordinates and not by its index.

Dimensions: B studies, M features of a study, V width of the tower, C width of a
text state, Q queries, F findings, N heads, H width of a head, E width of the
shared space. Coordinates run along x (columns), y (rows), z (slices), 0 to 1.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.model.config import HeadsConfig, OslerConfig, VisionConfig
from osler.model.vision import EncoderLayer

CHANGES = ("absent", "new", "resolved", "worsened", "improved", "stable")
"""What became of a finding since the date before, in the order of `ProgressionHead`'s scores."""

_FREQUENCIES = 8
_OFFSET = 0.08
_EPS = 1e-5
_MOMENTUM = 0.05


class HeadTrunk(nn.Module):
    """The last layers of the tower once more, so that heads can learn without changing what the decoder reads.

    Args:
        vision: Of the tower.
        layers: How many; with 0 the features pass through.
    """

    def __init__(self, vision: VisionConfig, *, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(vision) for _ in range(layers))
        self.norm = nn.LayerNorm(vision.width, eps=vision.norm_eps) if layers else nn.Identity()

    def forward(self, x_BPV: Tensor) -> Tensor:
        """Returns features (B, P, V) from those before the copied layers."""
        for layer in self.layers:
            x_BPV = layer(x_BPV)
        return self.norm(x_BPV)


class CrossAttention(nn.Module):
    """Attention of queries over features, normalized first.

    Args:
        width: Of queries and features. heads: Number N.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, q_BQV: Tensor, *, features_BMV: Tensor, padding_BM: Tensor | None = None) -> Tensor:
        """Returns what the queries gather, (B, Q, V).

        Args:
            q_BQV: Queries. features_BMV: What they read.
            padding_BM: True where a feature is none.
        """
        q_BNQH, k_BNMH, v_BNMH = (
            projection(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection, x in (
                (self.q_proj, self.norm(q_BQV)),
                (self.k_proj, features_BMV),
                (self.v_proj, features_BMV),
            )
        )
        seen = None if padding_BM is None else ~padding_BM[:, None, None]
        out_BNQH = F.scaled_dot_product_attention(q_BNQH, k_BNMH, v_BNMH, attn_mask=seen)
        return self.out_proj(out_BNQH.transpose(1, 2).flatten(2))


class PositionEmbedding(nn.Module):
    """Sines and cosines of coordinates, mapped to the width of the features, from zero.

    Args:
        width: V.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(3 * 2 * _FREQUENCIES, width, bias=False)
        nn.init.zeros_(self.proj.weight)

    def forward(self, positions_BM3: Tensor) -> Tensor:
        """Returns (B, M, V)."""
        octaves = math.pi * 2.0 ** torch.arange(_FREQUENCIES, device=positions_BM3.device) / 2
        angles = (positions_BM3[..., None].float() * octaves).flatten(-2)
        return self.proj(torch.cat((angles.sin(), angles.cos()), dim=-1).to(self.proj.weight.dtype))


class BoxHead(nn.Module):
    """Finds the box of a label that is given as text, in a picture or a volume.

    Each of the six edges attends over the features; where its attention lies on
    average is where the edge is, up to a small offset. So an edge is found at
    any resolution and depth, between the centers of patches.

    Args:
        config: Of the heads. width: V. text_width: C.
    """

    def __init__(self, config: HeadsConfig, *, width: int, text_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(text_width, width)
        self.position = PositionEmbedding(width)
        self.attention = CrossAttention(width, heads=config.heads)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.edges = nn.Linear(width, 6 * width)
        self.keys = nn.Linear(width, width)
        self.offset = nn.Linear(width, 6)
        self.presence = nn.Linear(width, 1)

    def forward(
        self,
        text_BQC: Tensor,
        *,
        features_BMV: Tensor,
        positions_BM3: Tensor,
        padding_BM: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Finds one box a label.

        Args:
            text_BQC: States of the labels: mean embeddings of their tokens, or the decoder's state at ``<box>``.
            features_BMV: Of `HeadTrunk`.
            positions_BM3: Centers of the features, 0 to 1 along x, y and z; z is 0.5 in a picture.
            padding_BM: True where a feature is none.

        Returns:
            Boxes (B, Q, 6): x0, y0, z0, x1, y1, z1 in 0 to 1, ordered; and logits of their presence (B, Q).
        """
        x_BQV, placed_BMV = self.states(
            text_BQC, features_BMV=features_BMV, positions_BM3=positions_BM3, padding_BM=padding_BM
        )
        edges_BQ6V = self.edges(x_BQV).unflatten(-1, (6, -1))
        scores = torch.einsum("bqev,bmv->bqem", edges_BQ6V, self.keys(placed_BMV)).float()
        scores = scores * edges_BQ6V.shape[-1] ** -0.5
        if padding_BM is not None:
            scores = scores.masked_fill(padding_BM[:, None, None], -torch.inf)
        places_BQ63 = torch.einsum("bqem,bmc->bqec", scores.softmax(-1), positions_BM3.float())
        axis = torch.arange(6, device=scores.device) % 3
        found_BQ6 = places_BQ63.gather(-1, axis.view(1, 1, 6, 1).expand(*places_BQ63.shape[:2], 6, 1))[..., 0]
        found_BQ6 = (found_BQ6 + _OFFSET * torch.tanh(self.offset(x_BQV).float())).clamp(0, 1)
        low, high = found_BQ6[..., :3], found_BQ6[..., 3:]
        boxes_BQ6 = torch.cat((torch.minimum(low, high), torch.maximum(low, high)), dim=-1)
        return boxes_BQ6, self.presence(x_BQV)[..., 0].float()

    def states(
        self, text_BQC: Tensor, *, features_BMV: Tensor, positions_BM3: Tensor, padding_BM: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Gathers what each label needs; returns its state (B, Q, V) and the features with their places (B, M, V)."""
        placed_BMV = features_BMV + self.position(positions_BM3).to(features_BMV.dtype)
        x_BQV = self.query(text_BQC)
        x_BQV = x_BQV + self.attention(x_BQV, features_BMV=placed_BMV, padding_BM=padding_BM)
        return x_BQV + self.mlp(self.norm(x_BQV)), placed_BMV


class PictureNorm(nn.Module):
    """Normalizes each state of each finding over pictures: those of a batch in training, those of training in use.

    Features of a tower that never saw findings are nearly alike on all chest films; after a norm over their own
    width the little that differs stays little, and the head learns less
    (benchmarks/ablate_training.md, `layer-states`).

    Args:
        count: Findings. width: V.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(count, width))
        self.register_buffer("variance", torch.ones(count, width))

    def forward(self, state_BFV: Tensor) -> Tensor:
        """Returns states with mean 0 and variance 1 over pictures, (B, F, V)."""
        x_BFV = state_BFV.float()
        mean_FV, variance_FV = self.mean.float(), self.variance.float()
        count, *moments = self.moments(x_BFV) if self.training else (1, mean_FV, variance_FV)
        if count > 1:
            mean_FV, variance_FV = moments
            with torch.no_grad():
                self.mean.lerp_(mean_FV.detach().to(self.mean), _MOMENTUM)
                # The estimate for all pictures, of which a batch is a few.
                self.variance.lerp_((variance_FV.detach() * count / (count - 1)).to(self.variance), _MOMENTUM)
        return ((x_BFV - mean_FV) * (variance_FV + _EPS).rsqrt()).to(state_BFV.dtype)

    def moments(self, x_BFV: Tensor) -> tuple[int, Tensor, Tensor]:
        """Returns the number of pictures of a batch, and mean and variance of their states, (F, V)."""
        return len(x_BFV), x_BFV.mean(0), x_BFV.var(0, correction=0)


class FindingsHead(nn.Module):
    """One query a finding gathers what it needs; a state and a logit for each.

    Args:
        config: Of the heads. width: V.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, config: HeadsConfig, *, width: int) -> None:
        super().__init__()
        count = len(config.findings)
        self.queries = nn.Parameter(normal(count, width, std=0.02))
        self.attention = CrossAttention(width, heads=config.heads)
        self.norm = PictureNorm(count, width) if config.states == "batch" else nn.LayerNorm(width)
        self.weight = nn.Parameter(normal(count, width, std=width**-0.5))
        self.bias = nn.Parameter(torch.full((count,), -2.0))
        # Fitted on patients kept out of training: logit -> scale * logit + shift. NaN: not calibrated.
        self.register_buffer("scale", torch.full((count,), torch.nan))
        self.register_buffer("shift", torch.zeros(count))

    def forward(self, features_BMV: Tensor, *, padding_BM: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Returns a state (B, F, V) and a logit (B, F) for each finding, not yet calibrated."""
        q_BFV = self.queries.to(features_BMV.dtype).expand(len(features_BMV), -1, -1)
        state_BFV = self.norm(q_BFV + self.attention(q_BFV, features_BMV=features_BMV, padding_BM=padding_BM))
        return state_BFV, (state_BFV.float() * self.weight.float()).sum(-1) + self.bias.float()

    def probabilities(self, logits_BF: Tensor) -> Tensor:
        """Turns logits into probabilities, NaN for a finding that was not calibrated."""
        return (self.scale * logits_BF + self.shift).sigmoid()


class ProgressionHead(nn.Module):
    """Scores what became of each finding, from its state after attention over time.

    Args:
        width: V.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, len(CHANGES)))

    def forward(self, state_BFV: Tensor) -> Tensor:
        """Returns scores of `CHANGES`, (B, F, 6)."""
        return self.mlp(self.norm(state_BFV)).float()


class ContrastiveHead(nn.Module):
    """Puts images and texts into one space, for the sigmoid loss of SigLIP (arXiv 2303.15343).

    Args:
        config: Of the heads. width: V. text_width: C.
    """

    def __init__(self, config: HeadsConfig, *, width: int, text_width: int) -> None:
        super().__init__()
        self.query = nn.Parameter(normal(1, width, std=0.02))
        self.attention = CrossAttention(width, heads=config.heads)
        self.image = nn.Linear(width, config.embedding, bias=False)
        self.text_norm = nn.LayerNorm(text_width)
        self.text = nn.Linear(text_width, config.embedding, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.logit_bias = nn.Parameter(torch.tensor(-10.0))

    def images(self, features_BMV: Tensor, *, padding_BM: Tensor | None = None) -> Tensor:
        """Returns unit vectors of studies, (B, E)."""
        q_B1V = self.query.to(features_BMV.dtype).expand(len(features_BMV), -1, -1)
        pooled_BV = self.attention(q_B1V, features_BMV=features_BMV, padding_BM=padding_BM)[:, 0]
        return F.normalize(self.image(pooled_BV).float(), dim=-1)

    def texts(self, text_BC: Tensor) -> Tensor:
        """Returns unit vectors of texts, (B, E)."""
        return F.normalize(self.text(self.text_norm(text_BC)).float(), dim=-1)

    def logits(self, images_BE: Tensor, texts_KE: Tensor) -> Tensor:
        """Scores every image with every text, (B, K)."""
        return images_BE @ texts_KE.T * self.logit_scale.exp() + self.logit_bias


class Heads(nn.Module):
    """All heads with their trunk.

    Args:
        config: Of the whole network, with ``heads`` and ``vision``.
    """

    def __init__(self, config: OslerConfig) -> None:
        super().__init__()
        assert config.heads is not None
        assert config.vision is not None
        width, text_width = config.vision.width, config.decoder.width
        self.config = config.heads
        self.trunk = HeadTrunk(config.vision, layers=config.heads.trunk)
        self.boxes = BoxHead(config.heads, width=width, text_width=text_width)
        self.findings = FindingsHead(config.heads, width=width)
        self.progression = ProgressionHead(width=width)
        self.contrastive = ContrastiveHead(config.heads, width=width, text_width=text_width)
        # Of local scans: what was measured of the shipped head stays true of it.
        self.taught = BoxHead(config.heads, width=width, text_width=text_width) if config.heads.taught else None


def normal(rows: int, width: int, *, std: float) -> Tensor:
    """Draws a matrix by an initialization that networks without storage skip: other operations import a compiler."""
    return nn.init.normal_(torch.empty(rows, width), std=std)


def patch_positions(side: int, *, slices: int = 1, device: torch.device | None = None) -> Tensor:
    """Centers of the patches of a stack of pictures, (slices * side * side, 3), 0 to 1 along x, y, z."""
    at = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side
    depth = (torch.arange(slices, device=device, dtype=torch.float32) + 0.5) / slices
    z, y, x = torch.meshgrid(depth, at, at, indexing="ij")
    return torch.stack((x, y, z), dim=-1).flatten(0, 2)


def volume_features(features_NPV: Tensor, *, depth_BS: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Joins the slices of volumes, four patches to one.

    Args:
        features_NPV: Of the slices of all volumes, one after the other.
        depth_BS: Center of each slice along its volume, 0 to 1; S slices each.
        side: Patches along one side of a slice, an even number.

    Returns:
        Features (B, M, V) and the places of their centers (B, M, 3).
    """
    B, S = depth_BS.shape
    grid_NVpp = features_NPV.transpose(1, 2).unflatten(2, (side, side))
    pooled_NpV = F.avg_pool2d(grid_NVpp, 2).flatten(2).transpose(1, 2)
    places_BSp3 = patch_positions(side // 2, device=features_NPV.device).expand(B, S, -1, -1).clone()
    places_BSp3[..., 2] = depth_BS[..., None].to(places_BSp3)
    return pooled_NpV.unflatten(0, (B, S)).flatten(1, 2), places_BSp3.flatten(1, 2)
