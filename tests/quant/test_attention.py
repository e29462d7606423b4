"""Attention by tiles and by vectors against float32: odd lengths, groups, windows, images, cached prefixes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from osler.model.attention import KeySpans, KeyView, causal_spans, last_seen
from osler.quant.attention import attend
from osler.quant.build import Built
from osler.quant.kernels import NativeKernels, choose_kernels
from tests.kernels import by_name

BF16 = 2.0**-8
"""The step of bfloat16: a result is half of it away from what was meant, or less."""


pytestmark = pytest.mark.usefixtures("without_gradients")


@pytest.fixture(scope="module", params=["amx", "avx512-vnni"])
def kernels(request: pytest.FixtureRequest, built: Built) -> NativeKernels:
    return attending(request.param, built=built)


@pytest.fixture(scope="module")
def tiles(built: Built) -> NativeKernels:
    return attending("amx", built=built)


def attending(path: str, *, built: Built) -> NativeKernels:
    chosen = by_name(choose_kernels, library=built.path)(path)
    assert isinstance(chosen, NativeKernels)
    assert chosen.attends
    return chosen


def distance(got: Tensor, wanted: Tensor) -> float:
    return float((got.float() - wanted).abs().max() / wanted.abs().max())


def exact(q_BNLH: Tensor, k_BKSH: Tensor, v_BKSH: Tensor, *, seen_BLS: Tensor | None = None) -> Tensor:
    mask = None if seen_BLS is None else seen_BLS[:, None]
    parts = (part.float() for part in (q_BNLH, k_BKSH, v_BKSH))
    return F.scaled_dot_product_attention(*parts, attn_mask=mask, enable_gqa=True)


def view_of(positions_BL: Tensor, *, keys_BS: Tensor, window: int | None, blocks_BL: Tensor | None = None) -> KeyView:
    last_BL = last_seen(positions_BL, image_blocks_BL=blocks_BL)
    reach = int((last_BL - positions_BL).max())
    return KeyView(
        positions_BL=positions_BL, last_BL=last_BL, keys_BS=keys_BS, reach=reach, window=window, dtype=torch.bfloat16
    )


@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 8), (1, 2, 16, 8), (2, 3, 64, 16), (1, 2, 77, 72), (1, 2, 300, 72), (2, 2, 600, 256)]
)
@pytest.mark.parametrize("sharpness", [1.0, 30.0])
def test_all_over_all(kernels: NativeKernels, shape: tuple[int, int, int, int], sharpness: float) -> None:
    torch.manual_seed(shape[2])
    q, k, v = (torch.randn(shape).bfloat16() for _ in range(3))
    q = q * sharpness
    assert distance(attend(kernels, q, k_BKSH=k, v_BKSH=v, scale=shape[3] ** -0.5), exact(q, k, v)) < BF16


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    batch=st.integers(1, 2),
    key_heads=st.integers(1, 2),
    group=st.integers(1, 3),
    width=st.sampled_from([8, 40, 72, 256]),
    queries=st.integers(17, 300),
    earlier=st.integers(0, 700),
    window=st.one_of(st.none(), st.integers(1, 400)),
    image=st.one_of(st.none(), st.integers(1, 60)),
    threads=st.integers(1, 3),
)
def test_what_queries_of_a_prompt_see(
    kernels: NativeKernels, batch: int, key_heads: int, group: int, width: int, queries: int, earlier: int,
    window: int | None, image: int | None, threads: int,
) -> None:  # fmt: skip
    generator = torch.Generator().manual_seed(queries * 1000 + earlier)
    q = torch.randn(batch, key_heads * group, queries, width, generator=generator).bfloat16()
    # Keys in the room of a cache, so that heads lie further apart than they are long.
    room = torch.randn(2, batch, key_heads, earlier + queries + 5, width, generator=generator).bfloat16()
    k, v = room[:, :, :, 2 : 2 + earlier + queries]
    positions = torch.arange(earlier, earlier + queries).repeat(batch, 1)
    blocks = None
    if image is not None:
        # Tokens of an image in their middle see each other.
        blocks = torch.full_like(positions, -1)
        blocks[:, queries // 3 : queries // 3 + image] = 0
    keys = torch.arange(earlier + queries).repeat(batch, 1)
    keys[0, : earlier // 3] = -1  # padding
    view = view_of(positions, keys_BS=keys, window=window, blocks_BL=blocks)
    seen = (keys[:, None] <= view.last_BL[..., None]) & (keys[:, None] >= 0)
    if window is not None:
        seen &= keys[:, None] > positions[..., None] - window
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        got = attend(kernels, q, k_BKSH=k, v_BKSH=v, scale=width**-0.5, spans=view.spans())
    finally:
        torch.set_num_threads(before)
    # Half a step for the result, and what the rounded weights of a few hundred keys add up to.
    assert distance(got, exact(q, k, v, seen_BLS=seen)) < 1.5 * BF16


def test_a_prompt_without_a_view_is_causal(kernels: NativeKernels) -> None:
    q, k, v = torch.randn(2, 8, 333, 64).bfloat16(), *torch.randn(2, 2, 4, 333, 64).bfloat16()
    wanted = exact(q, k, v, seen_BLS=torch.ones(2, 333, 333).tril().bool())
    got = attend(kernels, q, k_BKSH=k, v_BKSH=v, scale=64**-0.5, spans=causal_spans(2, 333))
    assert distance(got, wanted) < BF16
    # A query's result is the same whatever comes after it, and where a prompt is cut at chunks of the keys.
    part = attend(
        kernels, q[:, :, :256], k_BKSH=k[:, :, :256], v_BKSH=v[:, :, :256], scale=64**-0.5, spans=causal_spans(2, 256)
    )
    assert torch.equal(part, got[:, :, :256])


def test_a_query_that_sees_nothing_gets_zeros_and_nan_stays(kernels: NativeKernels) -> None:
    q = torch.randn(1, 1, 40, 16).bfloat16()
    keys = torch.full((1, 40), -1)
    keys[:, 20:] = torch.arange(20)
    view = view_of(torch.arange(-20, 20)[None], keys_BS=keys, window=None)
    got = attend(kernels, q, k_BKSH=q, v_BKSH=q, scale=0.25, spans=view.spans())
    assert (got[0, 0, :20] == 0).all()
    assert distance(got[0, 0, 20], q[0, 0, 20].float()) < BF16
    q[0, 0, 30, 5] = float("nan")
    zeros = torch.zeros_like(q)
    got = attend(kernels, q, k_BKSH=zeros, v_BKSH=zeros, scale=0.25)
    assert got[0, 0, 30].isnan().all()
    assert got[0, 0, :30].isfinite().all()


def test_with_and_without_a_running_maximum(tiles: NativeKernels) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 150, 72).bfloat16()
    everything = KeySpans(first_BL=torch.zeros(1, 150).int(), last_BL=torch.full((1, 150), 150).int())
    without, running = (attend(tiles, q, k_BKSH=k, v_BKSH=v, scale=0.1, spans=each) for each in (None, everything))
    assert not torch.equal(without, running)  # else both went one way
    assert distance(without, running.float()) < 2 * BF16  # a step of both roundings
    # One query whose scores leave the range of weights: it and the 63 beside it go the other way, all others as ever.
    for far in (300.0, -300.0):
        q[:, :, 5] = far
        got, wanted = (attend(tiles, q, k_BKSH=k.abs(), v_BKSH=v, scale=0.1, spans=each) for each in (None, everything))
        assert torch.equal(got[:, :, :64], wanted[:, :, :64])
        assert not torch.equal(got[:, :, 64:], wanted[:, :, 64:])
        assert distance(got, exact(q.float() * (0.1 * 72**0.5), k.abs(), v)) < BF16


@pytest.mark.parametrize("size", [1e-12, 1e12, 1e30])
def test_values_of_any_size(kernels: NativeKernels, size: float) -> None:
    q, k, v = torch.randn(3, 1, 1, 70, 24).bfloat16()
    v = v * size
    assert distance(attend(kernels, q, k_BKSH=k, v_BKSH=v, scale=24**-0.5), exact(q, k, v)) < BF16


@pytest.mark.parametrize("what", [float("nan"), -float("nan"), float("inf")])
def test_what_is_not_finite_stays_visible(kernels: NativeKernels, what: float) -> None:
    for place in range(3):
        parts = torch.randn(3, 1, 2, 130, 24).bfloat16()
        parts[place, 0, 1, 100, 3] = what
        got, wanted = attend(kernels, parts[0], k_BKSH=parts[1], v_BKSH=parts[2], scale=0.2), exact(*parts * 1.0)
        assert got[0, 0].isfinite().all()
        assert torch.equal(got.isfinite(), wanted.isfinite())


@pytest.mark.parametrize("what", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_stays_with_those_near_it(kernels: NativeKernels, what: float) -> None:
    q, k, v = torch.randn(3, 1, 1, 700, 24).bfloat16()
    v[0, 0, 400, 3] = what
    got = attend(kernels, q, k_BKSH=k, v_BKSH=v, scale=0.2, spans=causal_spans(1, 700))
    assert got[0, 0, :320].isfinite().all()  # queries are multiplied together with some that see more
    assert not got[0, 0, 400:, 3].isfinite().any()


def test_keys_out_of_order_are_left_to_others() -> None:
    keys = torch.tensor([[0, 1, 2, -1, -1]])
    assert view_of(torch.arange(5)[None], keys_BS=keys, window=None).spans() is None


def test_threads_change_nothing(kernels: NativeKernels) -> None:
    q = torch.randn(1, 3, 700, 24).bfloat16()
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(attend(kernels, q, k_BKSH=q, v_BKSH=q, scale=0.2, spans=causal_spans(1, 700)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, found[0]) for each in found[1:])
