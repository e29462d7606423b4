"""Tubelets: several slices read by the image tower as one.

The tower's 2D patch weights are inflated along depth. With ``W`` the weights of
a patch and ``E_j`` the learned deviation of place j, place j of a tubelet of d
slices has the weights ``W / d + E_j - mean(E)`` (inflation: Carreira and
Zisserman, arXiv 1705.07750; tubelets: ViViT, arXiv 2103.15691).

It is computed as ``W * mean(slices) + sum_j E_j * (slice_j - mean(slices))``,
which is the same, and in which a stack of equal slices embeds as one of them to
the last bit, before and after training: d is a power of two, so the mean of
equal numbers is taken without rounding, and the differences are zero.

Dimensions: X slabs, d slices of a tubelet, C channels, S side of an image (px),
P patches of a slab, V width of the tower, p side of a patch (px).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.config import VisionConfig, VolumeConfig
from osler.model.vision import PatchEmbedding
from osler.prepare.slab_plan import slot_slices


class TubeletEmbedding(nn.Module):
    """Projects tubelets with the tower's own patch weights and a deviation that starts at zero.

    Args:
        config: Of the volumetric path.
        vision: Of the tower.
    """

    def __init__(self, config: VolumeConfig, *, vision: VisionConfig) -> None:
        super().__init__()
        self.depth = config.depth
        self.deviation = nn.Parameter(torch.zeros(vision.width, 3, config.depth, vision.patch, vision.patch))

    def forward(self, tubelets_XdCSS: Tensor, *, patches: PatchEmbedding) -> Tensor:
        """Embeds tubelets, positions in the plane included.

        Args:
            tubelets_XdCSS: RGB in [-1, 1]. Another number of slices than `depth` is spread over its
                places by `slot_slices`: a short tubelet repeats slices.
            patches: Of the tower.

        Returns:
            (X, P, V), for the tower's layers.
        """
        slots_XdCSS = spread_slots(tubelets_XdCSS, depth=self.depth)
        mean_XCSS = mean_of_slots(slots_XdCSS)
        differences_XCdSS = (slots_XdCSS - mean_XCSS[:, None]).transpose(1, 2).to(self.deviation.dtype)
        deviation_XVhw = F.conv3d(differences_XCdSS, self.deviation, stride=self.deviation.shape[2:])[:, :, 0]
        embedded_XPV = patches(mean_XCSS)
        return embedded_XPV + deviation_XVhw.flatten(2).transpose(1, 2).to(embedded_XPV.dtype)

    def inflated_weight(self, patches: PatchEmbedding) -> Tensor:
        """Returns the 3D weights that `forward` amounts to, (V, 3, d, p, p); for export and tests."""
        flat_V3pp = patches.patch_embedding.weight
        return flat_V3pp[:, :, None] / self.depth + self.deviation - self.deviation.mean(2, keepdim=True)


def spread_slots(tubelets_XdCSS: Tensor, *, depth: int) -> Tensor:
    """Spreads slices over ``depth`` places by `slot_slices`."""
    count = tubelets_XdCSS.shape[1]
    return tubelets_XdCSS if count == depth else tubelets_XdCSS[:, list(slot_slices(count, depth=depth))]


def mean_of_slots(tubelets_XdCSS: Tensor) -> Tensor:
    """Averages the slices of tubelets by halves, (X, C, S, S): without rounding where they are equal.

    Raises:
        RequestError: If the number of slices is not a power of two.
    """
    count = tubelets_XdCSS.shape[1]
    if count < 1 or count & (count - 1):
        raise RequestError(f"A tubelet of {count} slices.", allowed="A power of two.")
    while tubelets_XdCSS.shape[1] > 1:
        tubelets_XdCSS = (tubelets_XdCSS[:, 0::2] + tubelets_XdCSS[:, 1::2]) * 0.5
    return tubelets_XdCSS[:, 0]
