"""Sources, adapters and products on their way into a quantized network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from osler.engine.lean_step import LeanStep
from osler.errors import CheckpointError
from osler.model.osler import Osler
from osler.quant.kernels import TorchKernels
from osler.quant.linear import QuantEmbedding, QuantLinear
from osler.quant.network import move_network, pack_product, part_names, planned_parts, quantized_network
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


def _small(model: Osler, *, bits: int) -> Osler:
    return quantized_network(
        WeightSource(stored=model.state_dict()), config=model.config, plan=default_plan(model.config, bits=bits),
        dtype=torch.float32, kernels=TorchKernels(), name="small",
    )  # fmt: skip


@pytest.mark.parametrize("bits", [4, 8])
def test_a_network_moves_whole_and_computes_where_it_is(model: Osler, bits: int) -> None:
    # On the device without storage an operation that meets a tensor of another device fails, as on a GPU.
    device = torch.device("meta")
    moved = move_network(_small(model, bits=bits), device=device)
    packed = [module for module in moved.modules() if isinstance(module, QuantLinear | QuantEmbedding)]
    assert {module.weight.codes.device for module in packed} == {device}
    assert {tensor.device for tensor in (*moved.parameters(), *moved.buffers())} == {device}
    assert moved.decoder.head.weight is moved.decoder.embed_tokens.weight
    hidden_BLD = torch.zeros(2, 20, model.config.decoder.width, device=device)
    positions_BL = torch.arange(20, device=device).expand(2, -1)
    scores_BLV = moved.logits(moved.decoder(hidden_BLD, positions_BL=positions_BL))
    assert scores_BLV.shape == (2, 20, model.config.decoder.vocab)
    assert scores_BLV.device == device


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("bits", [4, 8])
def test_a_gpu_gives_the_scores_of_the_cpu(model: Osler, bits: int) -> None:
    ids_BL = torch.randint(4, model.config.decoder.vocab, (2, 20))
    scores = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        network = move_network(_small(model, bits=bits), device=device)
        positions_BL = torch.arange(20, device=device).expand(2, -1)
        hidden_BLD = network.decoder(network.embed(ids_BL.to(device)), positions_BL=positions_BL)
        scores.append(network.logits(hidden_BLD).cpu())
    torch.testing.assert_close(*scores, atol=1e-3, rtol=1e-3)
