"""The image tower at 896 px beside `transformers`: one image, the same random weights and threads, bfloat16.

    python -m benchmarks.vision_tower --out benchmarks/vision_tower

All ways run in turns; a figure is the median of the turns. Ways: `SiglipVisionModel` of `transformers` with its fused
attention, Osler's tower in PyTorch as it runs without the compiled kernels, with them, and with them on weights that
are stored in 8 bits, as `osler quantize` leaves them. The peak is that of tiles of bfloat16 that stay in registers,
measured in the same run with the same threads. The results are compared with the first layers in float32.

Without tiles (`OSLER_KERNELS=avx512-vnni`, and for PyTorch ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 or AVX512_CORE_VNNI and
MKL_ENABLE_INSTRUCTIONS=AVX512) the kernels attend, and only multiply by weights in 8 bits; the peak is that of VNNI.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from benchmarks.machine import add_turn_options, in_turns, measure, page_head, start_turns
from benchmarks.quant_kernels import limits, share
from benchmarks.volume_flops import tower_flops
from osler.model.config import VisionConfig, get_config
from osler.model.vision import VisionTower
from osler.quant import choose_kernels
from osler.quant.attention import attend
from osler.quant.formats import parse_format
from osler.quant.linear import WidenedLinear
from osler.quant.packed import quantize
from osler.quant.tower import TiledWeight, fuse_tower, lay_rows, linear, transformed

PEER, PLAIN, FUSED = "transformers", "Osler, PyTorch alone", "Osler, compiled kernels"
STORED = "Osler, compiled kernels, 8 bits"
WAYS = (PEER, PLAIN, FUSED, STORED)
COMPARED_LAYERS = 2


def peer_of(config: VisionConfig) -> SiglipVisionModel:
    """The same tower in `transformers`, with random weights."""
    return SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=config.width,
            intermediate_size=config.mlp_width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            image_size=config.image_size,
            patch_size=config.patch,
            layer_norm_eps=config.norm_eps,
            hidden_act="gelu_pytorch_tanh",
            vision_use_head=False,
            attn_implementation="sdpa",
        )
    ).eval()


def towers(config: VisionConfig) -> tuple[nn.Module, VisionTower, VisionTower, bool]:
    """Peer, plain and fused, with the same weights in the same memory; whether tiles run whole layers."""
    peer = peer_of(config).to(torch.bfloat16)
    state = {name.removeprefix("vision_model."): value for name, value in peer.state_dict().items()}
    with torch.device("meta"):
        plain, fused = VisionTower(config), VisionTower(config)
    for tower in (plain, fused):
        tower.load_state_dict({name: state[name] for name in tower.state_dict()}, assign=True)
        tower.eval()
    return peer, plain, fused, fuse_tower(fused.encoder.layers, kernels=choose_kernels().kernels)


def stored_tower(plain: VisionTower) -> VisionTower:
    """The tower with its matrices at 8 bits, fused."""
    tower, kernels = deepcopy(plain), choose_kernels().kernels
    for name, layer in list(tower.encoder.named_modules()):
        if isinstance(layer, nn.Linear):
            form = parse_format("int8-channel" if layer.in_features % 32 else "int8-g32")
            weight = quantize(layer.weight, form=form)
            tower.encoder.set_submodule(name, WidenedLinear(weight, kernels=kernels, bias=layer.bias))
    fuse_tower(tower.encoder.layers, kernels=kernels)
    return tower


def parts_without_tiles(
    config: VisionConfig, *, stored: VisionTower, plain: VisionTower
) -> dict[str, Callable[[], object]]:
    """What a layer consists of, in PyTorch and with weights in 8 bits."""
    x_BPD = torch.randn(1, config.side**2, config.width).bfloat16()
    layer, peer = stored.encoder.layers[0], plain.encoder.layers[0]
    return {
        "attention with its products, PyTorch": lambda: peer.self_attn(x_BPD),
        "attention with its products, 8 bits": lambda: layer.self_attn(x_BPD),
        "a product of the width, PyTorch": lambda: peer.self_attn.q_proj(x_BPD),
        "a product of the width, 8 bits": lambda: layer.self_attn.q_proj(x_BPD),
        "MLP, PyTorch": lambda: peer.mlp(x_BPD),
        "MLP, 8 bits": lambda: layer.mlp(x_BPD),
        "norm": lambda: peer.layer_norm1(x_BPD),
        "whole layer, PyTorch": lambda: peer(x_BPD),
        "whole layer, 8 bits": lambda: layer(x_BPD),
    }


def parts(config: VisionConfig, *, fused: VisionTower, plain: VisionTower) -> dict[str, Callable[[], object]]:
    """What a layer consists of, in PyTorch and on the kernels."""
    kernels = choose_kernels().kernels
    patches, heads = config.side**2, config.heads
    x_BPD = torch.randn(1, patches, config.width).bfloat16()
    q_BPNH = torch.randn(1, patches, heads, config.width // heads).bfloat16()
    turned = q_BPNH.transpose(1, 2)
    scale = turned.shape[-1] ** -0.5
    layer, peer = fused.encoder.layers[0], plain.encoder.layers[0]
    laid = lay_rows(kernels, x_BPD[0])
    return {
        "attention alone, PyTorch": lambda: torch.nn.functional.scaled_dot_product_attention(turned, turned, turned),
        "attention alone, kernels": lambda: attend(kernels, turned, k_BKSH=turned, v_BKSH=turned, scale=scale),
        "a product of the width, PyTorch": lambda: peer.self_attn.q_proj(x_BPD),
        "a product of the width, kernels": lambda: linear(
            kernels, laid, weight=TiledWeight(layer.self_attn.q_proj, kernels=kernels)
        ),
        "MLP, PyTorch": lambda: peer.mlp(x_BPD),
        "MLP, kernels": lambda: transformed(kernels, laid, weights=layer.mlp, residual_MD=x_BPD[0]),
        "norm, PyTorch": lambda: peer.layer_norm1(x_BPD),
        "norm, kernels": lambda: lay_rows(kernels, x_BPD[0], norm=layer.layer_norm1),
        "whole layer, PyTorch": lambda: peer(x_BPD),
        "whole layer, kernels": lambda: layer(x_BPD),
    }


def differences(plain: VisionTower, *, others: dict[str, VisionTower], pixels_1CSS: Tensor) -> dict[str, float]:
    """Distances of the first layers from float32, relative to its size."""
    exact = deepcopy(plain.encoder.layers[:COMPARED_LAYERS]).float()
    x_1PD = plain.embeddings(pixels_1CSS)
    wanted = x_1PD.float()
    for layer in exact:
        wanted = layer(wanted)
    found = {}
    for name, tower in ({PLAIN: plain} | others).items():
        got = x_1PD
        for layer in tower.encoder.layers[:COMPARED_LAYERS]:
            got = layer(got)
        found[name] = float((got.float() - wanted).norm() / (wanted - x_1PD.float()).norm())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_turn_options(parser, turns=5)
    parser.add_argument("--layers", type=int, default=0, help="of the tower; 0: all")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=WAYS)
    parser.add_argument("--out", type=Path, required=True, help="write OUT-table.md and OUT.json")
    options = parser.parse_args()
    start_turns(parser, options=options)
    config = get_config("medgemma-1.5-4b").vision
    assert config is not None
    if options.layers:
        config = replace(config, layers=options.layers)
    with torch.inference_mode():
        peer, plain, fused, tiles = towers(config)
        pixels_1CSS = torch.rand(1, 3, config.image_size, config.image_size).bfloat16() * 2 - 1
        osler = {FUSED: fused} if tiles or getattr(choose_kernels().kernels, "vectors", False) else {}
        if STORED in options.ways:
            osler[STORED] = stored_tower(plain)
        ways: dict[str, Callable[[], object]] = {PEER: lambda: peer(pixel_values=pixels_1CSS)}
        for name, tower in ({PLAIN: plain} | osler).items():
            ways[name] = lambda tower=tower: tower(pixels_1CSS)
        machine = measure(threads=(options.threads,), peaks=())
        kind = "bf16" if tiles else "int8"
        peak = limits(options.threads)[kind]
        seconds = in_turns({name: way for name, way in ways.items() if name in options.ways}, turns=options.turns)
        if tiles:
            layer = in_turns(parts(config, fused=fused, plain=plain), turns=5)
        elif STORED in osler:
            layer = in_turns(parts_without_tiles(config, stored=osler[STORED], plain=plain), turns=5)
        else:
            layer = {}
        off = differences(plain, others=osler, pixels_1CSS=pixels_1CSS)
        peak = max(peak, limits(options.threads)[kind])
    result = {"threads": options.threads, "layers": config.layers, "peak": peak, "seconds": seconds, "layer": layer}
    options.out.with_suffix(".json").write_text(json.dumps(result | {"off": off}, indent=2) + "\n", encoding="utf-8")
    flops = tower_flops(config)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    lines = [
        page_head(
            machine,
            options=options,
            what=f"{config.layers} layers, {flops / 1e12:.2f} TFLOP an image; "
            f"{'tiles of bfloat16' if tiles else 'VNNI'} in registers {peak / 1e12:.2f} T a second",
        ),
        "",
        "| 896 px, one image | seconds, median (least to most) | TFLOP/s | of the peak | times `transformers` |",
        "|---|---|---|---|---|",
    ]
    for name, values in seconds.items():
        rate = flops / medians[name]
        ratio = f"{medians[PEER] / medians[name]:.2f}" if PEER in medians else ""
        lines.append(
            f"| {name} | {medians[name]:.2f} ({min(values):.2f} to {max(values):.2f}) | {rate / 1e12:.2f} "
            f"| {share(rate, peak=peak)} | {ratio} |"
        )
    lines += ["", "| part of a layer | ms, median |", "|---|---|"]
    lines += [f"| {name} | {statistics.median(values) * 1e3:.1f} |" for name, values in layer.items()]
    lines += [
        "",
        "Distance of what the first layers add from float32: " + ", ".join(f"{n} {v:.4f}" for n, v in off.items()),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    options.out.with_name(f"{options.out.name}-table.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
