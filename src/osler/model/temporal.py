"""Clinical-temporal attention: images of several dates, and the dated record, made to see each other.

Each token of a time point attends to the same token of its own and earlier time
points, then to the events of the record up to its day. Only differences of days
enter, as smooth functions of the gap, so that shifting all dates changes
nothing and uneven gaps are the normal case. Events carry no order beyond their
day.

Dimensions: B patients, T time points, n tokens of a time point, V width, E
events, C width of a text state, N heads, H width of a head, G features of a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from osler.model.config import TemporalConfig

_SCALES = (1.0, 7.0, 30.0, 180.0, 730.0)
_GAP_FEATURES = 2 * len(_SCALES) + 2
_VALUE_FEATURES = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Events:
    """Events of the record.

    Args:
        text_BEC: What each is: mean embedding of the tokens of its name and unit.
        value_BE: Measured value, 0 at the middle and 1 at the upper end of its reference range; NaN without one.
        day_BE: Day, on the scale of the time points.
        padding_BE: True where there is no event.
    """

    text_BEC: Tensor
    value_BE: Tensor
    day_BE: Tensor
    padding_BE: Tensor


class ClinicalTemporalAttention(nn.Module):
    """Lets every time point see what came before it.

    Args:
        config: Layers and heads.
        width: V. text_width: C.
    """

    def __init__(self, config: TemporalConfig, *, width: int, text_width: int) -> None:
        super().__init__()
        self.event = EventEmbedding(width=width, text_width=text_width)
        self.layers = nn.ModuleList(TemporalLayer(width, heads=config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(
        self, tokens_BTnV: Tensor, *, days_BT: Tensor, padding_BT: Tensor | None = None, events: Events | None = None
    ) -> tuple[Tensor, Tensor]:
        """Attends over time and events.

        Args:
            tokens_BTnV: Tokens of each time point, in order of time.
            days_BT: Day of each, NaN where it is not known (the order then still counts).
            padding_BT: True where there is no time point.
            events: Of the record, or ``None``.

        Returns:
            The tokens, unchanged while the gate is zero, (B, T, n, V); and the states after all
            layers, normalized, which the progression head reads, (B, T, n, V).
        """
        B, T = days_BT.shape
        if padding_BT is None:
            padding_BT = torch.zeros(B, T, dtype=torch.bool, device=days_BT.device)
        order = torch.ones(T, T, dtype=torch.bool, device=days_BT.device).tril()
        # A padded time point sees itself, so that no row of the softmax is empty.
        own = torch.eye(T, dtype=torch.bool, device=days_BT.device)
        seen_BTT = (order & ~padding_BT[:, None]) | own
        gaps_BTTG = gap_features(days_BT[:, :, None] - days_BT[:, None]).to(tokens_BTnV.dtype)
        seen_BTE = gaps_BTEG = event_BEV = None
        if events is not None:
            ahead_BTE = days_BT[:, :, None] - events.day_BE[:, None]
            # An event of the day itself counts; one whose gap is not known does not.
            seen_BTE = (ahead_BTE >= 0) & ~events.padding_BE[:, None]
            gaps_BTEG = gap_features(ahead_BTE).to(tokens_BTnV.dtype)
            event_BEV = self.event(events)
        x_BTnV = tokens_BTnV
        for layer in self.layers:
            x_BTnV = layer(
                x_BTnV,
                seen_BTT=seen_BTT,
                gaps_BTTG=gaps_BTTG,
                event_BEV=event_BEV,
                seen_BTE=seen_BTE,
                gaps_BTEG=gaps_BTEG,
            )
        return tokens_BTnV + torch.tanh(self.gate) * (x_BTnV - tokens_BTnV), self.norm(x_BTnV)


class EventEmbedding(nn.Module):
    """What an event is, and how far its value lies from the middle of the reference range."""

    def __init__(self, *, width: int, text_width: int) -> None:
        super().__init__()
        self.text = nn.Linear(text_width, width)
        self.value = nn.Linear(_VALUE_FEATURES, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, events: Events) -> Tensor:
        """Returns (B, E, V)."""
        known_BE = ~events.value_BE.isnan()
        value_BE = torch.where(known_BE, events.value_BE, 0.0).float()
        soft_BE = torch.asinh(value_BE)
        features = torch.stack(
            (known_BE.float(), soft_BE, (value_BE - 1).relu().log1p(), (-1 - value_BE).relu().log1p()), -1
        )
        return self.norm(self.text(events.text_BEC) + self.value(features.to(events.text_BEC.dtype)))


class TemporalLayer(nn.Module):
    """Attention over time points, attention over events, an MLP; each added to the stream."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.time = GapAttention(width, heads=heads)
        self.record = GapAttention(width, heads=heads)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(
        self,
        x_BTnV: Tensor,
        *,
        seen_BTT: Tensor,
        gaps_BTTG: Tensor,
        event_BEV: Tensor | None,
        seen_BTE: Tensor | None,
        gaps_BTEG: Tensor | None,
    ) -> Tensor:
        """Returns the stream after this layer, (B, T, n, V)."""
        x_BTnV = x_BTnV + self.time(x_BTnV, keys=self.time.norm(x_BTnV), seen=seen_BTT, gaps=gaps_BTTG)
        if event_BEV is not None and seen_BTE is not None and gaps_BTEG is not None:
            x_BTnV = x_BTnV + self.record(x_BTnV, keys=event_BEV[:, :, None], seen=seen_BTE, gaps=gaps_BTEG)
        return x_BTnV + self.mlp(self.norm(x_BTnV))


class GapAttention(nn.Module):
    """Attention whose scores and values know the gap in days between query and key.

    Args:
        width: V. heads: N.
    """

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.gap_bias = nn.Linear(_GAP_FEATURES, heads)
        self.gap_value = nn.Linear(_GAP_FEATURES, width, bias=False)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_BTnV: Tensor, *, keys: Tensor, seen: Tensor, gaps: Tensor) -> Tensor:
        """Attends from each time point to keys.

        Args:
            x_BTnV: Queries.
            keys: (B, S, n or 1, V), normalized; one for all tokens, or one a token.
            seen: (B, T, S). gaps: (B, T, S, G).

        Returns:
            (B, T, n, V); zero where a time point sees no key.
        """
        q_BTnNH = self.q_proj(self.norm(x_BTnV)).unflatten(-1, (self.heads, -1))
        shape = (*keys.shape[:2], x_BTnV.shape[2], -1, -1)
        k_BSnNH = self.k_proj(keys).unflatten(-1, (self.heads, -1)).expand(*shape)
        v_BSnNH = self.v_proj(keys).unflatten(-1, (self.heads, -1)).expand(*shape)
        scores = torch.einsum("btnhd,bsnhd->bnhts", q_BTnNH, k_BSnNH).float() * q_BTnNH.shape[-1] ** -0.5
        scores = scores + self.gap_bias(gaps).float().permute(0, 3, 1, 2)[:, None]
        scores = scores.masked_fill(~seen[:, None, None], -1e30)
        weights = (scores.softmax(-1) * seen[:, None, None]).to(x_BTnV.dtype)
        out_BTnV = torch.einsum("bnhts,bsnhd->btnhd", weights, v_BSnNH).flatten(-2)
        gap_BTSNH = self.gap_value(gaps).unflatten(-1, (self.heads, -1))
        found_BTnV = self.out_proj(out_BTnV + torch.einsum("bnhts,btshd->btnhd", weights, gap_BTSNH).flatten(-2))
        return found_BTnV * seen.any(-1)[..., None, None]


def gap_features(gaps: Tensor) -> Tensor:
    """Smooth functions of a gap in days, (..., G); a gap that is not known (NaN) has a mark of its own.

    ``1 - exp(-g / s)`` and ``log(1 + g / s)`` for scales from a day to two years.
    """
    known = ~gaps.isnan()
    size = torch.where(known, gaps.abs(), 0.0).float()[..., None]
    scales = torch.tensor(_SCALES, device=gaps.device)
    sign = torch.where(known, gaps.sign(), 0.0).float()[..., None]
    return torch.cat((1 - (-size / scales).exp(), (size / scales).log1p(), sign, (~known).float()[..., None]), dim=-1)
