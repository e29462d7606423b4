"""Sources, adapters and products on their way into a quantized network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from osler.engine.lean_step import LeanStep
from osler.errors import CheckpointError
from osler.model.osler import Osler
from osler.quant.kernels import TorchKernels
from osler.quant.network import pack_product, part_names, planned_parts, quantized_network
from osler.quant.packed import dequantize
from osler.quant.plan import EMBEDDING, default_plan, products
from osler.quant.source import WeightSource
from osler.weights import embedded_gguf, read_gguf
from osler.weights.gguf_config import config_from_gguf
from osler.weights.lora import LowRank

QKV = "language_model.layers.0.self_attn.qkv_proj"


def test_an_adapter_is_merged_into_the_rows_of_its_layer(model: Osler) -> None:
    a_RK, b_NR = torch.randn(2, 64), torch.randn(64, 2)
    layer = "language_model.layers.0.self_attn.q_proj"
    source = WeightSource(stored=model.state_dict(), adapter={layer: (LowRank(a_RK=a_RK, b_NR=b_NR, scale=0.5),)})
    wanted = model.state_dict()[f"{layer}.weight"] + 0.5 * b_NR @ a_RK
    torch.testing.assert_close(source.rows(f"{layer}.weight", 5, 20), wanted[5:20])
    plan = default_plan(model.config, bits=8)
    (packed,) = pack_product(source, QKV, plan=plan)
    assert float((dequantize(packed)[:64] - wanted).norm() / wanted.norm()) < 0.01


def test_products_are_joined_in_order() -> None:
    assert part_names(QKV) == [f"language_model.layers.0.self_attn.{part}_proj.weight" for part in "qkv"]
    assert part_names(EMBEDDING) == [f"{EMBEDDING}.weight"]


def test_single_tokens_take_the_lean_path(model: Osler) -> None:
    network = quantized_network(
        WeightSource(stored=model.state_dict()),
        config=model.config,
        plan=default_plan(model.config, bits=8),
        dtype=torch.float32,
        kernels=TorchKernels(),
        name="debug",
    )
    assert LeanStep.fits(network.decoder)
    assert [name for name, _ in network.decoder.named_parameters()] == []


def test_missing_tensors_are_listed(model: Osler) -> None:
    state = {name: tensor for name, tensor in model.state_dict().items() if "layers.3" not in name}
    with pytest.raises(CheckpointError, match=r"'debug' do not fit.*missing \(.*layers\.3"):
        quantized_network(
            WeightSource(stored=state),
            config=model.config,
            plan=default_plan(model.config, bits=8),
            dtype=torch.float32,
            kernels=TorchKernels(),
            name="debug",
        )


def test_blocks_of_a_file_decide_what_is_stored() -> None:
    try:
        file = read_gguf(embedded_gguf())
    except CheckpointError as error:
        pytest.skip(f"the embedded weights are not here: {error.problem}")
    config, source = config_from_gguf(file), WeightSource(stored={}, gguf=file)
    for bits in (4, 8):
        plan = default_plan(config, bits=bits)
        for name in (QKV, "language_model.layers.0.self_attn.o_proj", "language_model.layers.0.mlp.down_proj"):
            packed = pack_product(source, name, plan=plan)
            assert [part.format for part in packed] == planned_parts(source, name, plan=plan)
            sizes = {product: (rows, columns) for product, rows, columns in products(config.decoder)}
            assert (sum(part.rows for part in packed), packed[0].columns) == sizes[name]
    # Queries, keys (Q5_0) and values (Q8_0) all keep their codes at 8 bits: equal to the float tensors, to the bit.
    (joined,) = pack_product(source, QKV, plan=default_plan(config, bits=8))
    wanted = torch.cat([source.tensor(name, dtype=torch.float32) for name in part_names(QKV)])
    assert torch.equal(dequantize(joined), wanted)


def test_parts_of_different_formats_stay_apart(model: Osler) -> None:
    try:
        file = read_gguf(embedded_gguf())
    except CheckpointError as error:
        pytest.skip(f"the embedded weights are not here: {error.problem}")
    config, source = config_from_gguf(file), WeightSource(stored={}, gguf=file)
    plan = default_plan(config, bits=8)
    # One part keeps its codes, the others have an adapter and take the format of the plan, which is another.
    adapter = {
        name.removesuffix(".weight"): (LowRank(a_RK=torch.zeros(1, 640), b_NR=torch.zeros(rows, 1), scale=1.0),)
        for name, rows in zip(part_names(QKV)[:2], (1024, 256), strict=True)
    }
    mixed = replace(plan, formats={**plan.formats, QKV: "int8-g64"})
    packed = pack_product(WeightSource(stored={}, gguf=file, adapter=adapter), QKV, plan=mixed)
    assert [part.format.name for part in packed] == ["int8-g64", "int8-g64", "int8-g32"]
    wanted = source.tensor(part_names(QKV)[2], dtype=torch.float32)
    assert torch.equal(dequantize(packed[2]), wanted)
