"""The tower without tiles: stored weights in int8, and attention by vectors, against float32 and PyTorch."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from osler.model.config import VisionConfig, get_config
from osler.model.vision import VisionTower
from osler.quant.build import Built
from osler.quant.formats import parse_format
from osler.quant.kernels import NativeKernels, choose_kernels
from osler.quant.linear import WidenedLinear
from osler.quant.packed import dequantize, quantize
from osler.quant.tower import fuse_tower
from osler.quant.tower_int8 import StoredMLP, VectorAttention
from tests.kernels import by_name

pytestmark = pytest.mark.usefixtures("without_gradients")


@pytest.fixture(scope="module")
def config() -> VisionConfig:
    found = get_config("debug").vision
    assert found is not None
    return replace(found, width=64, mlp_width=160, heads=4)


def on(path: str, *, built: Built) -> NativeKernels:
    kernels = by_name(choose_kernels, library=built.path)(path)
    assert isinstance(kernels, NativeKernels)
    return kernels


def stored(tower: VisionTower, *, kernels: NativeKernels, form: str) -> tuple[VisionTower, VisionTower]:
    """The tower with stored weights, and in float32 with what they stand for."""
    packed, exact = deepcopy(tower), deepcopy(tower).float()
    for name, layer in list(tower.encoder.named_modules()):
        if isinstance(layer, nn.Linear):
            weight = quantize(layer.weight, form=parse_format(form))
            packed.encoder.set_submodule(name, WidenedLinear(weight, kernels=kernels, bias=layer.bias))
            exact.encoder.get_submodule(name).weight.data = dequantize(weight)
    return packed, exact


def added(tower: VisionTower, pixels_BCSS: Tensor) -> Tensor:
    """What the layers add to the patches."""
    x_BPD = tower.embeddings(pixels_BCSS)
    return tower.encoder(x_BPD).float() - x_BPD.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["int8-g32", "int8-channel"])
def test_the_tower_is_near_float32(built: Built, config: VisionConfig, dtype: torch.dtype, form: str) -> None:
    torch.manual_seed(0)
    kernels, tower = on("avx512-vnni", built=built), VisionTower(config).to(dtype).eval()
    pixels_BCSS = torch.rand(2, 3, config.image_size, config.image_size).to(dtype) * 2 - 1
    packed, exact = stored(tower, kernels=kernels, form=form)
    widened, wanted = added(packed, pixels_BCSS), added(exact, pixels_BCSS.float())
    names = set(packed.state_dict())
    assert not fuse_tower(packed.encoder.layers, kernels=kernels)
    assert set(packed.state_dict()) == names
    got = added(packed, pixels_BCSS)
    assert not torch.equal(got, widened)
    size = wanted.norm()
    assert float((widened - wanted).norm() / size) < 0.02
    assert float((got - wanted).norm() / size) < 0.04  # activations in int8 as well
    layer = packed.encoder.layers[0]
    assert isinstance(layer.mlp, StoredMLP)
    assert isinstance(layer.self_attn, VectorAttention) == (dtype == torch.bfloat16)


@pytest.mark.parametrize(("path", "form"), [("avx2", "int8-g32"), ("avx512-vnni", "int4-g32-asym")])
def test_other_products_keep_their_activations(built: Built, config: VisionConfig, path: str, form: str) -> None:
    kernels = on(path, built=built)
    packed, _ = stored(VisionTower(config).eval(), kernels=kernels, form=form)
    pixels_BCSS = torch.rand(1, 3, config.image_size, config.image_size)
    wanted = added(packed, pixels_BCSS)
    fuse_tower(packed.encoder.layers, kernels=kernels)
    assert torch.equal(added(packed, pixels_BCSS), wanted)


def test_weights_in_floating_point_stay_with_pytorch(built: Built, config: VisionConfig) -> None:
    torch.manual_seed(0)
    kernels, tower = on("avx512-vnni", built=built), VisionTower(config).bfloat16().eval()
    plain = deepcopy(tower)
    fuse_tower(tower.encoder.layers, kernels=kernels)
    layer = tower.encoder.layers[0]
    assert type(layer.mlp) is type(plain.encoder.layers[0].mlp)
    pixels_BCSS = torch.rand(1, 3, config.image_size, config.image_size).bfloat16()
    wanted = added(deepcopy(plain).float(), pixels_BCSS.float())
    assert float((added(tower, pixels_BCSS) - wanted).norm() / wanted.norm()) < 0.02


def test_on_tiles_nothing_is_rounded_to_int8(built: Built, config: VisionConfig) -> None:
    kernels = on("amx", built=built)
    packed, _ = stored(VisionTower(config).bfloat16().eval(), kernels=kernels, form="int8-g32")
    fuse_tower(packed.encoder.layers, kernels=kernels)
    products = [part for part in packed.modules() if isinstance(part, WidenedLinear)]
    assert products
    assert all(product.activations == "kept" for product in products)
