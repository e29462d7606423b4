"""Quantized networks in JAX against PyTorch: the same plans and folders, the same logits and tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

from osler.engine.kv_cache import KVCache
from osler.engine.load import load
from osler.engine.runner import Runner
from osler.engine.session import Session
from osler.errors import CheckpointError
from osler.jax.kernels import Kernels
from osler.jax.network import PackedTensors, packed_products
from osler.jax.runner import JaxRunner
from osler.model.config import OslerConfig, get_config
from osler.model.osler import Osler
from osler.quant.folder import load_quantized_folder, quantize_to_folder
from osler.quant.formats import parse_format
from osler.quant.kernels import VARIABLE
from osler.quant.packed import PackedWeight, dequantize, quantize
from osler.quant.plan import EMBEDDING, products
from osler.weights import save_huggingface
from osler.weights.assemble import empty_network
from osler.weights.tokenizer import GemmaTokenizer
from tests.engine.conftest import config, model, tokenizer
from tests.jax.conftest import difference

__all__ = ["config", "model", "tokenizer"]

WORDS = 490
"""Ids below are words; those above stand for images, which nobody writes."""
PROMPT = torch.tensor([[2, *range(10, 31)]])


@pytest.fixture(scope="session", params=[4, 8])
def folder(
    tmp_path_factory: pytest.TempPathFactory, model: Osler, tokenizer: GemmaTokenizer, request: pytest.FixtureRequest
) -> Path:
    """A folder of quantized weights, as `osler quantize` writes it."""
    plain = tmp_path_factory.mktemp("model") / "debug"
    save_huggingface(model, plain, tokenizer=tokenizer)
    return quantize_to_folder(str(plain), plain.parent / "quantized", bits=request.param, dtype="float32").folder


def dequantized(folder: Path, config: OslerConfig) -> Runner:
    """The network in float32 that the folder's weights stand for."""
    stored = load_quantized_folder(folder, dtype="float32").model
    state = dict(empty_network(config).state_dict())
    packed = PackedTensors(kernels=None)
    load_quantized_folder(folder, dtype="float32", assemble=packed)
    state |= packed.tensors
    sizes = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
    for number, layer in enumerate(stored.decoder.layers):
        for block, name in (
            ("self_attn", "qkv_proj"),
            ("self_attn", "o_proj"),
            ("mlp", "gate_up_proj"),
            ("mlp", "down_proj"),
        ):
            whole = dequantize(getattr(getattr(layer, block), name).weight)
            stem = f"language_model.layers.{number}.{block}"
            names = [f"{stem}.{part}.weight" for part in sizes.get(name, (name,))]
            for part, value in zip(names, whole.split([state[part].shape[0] for part in names]), strict=True):
                state[part] = value
    state[f"{EMBEDDING}.weight"] = dequantize(stored.decoder.head.weight)
    network = Osler(config)
    network.load_state_dict(state)
    return Runner(network.eval())


def greedy(runner: Runner | JaxRunner, *, count: int = 40) -> tuple[list[int], torch.Tensor]:
    """Tokens that follow the prompt, and the logits before each."""
    cache = (
        runner.new_cache(planned=80) if isinstance(runner, JaxRunner) else KVCache(runner.config.decoder, planned=80)
    )
    logits = [runner.read(PROMPT, features_NTD=None, cache=cache)]
    tokens = []
    for _ in range(count):
        tokens.append(int(logits[-1][:, :WORDS].argmax()))
        logits.append(runner.step(torch.tensor([tokens[-1]]), cache=cache))
    return tokens, torch.cat(logits)


def in_jax(folder: Path, *, kernels: Kernels | None) -> JaxRunner:
    packed = PackedTensors(kernels=kernels)
    checkpoint = load_quantized_folder(folder, dtype="float32", assemble=packed)
    return JaxRunner(packed.tensors, config=checkpoint.model.config, products=packed.products, longest=64)


def test_xla_gives_the_logits_of_the_dequantized_network(folder: Path, config: OslerConfig) -> None:
    tokens, found = greedy(in_jax(folder, kernels=None))
    wanted_tokens, wanted = greedy(dequantized(folder, config))
    assert tokens == wanted_tokens
    assert difference(found, wanted) < 1e-5


def test_xla_gives_the_logits_of_pytorch_without_kernels(folder: Path) -> None:
    tokens, found = greedy(in_jax(folder, kernels=None))
    wanted_tokens, wanted = greedy(Runner(load_quantized_folder(folder, dtype="float32").model))
    assert tokens == wanted_tokens
    assert difference(found, wanted) < 1e-5


def test_compiled_kernels_give_the_same_tokens(folder: Path, choose: Callable[[str], Kernels]) -> None:
    tokens, wanted = greedy(in_jax(folder, kernels=None))
    runner = in_jax(folder, kernels=choose("auto"))
    cache = runner.new_cache(planned=80)
    logits = [runner.read(PROMPT, features_NTD=None, cache=cache)]
    logits += [runner.step(torch.tensor([token]), cache=cache) for token in tokens]
    found = torch.cat(logits)
    # The kernels round activations to 8 bits: what two words have in common of their score may change places.
    assert difference(found, wanted) < 0.05
    best, second = wanted[:, :WORDS].topk(2).values.T
    sure = best - second > 2 * (found - wanted).abs().amax(-1)
    assert sure.sum() > 10
    assert torch.equal(found[sure, :WORDS].argmax(-1), wanted[sure, :WORDS].argmax(-1))


def test_a_session_of_a_folder_and_of_bits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "xla")
    session = load(str(folder), backend="jax", studies="memory")
    assert isinstance(session, Session)
    bits = session.stamp().bits
    assert bits in (4, 8)
    assert session.choices["packing"].value == f"int{bits} xla"
    assert session.runner.kernels["products"] == "xla"
    again = load(str(folder.parent / "debug"), bits=bits, backend="jax", studies="memory")
    first, second = (
        one.runner.read(PROMPT, features_NTD=None, cache=one.runner.new_cache(planned=40)) for one in (session, again)
    )
    assert torch.equal(first, second)


def mixed_parts(config: OslerConfig) -> Callable[[str], list[PackedWeight]]:
    """Products as a GGUF file gives them: formats differ between layers, and between the parts of a product."""
    generator = torch.Generator().manual_seed(3)
    shapes = {name: tuple(value.shape) for name, value in empty_network(config).state_dict().items()}
    sizes = {name: (rows, columns) for name, rows, columns in products(config.decoder)}

    def make(rows: int, columns: int, form: str) -> PackedWeight:
        return quantize(torch.randn(rows, columns, generator=generator) * 0.2, form=parse_format(form))

    def parts(name: str) -> list[PackedWeight]:
        if name == EMBEDDING:
            return [make(*sizes[name], "int8-g32")]
        layer = int(name.split(".")[2])
        if name.endswith("qkv_proj") and layer != 2:
            stem = name.removesuffix("qkv_proj")
            forms = ("int4-g32", "int4-g32", "int8-g32" if layer % 2 else "int4-g32-asym")
            return [make(*shapes[f"{stem}{part}_proj.weight"], form) for part, form in zip("qkv", forms, strict=True)]
        return [make(*sizes[name], "int8-g32" if layer % 3 == 0 else "int4-g32-asym")]

    return parts


def test_formats_may_differ_between_layers_and_parts() -> None:
    config = get_config("debug")
    made: dict[str, list[PackedWeight]] = {}
    parts = mixed_parts(config)
    tree = packed_products(config, parts=lambda name: list(made.setdefault(name, parts(name))), kernels=None)
    assert {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"} <= tree["packed"]["sliding"].keys()
    kinds = [layer for layer in range(config.decoder.layers) if config.decoder.kind(layer) == "sliding"]
    for number, layer in enumerate(kinds):
        whole = torch.cat([dequantize(part) for part in made[f"language_model.layers.{layer}.self_attn.qkv_proj"]])
        x = torch.randn(2, whole.shape[1])
        found = [
            np.array(tree["packed"]["sliding"][f"self_attn.{part}_proj"].at(number).product(x.numpy()))
            for part in "qkv"
        ]
        assert difference(torch.from_numpy(np.concatenate(found, axis=1)), x @ whole.T) < 1e-5


def test_parts_that_are_not_whole_blocks_are_refused() -> None:
    config = get_config("debug")
    decoder = replace(config.decoder, head_dim=8, heads=3, kv_heads=1)
    odd = replace(config, decoder=decoder)
    with pytest.raises(CheckpointError, match="not whole blocks"):
        packed_products(odd, parts=mixed_parts(odd), kernels=None)
