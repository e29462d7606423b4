"""The tower on the compiled kernels against float32, on whole and odd sizes, and as one part of the network."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.model.config import get_config
from osler.model.osler import Osler
from osler.model.vision import VisionTower
from osler.quant.build import library_path
from osler.quant.formats import parse_format
from osler.quant.kernels import NativeKernels, TorchKernels, choose_kernels
from osler.quant.linear import WidenedLinear
from osler.quant.packed import dequantize, quantize
from osler.quant.tower import FusedLayer, TiledRows, TiledWeight, fuse_eyes, fuse_tower, lay_rows, linear, linear_rows

BF16 = 2.0**-8
"""The step of bfloat16: a result is half of it away from what was meant, or less."""


pytestmark = pytest.mark.usefixtures("without_gradients")


@pytest.fixture(scope="module")
def kernels() -> NativeKernels:
    chosen = choose_kernels("auto").kernels if library_path().is_file() else TorchKernels()
    if not isinstance(chosen, NativeKernels) or not chosen.tiles:
        pytest.skip("the compiled kernels are not built, or this processor has no tiles (AMX)")
    return chosen


def distance(got: Tensor, wanted: Tensor) -> float:
    return float((got.float() - wanted).abs().max() / wanted.abs().max())


def plain_rows(laid: TiledRows) -> Tensor:
    """Rows one after the other, with what fills up their columns."""
    return laid.data_RCrc.transpose(1, 2).flatten(2).flatten(0, 1)[: laid.rows]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (17, 33), (64, 72), (100, 1152)])
def test_rows_are_laid_out_as_they_are_and_normalized(kernels: NativeKernels, rows: int, columns: int) -> None:
    torch.manual_seed(rows)
    x_MD = (torch.randn(rows, columns) * 3 + 1).bfloat16()
    laid_MW = plain_rows(lay_rows(kernels, x_MD))
    assert torch.equal(laid_MW[:, :columns], x_MD)
    assert (laid_MW[:, columns:] == 0).all()
    norm = nn.LayerNorm(columns, eps=1e-6).bfloat16()
    norm.weight.normal_()
    norm.bias.normal_()
    wanted = F.layer_norm(x_MD.float(), (columns,), norm.weight.float(), norm.bias.float(), norm.eps)
    laid_MW = plain_rows(lay_rows(kernels, x_MD, norm=norm))
    assert distance(laid_MW[:, :columns], wanted) < BF16
    assert (laid_MW[:, columns:] == 0).all()


@pytest.mark.parametrize("activation", ["none", "gelu"])
@pytest.mark.parametrize(
    ("rows", "outputs", "inputs"), [(1, 1, 1), (4, 5, 7), (64, 32, 32), (100, 48, 40), (513, 530, 300), (600, 96, 1152)]
)
def test_product_is_that_of_float32(
    kernels: NativeKernels, rows: int, outputs: int, inputs: int, activation: str
) -> None:
    torch.manual_seed(rows)
    layer, x_MK = nn.Linear(inputs, outputs).bfloat16(), torch.randn(rows, inputs).bfloat16()
    wanted = F.linear(x_MK.float(), layer.weight.float(), layer.bias.float())
    if activation == "gelu":
        wanted = F.gelu(wanted, approximate="tanh")
    x, weight = lay_rows(kernels, x_MK), TiledWeight(layer, kernels=kernels)
    assert distance(linear(kernels, x, weight=weight, activation=activation), wanted) < BF16
    laid = linear_rows(kernels, x, weight=weight, out=TiledRows.empty(rows, outputs), activation=activation)
    assert distance(plain_rows(laid)[:, :outputs], wanted) < BF16
    assert (plain_rows(laid)[:, outputs:] == 0).all()
    residual_MN = torch.randn(rows, outputs).bfloat16()
    got = linear(kernels, x, weight=weight, activation=activation, residual_MN=residual_MN)
    assert distance(got, wanted + residual_MN.float()) < BF16


def test_product_without_bias_between_rows_that_lie_apart(kernels: NativeKernels) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(40, 33, bias=False).bfloat16()
    x_MK = torch.randn(64, 40).bfloat16()
    out_MW = torch.full((64, 50), 7.0, dtype=torch.bfloat16)
    linear(kernels, lay_rows(kernels, x_MK), weight=TiledWeight(layer, kernels=kernels), out=out_MW[:, :33])
    assert distance(out_MW[:, :33], F.linear(x_MK.float(), layer.weight.float())) < BF16
    assert (out_MW[:, 33:] == 7).all()


@pytest.mark.parametrize("form", ["int8-g32", "int8-channel", "int8-g64-asym", "int4-g32", "int4-channel-asym"])
@pytest.mark.parametrize(("outputs", "inputs"), [(1, 64), (16, 64), (40, 128), (530, 192), (96, 4352)])
def test_a_stored_weight_has_the_tiles_of_what_it_stands_for(
    kernels: NativeKernels, outputs: int, inputs: int, form: str
) -> None:
    torch.manual_seed(outputs)
    weight = quantize(torch.randn(outputs, inputs), form=parse_format(form))
    plain = kernels.tower_tiles(dequantize(weight).bfloat16())
    assert torch.equal(kernels.stored_tiles(kernels.prepare(weight)), plain)


def test_columns_that_fill_a_stored_weight_up_do_not_count(kernels: NativeKernels) -> None:
    torch.manual_seed(0)
    weight, x_MK = quantize(torch.randn(48, 40), form=parse_format("int8-channel")), torch.randn(33, 40).bfloat16()
    layer = WidenedLinear(weight, kernels=kernels, bias=torch.randn(48).bfloat16())
    got = linear(kernels, lay_rows(kernels, x_MK), weight=TiledWeight(layer, kernels=kernels))
    wanted = F.linear(x_MK.float(), dequantize(weight), layer.bias.float())
    assert distance(got, wanted) < 2 * BF16


def test_what_is_not_finite_stays_visible(kernels: NativeKernels) -> None:
    layer, x_MK = nn.Linear(32, 16).bfloat16(), torch.zeros(40, 32).bfloat16()
    x_MK[3, 5] = float("nan")
    weight = TiledWeight(layer, kernels=kernels)
    for activation in ("none", "gelu"):
        got = linear(kernels, lay_rows(kernels, x_MK), weight=weight, activation=activation)
        assert got[3].isnan().all()
        assert got[:3].isfinite().all()


def test_threads_change_nothing(kernels: NativeKernels) -> None:
    torch.manual_seed(0)
    layer, x_MK = nn.Linear(96, 200).bfloat16(), torch.randn(700, 96).bfloat16()
    weight = TiledWeight(layer, kernels=kernels)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(linear(kernels, lay_rows(kernels, x_MK), weight=weight))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(product, found[0]) for product in found[1:])


def test_tower_is_as_near_to_float32_as_pytorch_is(kernels: NativeKernels) -> None:
    config = get_config("osler-mini").vision
    assert config is not None
    torch.manual_seed(0)
    exact = VisionTower(config).eval()
    plain = deepcopy(exact).bfloat16()
    fused = deepcopy(plain)
    names = list(fused.state_dict())
    assert fuse_tower(fused.encoder.layers, kernels=kernels)
    assert list(fused.state_dict()) == names
    pixels_BCSS = torch.rand(2, 3, config.image_size, config.image_size) * 2 - 1
    wanted = plain.float()(pixels_BCSS.bfloat16().float())
    plain.bfloat16()
    size = wanted.norm()
    off = float((fused(pixels_BCSS).float() - wanted).norm() / size)
    assert off < 1.1 * float((plain(pixels_BCSS).float() - wanted).norm() / size)
    # Images that are read together are read as they are alone.
    assert torch.equal(fused(pixels_BCSS)[1:], fused(pixels_BCSS[1:]))


def test_only_what_fits_is_fused(kernels: NativeKernels) -> None:
    config = get_config("debug").vision
    assert config is not None
    layers = VisionTower(config).encoder.layers
    assert not fuse_tower(layers, kernels=kernels)  # float32
    assert not fuse_tower(layers.bfloat16(), kernels=TorchKernels())
    assert not fuse_tower(layers, kernels=kernels)  # heads of a width of 12
    model = Osler(get_config("osler-mini-parts")).bfloat16()
    fuse_eyes(model, kernels=kernels)
    assert model.vision is not None
    assert model.heads is not None
    layers = [*model.vision.encoder.layers, *model.heads.trunk.layers]
    assert all(isinstance(layer, FusedLayer) for layer in layers)
