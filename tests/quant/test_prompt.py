"""Norms and heads of prompts on every path of the kernels, against PyTorch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from osler.model.config import get_config
from osler.model.decoder import Attention, Decoder, ForwardStep
from osler.model.norm import RMSNorm
from osler.model.pack import PackedAttention, PackedLinear, PackedNorm, pack
from osler.model.rope import rotary_table
from osler.quant.build import Built
from osler.quant.kernels import PATHS, NativeKernels, TorchKernels, choose_kernels
from osler.quant.prompt import PromptAttention, PromptLayer, PromptNorm, fuse_prompt
from tests.kernels import by_name


@pytest.fixture(params=PATHS)
def kernels(request: pytest.FixtureRequest, built: Built) -> NativeKernels:
    chosen = by_name(choose_kernels, library=built.path)(request.param)
    assert isinstance(chosen, NativeKernels)
    return chosen


def nearly_equal(found: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether bfloat16 values are the same but for a few that lie near to a half step."""
    different = found != wanted
    # Where a rotation cancels, a half step of what went in is more than one of what comes out.
    step = 2**-8 * float(wanted.float().abs().max())
    return bool(different.float().mean() < 1e-3) and torch.allclose(found.float(), wanted.float(), rtol=1e-2, atol=step)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("width", [1, 40, 640])
@pytest.mark.parametrize("rows", [1, 6])
def test_a_normalized_update_is_added_as_pytorch_does(kernels: NativeKernels, width: int, rows: int) -> None:
    norm = RMSNorm(width, eps=1e-6)
    norm.weight.data.normal_()
    plain, fused = PackedNorm(norm), PromptNorm(PackedNorm(norm), kernels=kernels)
    stream, update = torch.randn(1, rows, width).bfloat16() * 9, torch.randn(1, rows, width).bfloat16() * 30
    before = stream.clone()
    assert nearly_equal(fused.onto(stream, update_D=update), plain.onto(stream, update_D=update))
    assert torch.equal(stream, before)
    assert torch.equal(
        fused.onto(stream.float(), update_D=update.float()), plain.onto(stream.float(), update_D=update.float())
    )


@pytest.mark.parametrize("width", [1, 40, 640])
def test_a_sum_and_the_norm_that_follows_have_the_bits_that_they_have_apart(kernels: NativeKernels, width: int) -> None:
    norms = [RMSNorm(width, eps=1e-6), RMSNorm(width, eps=1e-6)]
    for norm in norms:
        norm.weight.data.normal_()
    first, then = (PromptNorm(PackedNorm(norm), kernels=kernels) for norm in norms)
    stream, update = torch.randn(2, 21, width).bfloat16() * 9, torch.randn(2, 21, width).bfloat16() * 30
    for dtype in (torch.bfloat16, torch.float32):
        summed, normed = first.onto_then(stream.to(dtype), update_D=update.to(dtype), then=then)
        assert torch.equal(summed, first.onto(stream.to(dtype), update_D=update.to(dtype)))
        assert torch.equal(normed, then(summed))


@pytest.mark.parametrize("width", [1, 40, 640])
def test_rows_are_normalized_as_pytorch_does(kernels: NativeKernels, width: int) -> None:
    norm = RMSNorm(width, eps=1e-6)
    norm.weight.data.normal_()
    plain = PackedNorm(norm)
    x = torch.randn(2, 21, width).bfloat16() * 30
    assert nearly_equal(PromptNorm(plain, kernels=kernels)(x), plain(x))
    assert torch.equal(PromptNorm(plain, kernels=kernels)(x.float()), plain(x.float()))


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("images", [1, 2])
def test_heads_are_placed_as_pytorch_does(kernels: NativeKernels, normalized: bool, images: int) -> None:
    config = get_config("osler-mini").decoder
    attention = Attention(config, index=0)
    for norm in (attention.q_norm, attention.k_norm):
        assert norm is not None
        norm.weight.data.normal_()
    if not normalized:
        attention.q_norm = attention.k_norm = None

    def join(_: str, parts: list[torch.nn.Linear]) -> PackedLinear:
        return PackedLinear(torch.cat([part.weight.detach().bfloat16() for part in parts]), layout="plain")

    plain = PackedAttention(attention, name="attention", join=join)
    x = torch.randn(images, 19, config.width).bfloat16()
    positions = torch.arange(19)[None] + torch.arange(images)[:, None] * 100
    rotation = rotary_table(positions, head_dim=config.head_dim, theta=1e4, scale=1.0, dtype=torch.bfloat16)
    found = PromptAttention(plain, kernels=kernels).project(x, rotation=rotation)
    for part, wanted in zip(found, plain.project(x, rotation=rotation), strict=True):
        assert part.shape == wanted.shape
        assert nearly_equal(part, wanted)


def test_a_decoder_is_fused_where_the_kernels_run(built: Built) -> None:
    config = get_config("debug").decoder
    decoder = Decoder(config).eval()
    pack(decoder)
    fuse_prompt(decoder, kernels=TorchKernels())
    assert not any(isinstance(module, PromptNorm) for module in decoder.modules())
    fuse_prompt(decoder, kernels=choose_kernels("portable", library=built.path).kernels)
    norms = [module for module in decoder.modules() if isinstance(module, PackedNorm)]
    assert all(isinstance(norm, PromptNorm) for norm in norms) == (config.head_dim % 16 == 0)


@pytest.mark.parametrize("last_only", [False, True])
def test_layers_hand_the_next_one_its_input(
    kernels: NativeKernels, monkeypatch: pytest.MonkeyPatch, *, last_only: bool
) -> None:
    config = replace(get_config("debug").decoder, head_dim=32)
    decoder = Decoder(config).bfloat16().eval()
    pack(decoder)
    fuse_prompt(decoder, kernels=kernels)
    assert all(type(layer) is PromptLayer for layer in decoder.layers)
    inputs = [layer.input_layernorm for layer in decoder.layers]
    asked: list[nn.Module] = []
    for norm in inputs:
        norm.register_forward_hook(lambda module, *_: asked.append(module))
    x, positions = torch.randn(1, 30, config.width).bfloat16(), torch.arange(30)[None]

    def run() -> torch.Tensor:
        asked.clear()
        with torch.inference_mode():
            return decoder(x, positions_BL=positions, last_only=last_only)

    together = run()
    assert asked == inputs[:1]
    # What another part, such as the adapter, changed in between is normalized anew.
    step = ForwardStep(
        config=config,
        positions_BL=positions,
        cache=None,
        image_blocks_BL=None,
        padding_BL=None,
        dtype=torch.bfloat16,
    )
    with torch.inference_mode():
        between = decoder.layers[0](x, step=step)
        asked.clear()
        decoder.layers[1](between + 1, step=step)
        assert asked == inputs[1:2]

    def apart(
        norm: PromptNorm, stream: torch.Tensor, *, update_D: torch.Tensor, then: PromptNorm
    ) -> tuple[torch.Tensor, torch.Tensor]:
        summed = norm.onto(stream, update_D=update_D)
        return summed, then(summed)

    monkeypatch.setattr(PromptNorm, "onto_then", apart)
    assert torch.equal(run(), together)
