"""A small network quantized with its inputs in view: closer to itself than by rounding, in the same file."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.errors import RequestError
from osler.model.config import OslerConfig, VisionConfig
from osler.model.decoder import ForwardStep
from osler.model.osler import Osler
from osler.prepare import PixelBatches, preprocess_for
from osler.quant.calibrate import CalibratedProducts, _image_encoder, fold_factors
from osler.quant.calibration import Calibration, CalibrationSample, Method, choose_method
from osler.quant.folder import load_quantized_folder, quantize_to_folder
from osler.quant.formats import parse_format
from osler.quant.open import OpenedModel, open_model
from osler.quant.plan import EMBEDDING, default_plan
from osler.quant.source import WeightSource
from osler.quant.stored import WEIGHTS_FILE, open_folder
from osler.weights import load_huggingface
from osler.weights.assemble import empty_network
from osler.weights.safetensors_io import read_metadata, read_safetensors
from tests.quant.test_large_blocks import needs_glibc, own_bytes

FORMATS = {"bits": 4, "layers": "int4-g32-asym", "embedding": "int8-g32"}


def samples(config: OslerConfig, *, count: int = 24) -> list[CalibrationSample]:
    """Random text, and every fourth with an image in it."""
    rng = np.random.default_rng(0)
    tokens, made = config.tokens, []
    for number in range(count):
        ids = [tokens.bos, *rng.integers(110, 490, 40).tolist()]
        pixels = None
        if number % 4 == 0:
            ids[9:9] = [tokens.start_of_image, *[tokens.image] * config.image_tokens, tokens.end_of_image]
            rgb = rng.integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
            pixels = PixelBatches(rgb=rgb, preprocess=preprocess_for(config))
        made.append(CalibrationSample(token_ids=np.array(ids), pixels=pixels))
    return made


def calibrate(method: Method):
    def make(opened: OpenedModel) -> Calibration:
        return Calibration(method=method, samples=samples(opened.config), source="random ids")

    return make


@pytest.fixture(scope="module")
def folders(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("calibrated")
    methods: tuple[Method, ...] = ("none", "awq", "gptq", "awq-gptq")
    for method in methods:
        make = None if method == "none" else calibrate(method)
        quantize_to_folder(str(folder), place / method, calibrate=make, dtype="float32", **FORMATS)
    return {method: place / method for method in methods}


@torch.inference_mode()
def hidden(model: Osler) -> torch.Tensor:
    """States after prompts that no calibration saw."""
    ids_BL = torch.randint(110, 490, (8, 40), generator=torch.Generator().manual_seed(5))
    return model.decoder(model.embed(ids_BL), positions_BL=torch.arange(40).expand(8, -1))


def test_the_network_changes_less_than_by_rounding(folder: Path, folders: dict[str, Path]) -> None:
    wanted = hidden(load_huggingface(folder, dtype="float32").model)
    errors = {
        method: float((hidden(load_quantized_folder(place, dtype="float32").model) - wanted).norm() / wanted.norm())
        for method, place in folders.items()
    }
    assert errors["gptq"] < 0.9 * errors["none"], errors
    assert errors["awq-gptq"] < 0.9 * errors["none"], errors
    # No input of a random network is far larger than others, which is what AWQ makes use of (test_activation_scale.py):
    # it must not harm beyond what another processor's rounding moves.
    assert errors["awq"] < 1.01 * errors["none"], errors


def test_files_have_the_same_tensors_and_say_how_they_were_made(folders: dict[str, Path]) -> None:
    places = {
        method: {
            name: (value.dtype, value.shape) for name, value in read_safetensors(place / WEIGHTS_FILE).tensors.items()
        }
        for method, place in folders.items()
    }
    assert places["none"] == places["gptq"] == places["awq"]
    content = json.loads(read_metadata(folders["gptq"] / WEIGHTS_FILE)["calibration"])
    assert content == {"method": "gptq", "samples": 24, "tokens": 24 * 41 + 6 * 6, "source": "random ids"}
    assert open_folder(folders["none"]).calibration == ""


def test_only_factors_change_norms(folder: Path, folders: dict[str, Path]) -> None:
    name = "language_model.layers.1.pre_feedforward_layernorm.weight"
    norms = {method: read_safetensors(place / WEIGHTS_FILE).tensors[name] for method, place in folders.items()}
    assert torch.equal(norms["none"], norms["gptq"])
    assert not torch.equal(norms["none"], norms["awq"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_folding_changes_no_output(model: Osler, dtype: torch.dtype) -> None:
    config = model.config.decoder
    layer = copy.deepcopy(model.decoder.layers[0])
    generator = torch.Generator().manual_seed(0)
    x_1LD = torch.randn(1, 30, config.width, generator=generator)
    step = ForwardStep(
        config=config,
        positions_BL=torch.arange(30)[None],
        cache=None,
        image_blocks_BL=None,
        padding_BL=None,
        dtype=torch.float32,
    )
    wanted = layer(x_1LD, step=step)
    sizes = {
        "self_attn.qkv_proj": config.width,
        "self_attn.o_proj": config.heads * config.head_dim,
        "mlp.gate_up_proj": config.width,
        "mlp.down_proj": config.mlp_width,
    }
    moments = {}
    for product, size in sizes.items():
        x = torch.randn(200, size, generator=generator) * (torch.rand(size, generator=generator) * 5 + 0.1)
        moments[product] = x.T @ x
    folded = fold_factors(layer, moments=moments, forms=dict.fromkeys(sizes, parse_format("int4-g32")), dtype=dtype)
    assert {value.dtype for value in folded.values()} == {dtype}
    assert not torch.equal(layer.mlp.down_proj.weight, model.decoder.layers[0].mlp.down_proj.weight)
    torch.testing.assert_close(layer(x_1LD, step=step), wanted, rtol=1e-4, atol=1e-4)


def test_a_head_of_four_bits_is_calibrated_too(folder: Path, tmp_path: Path) -> None:
    wanted = load_huggingface(folder, dtype="float32").model
    formats = FORMATS | {"bits": 8, "embedding": "int4-g32-asym", "layers": "int8-g32"}
    scores = []
    for method in ("gptq", None):
        place = tmp_path / str(method)
        quantize_to_folder(str(folder), place, calibrate=method and calibrate("gptq"), **formats)
        found = load_quantized_folder(place, dtype="float32").model
        states = hidden(wanted)
        scores.append(float((found.logits(states) - wanted.logits(states)).norm()))
    assert scores[0] < scores[1]


def test_one_layer_is_held_at_a_time_and_progress_is_told(folder: Path) -> None:
    opened = open_model(str(folder))
    calls: list[tuple[str, int, int]] = []
    made = CalibratedProducts(
        opened.source,
        config=opened.config,
        plan=default_plan(opened.config, bits=4),
        calibration=calibrate("gptq")(opened),
        dtype=torch.bfloat16,
        on_progress=lambda *call: calls.append(call),
    )
    for layer in range(opened.config.decoder.layers):
        for product in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"):
            (weight,) = made.pack(f"language_model.layers.{layer}.{product}")
            weight.check(product)
        assert not made.held
    assert [weight.format.bits for weight in made.pack(EMBEDDING)] == [8]
    layers = opened.config.decoder.layers
    assert calls == [("calibrate", number, layers) for number in range(1, layers + 1)]


def test_the_image_tower_is_held_layer_by_layer(folder: Path) -> None:
    opened = open_model(str(folder))
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    encode = _image_encoder(opened.source, config=opened.config)
    network = encode.__self__
    held: list[int] = []

    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        held.append(sum(value.numel() for value in network.parameters() if value.device.type != "meta"))

    for linear in (module for module in network.modules() if isinstance(module, torch.nn.Linear)):
        linear.register_forward_hook(note)
    with torch.inference_mode():
        found = encode(pixels)
        wanted = load_huggingface(folder, dtype="float32").model.encode_images(pixels)
    layer = sum(value.numel() for value in network.vision.encoder.layers[0].parameters())
    assert set(held) == {layer}
    assert all(value.device.type == "meta" for value in network.parameters())
    assert torch.equal(found, wanted)


@needs_glibc
def test_nothing_of_the_image_tower_stays(config: OslerConfig) -> None:
    wide = replace(config, vision=VisionConfig(image_size=32, patch=4, width=512, mlp_width=2048, layers=16, heads=4))
    tower = sum(value.nbytes for value in empty_network(wide).vision.parameters())
    shapes = {name: value.shape for name, value in empty_network(wide).state_dict().items()}
    source = WeightSource(stored={name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()})
    pictures = samples(wide, count=1)
    torch.ones(6 << 20)  # 24 MB, once freed: glibc keeps smaller blocks in its heap from here on
    before = own_bytes()
    made = CalibratedProducts(
        source,
        config=wide,
        plan=default_plan(wide, bits=4),
        calibration=Calibration(method="gptq", samples=pictures, source="random ids"),
        dtype=torch.bfloat16,
    )
    assert own_bytes() - before < tower / 8
    assert not made.held


def test_methods_by_name() -> None:
    assert choose_method(None, bits=4) == "gptq"
    assert choose_method(None, bits=8) == "none"
    assert choose_method("awq", bits=8) == "awq"
    with pytest.raises(RequestError, match=r"calibration 'gtpq'.*[Dd]id you mean|gptq"):
        choose_method("gtpq", bits=4)
    for name, bits in (("none", 4), (None, 8)):
        with pytest.raises(RequestError, match=r"900 tokens with the method 'none': none.*gptq"):
            choose_method(name, bits=bits, tokens=900)
    assert choose_method(None, bits=4, tokens=900) == "gptq"
    with pytest.raises(RequestError, match=r"nothing to calibrate with"):
        Calibration(method="gptq", samples=[], source="")
