"""Which keys a query sees, and attention over them in bounded memory.

Notable choices:

- A token of an image block sees the whole block; since blocks are contiguous,
  "causal or same block" is "not after the last position that the query sees".
- Long inputs are cut into tiles of queries, so that no mask of all queries by
  all keys exists; tiles of a sliding layer read only the keys of the window.
- Without image blocks, padding or a cache there is no mask at all.

Dimensions: B batch, L queries, S keys, N query heads, K key heads, H width of
a head. Tiles have T queries and U keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 512
"""Queries of a tile."""


@dataclass(slots=True, kw_only=True)
class KeyView:
    """What the queries of one forward pass see in the layers of one kind.

    Args:
        positions_BL: Positions of the queries.
        last_BL: Greatest position that each query sees.
        keys_BS: Positions of the keys, -1 for those that no query sees.
        reach: By how many positions a query sees ahead at most.
        window: Keys that a query sees, its own included; ``None`` for all.
    """

    positions_BL: Tensor
    last_BL: Tensor
    keys_BS: Tensor
    reach: int
    window: int | None
    _kept_mask: Tensor | None = field(default=None, init=False)

    def mask(self, queries: slice, keys: slice) -> Tensor:
        """Returns (B, 1, T, U) booleans, true where a query sees a key."""
        single = queries == slice(0, self.positions_BL.shape[1])
        if single and self._kept_mask is not None:
            return self._kept_mask
        keys_B1U = self.keys_BS[:, None, keys]
        seen_BTU = (keys_B1U <= self.last_BL[:, queries, None]) & (keys_B1U >= 0)
        if self.window is not None:
            seen_BTU &= keys_B1U > self.positions_BL[:, queries, None] - self.window
        if single:
            self._kept_mask = seen_BTU[:, None]
        return seen_BTU[:, None]


def last_seen(positions_BL: Tensor, *, image_blocks_BL: Tensor | None) -> Tensor:
    """Finds the greatest position that each query may see.

    Args:
        positions_BL: Positions of the queries.
        image_blocks_BL: The image of each token, -1 for text; or ``None``.

    Returns:
        (B, L): its own position for text, the last of its image otherwise.
    """
    if image_blocks_BL is None:
        return positions_BL
    far = torch.iinfo(positions_BL.dtype).max
    ends_BL = torch.ones_like(image_blocks_BL, dtype=torch.bool)
    ends_BL[:, :-1] = image_blocks_BL[:, 1:] != image_blocks_BL[:, :-1]
    ends_BL |= image_blocks_BL < 0
    return torch.where(ends_BL, positions_BL, far).flip(1).cummin(1).values.flip(1)


def attend(
    q_BNLH: Tensor, *, k_BKSH: Tensor, v_BKSH: Tensor, view: KeyView | None, scale: float, softcap: float | None
) -> Tensor:
    """Computes attention, query heads in groups that share a key head.

    Args:
        q_BNLH: Queries. k_BKSH: Keys. v_BKSH: Values.
        view: What each query sees; ``None``: all keys up to its own, where the
            queries are the last L keys and L is 1 or S.
        scale: Factor on the scores.
        softcap: Bound of the scores, or ``None``.

    Returns:
        (B, N, L, H).
    """
    L, S = q_BNLH.shape[2], k_BKSH.shape[2]
    if view is None:
        if softcap is None:
            return F.scaled_dot_product_attention(
                q_BNLH, k_BKSH, v_BKSH, is_causal=L > 1, scale=scale, enable_gqa=q_BNLH.shape[1] != k_BKSH.shape[1]
            )
        mask = torch.ones(L, S, dtype=torch.bool, device=q_BNLH.device).tril(S - L)
        return _attend_tile(q_BNLH, k_BKSH, v_BKSH, mask=mask, scale=scale, softcap=softcap)
    tiles = []
    for start in range(0, L, TILE):
        queries = slice(start, min(start + TILE, L))
        first = 0 if view.window is None or L == 1 else max(0, S - L + queries.start - view.window + 1)
        keys = slice(first, min(S, S - L + queries.stop + view.reach))
        tiles.append(
            _attend_tile(
                q_BNLH[:, :, queries],
                k_BKSH[:, :, keys],
                v_BKSH[:, :, keys],
                mask=view.mask(queries, keys),
                scale=scale,
                softcap=softcap,
            )
        )
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=2)


def _attend_tile(q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor, scale: float, softcap: float | None) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    if softcap is None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=groups > 1)
    k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
    scores = (q @ k.transpose(-1, -2)) * scale
    scores = torch.tanh(scores / softcap) * softcap
    scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype) @ v
