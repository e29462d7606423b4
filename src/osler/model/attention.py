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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 512
"""Queries of a tile."""

SMALL_TILE = 128
"""Queries of a tile where attention is computed by plain products."""

MASKED = -1e30
"""Added to a score that does not count; finite, so that a row without keys does not become NaN."""

FOLD = 16
"""Up to so many queries, those of a group of heads are taken as one longer run of queries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpans:
    """Which keys each query sees, where they lie side by side: ``first`` to ``last - 1``.

    Args:
        first_BL: int32. last_BL: Alike.
    """

    first_BL: Tensor
    last_BL: Tensor


class KeyView:
    """What the queries of one forward pass see in the layers of one kind.

    Args:
        positions_BL: Positions of the queries.
        last_BL: Greatest position that each query sees.
        keys_BS: Positions of the keys, -1 for those that no query sees.
        reach: By how many positions a query sees ahead at most.
        window: Keys that a query sees, its own included; ``None`` for all.
        dtype: Of the scores.
    """

    def __init__(
        self,
        *,
        positions_BL: Tensor,
        last_BL: Tensor,
        keys_BS: Tensor,
        reach: int,
        window: int | None,
        dtype: torch.dtype,
    ) -> None:
        self.positions_BL = positions_BL
        self.last_BL = last_BL
        self.keys_BS = keys_BS
        self.reach = reach
        self.window = window
        self.dtype = dtype
        self._masks: dict[tuple[int, int, int], Tensor] = {}
        self._spans: KeySpans | None = None

    def tiles(self, *, size: int = TILE) -> Iterator[tuple[slice, slice]]:
        """Yields each tile's queries and the keys that any of them may see."""
        L, S = self.positions_BL.shape[1], self.keys_BS.shape[1]
        for start in range(0, L, size):
            stop = min(start + size, L)
            # A single query gets its keys in any order, so that none can be told by its place.
            first = 0 if self.window is None or L == 1 else max(0, S - L + start - self.window + 1)
            yield slice(start, stop), slice(first, min(S, S - L + stop + self.reach))

    def spans(self) -> KeySpans | None:
        """Returns the keys that each query sees, ``None`` where they do not lie in order."""
        if self._spans is None:
            keys_BS = self.keys_BS.expand(len(self.positions_BL), -1).contiguous()
            if bool((keys_BS[:, 1:] < keys_BS[:, :-1]).any()):
                return None
            before_BL = torch.full_like(self.positions_BL, -1)
            if self.window is not None:
                before_BL = (self.positions_BL - self.window).clamp(min=-1)
            first_BL, last_BL = (
                torch.searchsorted(keys_BS, end_BL.contiguous(), right=True).int().contiguous()
                for end_BL in (before_BL, self.last_BL)
            )
            self._spans = KeySpans(first_BL=first_BL, last_BL=last_BL)
        return self._spans

    def mask(self, queries: slice, keys: slice) -> Tensor:
        """Returns (B, 1, T, U): what to add to the scores of a tile.

        The masks of a short input are kept for the other layers.
        """
        place = (queries.start, keys.start, keys.stop)
        if place in self._masks:
            return self._masks[place]
        keys_B1U = self.keys_BS[:, None, keys]
        seen_BTU = (keys_B1U <= self.last_BL[:, queries, None]) & (keys_B1U >= 0)
        if self.window is not None:
            seen_BTU &= keys_B1U > self.positions_BL[:, queries, None] - self.window
        mask_BTU = torch.zeros(seen_BTU.shape, dtype=self.dtype, device=seen_BTU.device)
        mask_B1TU = mask_BTU.masked_fill_(~seen_BTU, -torch.inf)[:, None]
        if self.positions_BL.shape[1] <= TILE:
            self._masks[place] = mask_B1TU
        return mask_B1TU


def causal_spans(batch: int, queries: int) -> KeySpans:
    """Says that each query sees the keys up to its own, of as many as there are queries."""
    last_BL = torch.arange(1, queries + 1, dtype=torch.int32).expand(batch, -1).contiguous()
    return KeySpans(first_BL=torch.zeros_like(last_BL), last_BL=last_BL)


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
    if softcap is None and q_BNLH.shape[2] > FOLD and _products_are_faster(q_BNLH):
        by_products = _learn_by_products if torch.is_grad_enabled() else _attend_by_products
        return by_products(q_BNLH, k_BKSH, v_BKSH, view=view, scale=scale)
    if view is None:
        causal = q_BNLH.shape[2] > 1
        return _attend_tile(q_BNLH, k_BKSH, v_BKSH, mask="causal" if causal else None, scale=scale, softcap=softcap)
    tiles = [
        _attend_tile(
            q_BNLH[:, :, queries],
            k_BKSH[:, :, keys],
            v_BKSH[:, :, keys],
            mask=view.mask(queries, keys),
            scale=scale,
            softcap=softcap,
        )
        for queries, keys in view.tiles()
    ]
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=2)


def _products_are_faster(q_BNLH: Tensor) -> bool:
    """PyTorch's fused kernel for CPUs is much slower in bfloat16 than its products, backward too (torch 2.13)."""
    return q_BNLH.device.type == "cpu" and q_BNLH.dtype == torch.bfloat16


def _attend_by_products(
    q_BNLH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, *, view: KeyView | None, scale: float
) -> Tensor:
    """Computes attention in small tiles by plain products; the softmax is in float32.

    Scores are rounded to bfloat16, as in the reference's attention without a fused kernel.
    """
    B, N, L, H = q_BNLH.shape
    K = k_BKSH.shape[1]
    out_BNLH = q_BNLH.new_empty(B, N, L, H)
    future_TT = torch.full((SMALL_TILE, SMALL_TILE), MASKED, dtype=torch.float32).triu_(1)
    causal = ((slice(t, min(t + SMALL_TILE, L)), slice(0, min(t + SMALL_TILE, L))) for t in range(0, L, SMALL_TILE))
    for queries, keys in causal if view is None else view.tiles(size=SMALL_TILE):
        T, U = queries.stop - queries.start, keys.stop - keys.start
        mask_BTU = None if view is None else view.mask(queries, keys=keys)[:, 0].float().clamp_(min=MASKED)
        for row in range(B):
            for head in range(K):
                group = slice(head * N // K, (head + 1) * N // K)
                q_GTH, k_UH, v_UH = q_BNLH[row, group, queries], k_BKSH[row, head, keys], v_BKSH[row, head, keys]
                scores_GTU = (q_GTH.reshape(-1, H) @ k_UH.t()).float().mul_(scale).view(-1, T, U)
                if mask_BTU is None:
                    scores_GTU[..., U - T :] += future_TT[:T, :T]
                else:
                    scores_GTU += mask_BTU[row]
                weights = scores_GTU.softmax(dim=-1).to(q_BNLH.dtype)
                out_BNLH[row, group, queries] = (weights.view(-1, U) @ v_UH).view(-1, T, H)
    return out_BNLH


def _learn_by_products(q_BNLH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, *, view: KeyView | None, scale: float) -> Tensor:
    """The same in tiles of `TILE` by products that a gradient flows through."""
    groups = q_BNLH.shape[1] // k_BKSH.shape[1]
    if view is None:
        positions_1L = torch.arange(q_BNLH.shape[2])[None]
        view = KeyView(
            positions_BL=positions_1L, last_BL=positions_1L, keys_BS=positions_1L, reach=0, window=None,
            dtype=torch.float32,
        )  # fmt: skip
    tiles = []
    for queries, keys in view.tiles():
        q_BKtH = q_BNLH[:, :, queries].unflatten(1, (-1, groups)).flatten(2, 3)
        mask_B1TU = view.mask(queries, keys=keys).clamp(min=MASKED)
        scores_BKtU = (scale * q_BKtH) @ k_BKSH[:, :, keys].transpose(-1, -2)
        seen_BNTU = scores_BKtU.unflatten(2, (groups, -1)).flatten(1, 2) + mask_B1TU
        weights_BNTU = seen_BNTU.softmax(dim=-1, dtype=torch.float32).to(q_BNLH.dtype)
        weights_BKtU = weights_BNTU.unflatten(1, (-1, groups)).flatten(2, 3)
        tiles.append((weights_BKtU @ v_BKSH[:, :, keys]).unflatten(2, (groups, -1)).flatten(1, 2))
    return tiles[0] if len(tiles) == 1 else torch.cat(tiles, dim=2)


def _attend_tile(
    q_BNTH: Tensor,
    k_BKUH: Tensor,
    v_BKUH: Tensor,
    *,
    mask: Tensor | Literal["causal"] | None,
    scale: float,
    softcap: float | None,
) -> Tensor:
    T, U, groups = q_BNTH.shape[2], k_BKUH.shape[2], q_BNTH.shape[1] // k_BKUH.shape[1]
    if softcap is not None:
        if isinstance(mask, str):
            hidden_TU = torch.ones(T, U, dtype=torch.bool, device=q_BNTH.device).triu(1)
            mask = torch.zeros(T, U, dtype=q_BNTH.dtype, device=q_BNTH.device).masked_fill_(hidden_TU, -torch.inf)
        return _attend_softcapped(q_BNTH, k_BKUH, v_BKUH, mask=mask, scale=scale, softcap=softcap)
    if isinstance(mask, str):
        return F.scaled_dot_product_attention(
            q_BNTH, k_BKUH, v_BKUH, is_causal=True, scale=scale, enable_gqa=groups > 1
        )
    if groups > 1 and T <= FOLD:
        # Far faster than repeated keys for one token on a CPU, with the same result.
        q_BKtH = q_BNTH.unflatten(1, (-1, groups)).flatten(2, 3)
        if mask is not None:
            mask = mask.expand(-1, -1, groups, -1) if T == 1 else mask.repeat(1, 1, groups, 1)
        return F.scaled_dot_product_attention(q_BKtH, k_BKUH, v_BKUH, attn_mask=mask, scale=scale).reshape(q_BNTH.shape)
    return F.scaled_dot_product_attention(q_BNTH, k_BKUH, v_BKUH, attn_mask=mask, scale=scale, enable_gqa=groups > 1)


def _attend_softcapped(
    q_BNTH: Tensor, k_BKUH: Tensor, v_BKUH: Tensor, *, mask: Tensor | None, scale: float, softcap: float
) -> Tensor:
    groups = q_BNTH.shape[1] // k_BKUH.shape[1]
    k_BNUH, v_BNUH = (x.repeat_interleave(groups, dim=1) for x in (k_BKUH, v_BKUH))
    scores_BNTU = torch.tanh(q_BNTH @ k_BNUH.transpose(-1, -2) * scale / softcap) * softcap
    if mask is not None:
        # A row without any key must not become NaN: a finite bound instead of infinity.
        scores_BNTU = scores_BNTU + mask.clamp(min=torch.finfo(mask.dtype).min)
    return scores_BNTU.softmax(dim=-1, dtype=torch.float32).to(q_BNTH.dtype) @ v_BNUH
