"""Attention: who sees whom, in tiles, folded, soft-capped."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from osler.model.attention import FOLD, TILE, KeyView, attend, last_seen


def _plain(q: Tensor, k: Tensor, v: Tensor, *, seen: Tensor, scale: float, softcap: float | None) -> Tensor:
    """Attention by its definition, in float64."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1).double(), v.repeat_interleave(groups, 1).double()
    scores = q.double() @ k.transpose(-1, -2) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v


def _draw(B: int, L: int, S: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((B, 4, L, 8), (B, 2, S, 8), (B, 2, S, 8))
    q, k, v = (torch.randn(shape, generator=generator) for shape in shapes)
    return q, k, v


@settings(max_examples=40, deadline=None)
@given(
    earlier=st.integers(0, 40),
    new=st.integers(1, 60),
    window=st.sampled_from([None, 1, 7, 32]),
    softcap=st.sampled_from([None, 2.0]),
    blocks=st.lists(st.integers(1, 9), max_size=6),
    seed=st.integers(0, 9),
)
def test_sees_what_the_definition_says(
    earlier: int, new: int, window: int | None, softcap: float | None, blocks: list[int], seed: int
) -> None:
    ids = torch.full((1, new), -1)
    start = 0
    for number, length in enumerate(blocks):
        ids[:, start + 1 : start + 1 + length] = number
        start += length + 1
    q, k, v = _draw(1, new, earlier + new, seed=seed)
    positions = torch.arange(earlier, earlier + new)[None]
    keys = torch.arange(earlier + new)[None]
    last = last_seen(positions, image_blocks_BL=ids)
    view = KeyView(
        positions_BL=positions,
        last_BL=last,
        keys_BS=keys,
        reach=int((last - positions).max()),
        window=window,
        dtype=q.dtype,
    )
    key_ids = torch.cat((torch.full((1, earlier), -2), ids), dim=1)
    same = (ids[:, :, None] == key_ids[:, None]) & (ids[:, :, None] >= 0)
    seen = (keys[:, None] <= positions[:, :, None]) | same
    if window is not None:
        seen &= keys[:, None] > positions[:, :, None] - window
    found = attend(q, k_BKSH=k, v_BKSH=v, view=view, scale=0.3, softcap=softcap)
    wanted = _plain(q, k, v, seen=seen[:, None], scale=0.3, softcap=softcap)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize(("L", "S"), [(1, 9), (9, 9), (FOLD + 1, FOLD + 1)])
def test_no_view_is_causal(L: int, S: int, softcap: float | None) -> None:
    q, k, v = _draw(2, L, S)
    found = attend(q, k_BKSH=k, v_BKSH=v, view=None, scale=0.3, softcap=softcap)
    seen = torch.ones(L, S, dtype=torch.bool).tril(S - L)
    wanted = _plain(q, k, v, seen=seen, scale=0.3, softcap=softcap)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("L", [1, 30])
def test_a_row_of_padding_stays_finite(L: int, softcap: float | None) -> None:
    q, k, v = _draw(2, L, L)
    positions = torch.arange(L).expand(2, L)
    keys = positions.clone()
    keys[1] = -1
    view = KeyView(positions_BL=positions, last_BL=positions, keys_BS=keys, reach=0, window=8, dtype=q.dtype)
    assert attend(q, k_BKSH=k, v_BKSH=v, view=view, scale=1.0, softcap=softcap).isfinite().all()


class _Largest(TorchDispatchMode):
    """Notes the largest tensor that an operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.elements = max(self.elements, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


@pytest.mark.parametrize(("window", "keys"), [(None, 4096), (100, TILE + 100 + 3)])
def test_long_inputs_never_make_a_mask_of_all_by_all(window: int | None, keys: int) -> None:
    L = 4096
    q, k, v = _draw(1, L, L)
    positions = torch.arange(L)[None]
    view = KeyView(positions_BL=positions, last_BL=positions, keys_BS=positions, reach=3, window=window, dtype=q.dtype)
    with _Largest() as largest, torch.inference_mode():
        attend(q, k_BKSH=k, v_BKSH=v, view=view, scale=1.0, softcap=None)
    inputs = q.numel()
    assert 0 < largest.elements <= max(TILE * keys, inputs)


def test_last_seen_is_the_end_of_the_image() -> None:
    positions = torch.arange(10, 18)[None]
    blocks = torch.tensor([[-1, 0, 0, 1, 1, 1, -1, 2]])
    assert last_seen(positions, image_blocks_BL=blocks).tolist() == [[10, 12, 12, 15, 15, 15, 16, 17]]


@pytest.mark.parametrize(
    ("queries", "keys", "window", "images"),
    [(300, 300, None, False), (300, 700, 200, False), (200, 400, None, True), (130, 130, 64, True)],
    ids=["causal", "window behind a cache", "images and padding", "images in a window"],
)
def test_products_agree_with_the_fused_kernel(
    queries: int, keys: int, window: int | None, images: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, heads, length, 32, generator=generator) for heads, length in ((4, queries), (2, keys), (2, keys))
    )
    positions = torch.arange(keys - queries, keys)[None].expand(2, -1)
    blocks = None
    if images:
        blocks = torch.full((2, queries), -1)
        blocks[:, 20:60], blocks[:, 100:120] = 0, 1
    key_positions = torch.arange(keys)[None].repeat(2, 1)
    if images:
        key_positions[1, :15] = -1
    last = last_seen(positions, image_blocks_BL=blocks)

    def attended(dtype: torch.dtype) -> list[torch.Tensor]:
        """The result and, where they are taken, the gradients of queries, keys and values."""
        view = None
        if window is not None or images:
            view = KeyView(
                positions_BL=positions,
                last_BL=last,
                keys_BS=key_positions,
                reach=int((last - positions).max()),
                window=window,
                dtype=dtype,
            )
        leaves = [tensor.to(dtype).clone().requires_grad_(torch.is_grad_enabled()) for tensor in (q, k, v)]
        out = attend(leaves[0], k_BKSH=leaves[1], v_BKSH=leaves[2], view=view, scale=0.2, softcap=None).float()
        if not torch.is_grad_enabled():
            return [out]
        weight = torch.arange(out.numel(), dtype=torch.float32).view(out.shape).sin()
        # A row that sees no key has no meaning, and no loss in training.
        (out.where(seen[..., None], 0.0) * weight).sum().backward()
        return [out.detach(), *(leaf.grad.float() for leaf in leaves if leaf.grad is not None)]

    with torch.no_grad():
        (whole,), (products,) = attended(torch.float32), attended(torch.bfloat16)
    seen = torch.isfinite(whole).all(-1) & (whole != 0).any(-1)
    exact, learned = attended(torch.float32), attended(torch.bfloat16)
    monkeypatch.setattr("osler.model.attention._products_are_faster", lambda _: False)
    fused = attended(torch.bfloat16)
    assert len(learned) == 4
    for name, found, wanted, peer in [
        ("inference", products, exact[0], fused[0]),
        *zip(("result", "queries", "keys", "values"), learned, exact, fused, strict=True),
    ]:
        rows = seen if found.shape == exact[0].shape else torch.ones(found.shape[:-1], dtype=torch.bool)
        error, peer_error = ((one - wanted)[rows].norm() / wanted[rows].norm() for one in (found, peer))
        assert torch.isfinite(found).all(), name
        assert float(error) < 0.012, name
        assert not torch.equal(found, peer), name
        assert float(error) < 2 * float(peer_error), name
