"""Quantized folders: written, opened, and refused where they are not whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

import osler
from osler.engine.load import quantized_bits
from osler.errors import CheckpointError, OslerError, RequestError
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.model.pack import PackedAttention
from osler.quant.build import Built
from osler.quant.folder import WEIGHTS_FILE, load_quantized_folder, quantize_to_folder
from osler.quant.kernels import choose_kernels
from osler.quant.linear import QuantLinear, WidenedLinear
from osler.quant.open import load_and_quantize
from osler.quant.packed import dequantize
from osler.quant.plan import FLOAT, default_plan
from osler.quant.stored import Verify
from osler.quant.stream_file import file_probe
from osler.weights import Checkpoint, load_checkpoint, load_huggingface
from osler.weights.contract import contract_of
from osler.weights.mapped import release_mapped
from osler.weights.osler_folder import save_osler_folder
from osler.weights.safetensors_io import read_safetensors
from osler.weights.skills import skills_of


@pytest.fixture(scope="module")
def quantized(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("quantized") / "debug-8bit"
    quantize_to_folder(str(folder), place, bits=8)
    return place


@pytest.fixture
def copy(quantized: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(quantized, tmp_path / "copy"))


@torch.inference_mode()
def logits(model: Osler) -> torch.Tensor:
    ids_1L = torch.arange(110, 140)[None]
    return model.logits(model.decoder(model.embed(ids_1L), positions_BL=torch.arange(30)[None])).float()


def test_an_opened_folder_answers_like_the_float_model(folder: Path, quantized: Path) -> None:
    wanted = logits(load_huggingface(folder, dtype="float32").model)
    found = logits(load_quantized_folder(quantized, dtype="float32").model)
    assert float((found - wanted).norm() / wanted.norm()) < 0.05
    assert float((found.argmax(-1) == wanted.argmax(-1)).float().mean()) > 0.9


def test_the_packed_weights_are_those_of_the_joined_layers(folder: Path, quantized: Path) -> None:
    plain = load_huggingface(folder, dtype="float32").model.decoder.layers[2].self_attn
    attention = load_quantized_folder(quantized).model.decoder.layers[2].self_attn
    assert isinstance(attention, PackedAttention)
    assert isinstance(attention.qkv_proj, QuantLinear)
    wanted = torch.cat([plain.q_proj.weight, plain.k_proj.weight, plain.v_proj.weight])
    found = dequantize(attention.qkv_proj.weight)
    assert float((found - wanted).norm() / wanted.norm()) < 0.01


def test_quantizing_while_loading_gives_the_same_weights(folder: Path, quantized: Path) -> None:
    loaded = load_and_quantize(str(folder), bits=8, dtype="bfloat16", kernels=choose_kernels("torch"))
    assert torch.equal(logits(loaded.model), logits(load_quantized_folder(quantized, dtype="bfloat16").model))
    assert loaded.bits == 8


def test_kernels_and_torch_agree_on_a_whole_network(quantized: Path, built: Built) -> None:
    wanted = logits(load_quantized_folder(quantized, dtype="float32").model)
    kernels = choose_kernels("auto", library=built.path)
    found = logits(load_quantized_folder(quantized, dtype="float32", kernels=kernels).model)
    assert float((found - wanted).norm() / wanted.norm()) < 0.03


def test_nothing_is_copied_when_a_folder_is_opened(quantized: Path) -> None:
    weight = load_quantized_folder(quantized).model.decoder.head.weight
    maps = Path("/proc/self/maps")
    if not maps.is_file():
        pytest.skip("this system does not list what is mapped")
    ranges = [line.split()[0].split("-") for line in maps.read_text().splitlines() if WEIGHTS_FILE in line]
    assert any(int(low, 16) <= weight.codes.data_ptr() < int(high, 16) for low, high in ranges)


def test_skills_and_contract_are_known_before_the_weights_are_read(folder: Path, quantized: Path) -> None:
    assert skills_of(str(quantized)) == skills_of(str(folder))
    assert contract_of(str(quantized)) == contract_of(str(folder))


def test_a_session_says_its_bits(quantized: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSLER_KERNELS", "torch")
    assert quantized_bits(str(quantized)) == 8
    session = osler.load(str(quantized), device="cpu", dtype="float32", studies="memory")
    answer = session.ask(None, "abc", max_tokens=4)
    assert answer.model.bits == 8
    assert session.choices["packing"].value == "int8 torch"
    with pytest.raises(RequestError, match=r"holds weights of 8 bits, and 4 were asked for"):
        osler.load(str(quantized), bits=4)


def test_the_image_tower_is_stored_at_eight_bits(folder: Path, quantized: Path) -> None:
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    wanted = load_huggingface(folder, dtype="float32").model.encode_images(pixels)
    model = load_quantized_folder(quantized, dtype="float32").model
    assert model.vision is not None
    layer = model.vision.encoder.layers[0].mlp.fc2
    assert isinstance(layer, WidenedLinear)
    assert layer.weight.format.bits == 8
    assert "vision_tower.encoder.layers.0.mlp.fc2.weight" not in read_safetensors(quantized / WEIGHTS_FILE).tensors
    found = model.encode_images(pixels)
    assert 0 < float((found - wanted).norm() / wanted.norm()) < 0.02


def test_the_image_tower_is_kept_where_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    quantize_to_folder(str(folder), tmp_path / "new", bits=4, tower=FLOAT)
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    wanted = load_huggingface(folder, dtype="bfloat16").model.encode_images(pixels)
    assert torch.equal(load_quantized_folder(tmp_path / "new").model.encode_images(pixels), wanted)


def test_every_part_is_stored_and_reads_as_in_floating_point(parts_checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Heads, adapter, attention over time and volumes: what the folder gives is near what the float network gives."""
    model = parts_checkpoint.model
    save_osler_folder(
        model, tmp_path / "parts", preprocess=parts_checkpoint.preprocess, tokenizer=parts_checkpoint.tokenizer
    )
    quantize_to_folder(str(tmp_path / "parts"), tmp_path / "new", bits=8)
    opened = load_quantized_folder(tmp_path / "new", dtype="float32").model
    stored = {name: layer for name, layer in opened.named_modules() if isinstance(layer, WidenedLinear)}
    assert {name.partition(".")[0] for name in stored} >= {"heads", "adapter", "temporal", "volume_projection"}
    for name, layer in stored.items():
        plain = model.get_submodule(name)
        x = torch.randn(3, layer.in_features)
        wanted = plain.float()(x)
        assert float((layer(x) - wanted).norm() / wanted.norm()) < 0.02, name


def test_progress_counts_products(folder: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    quantize_to_folder(str(folder), tmp_path / "new", bits=4, on_progress=lambda *call: calls.append(call))
    assert calls[0] == ("quantize", 1, 31)
    assert calls[-1] == ("quantize", 31, 31)


def test_every_tensor_of_the_source_is_given_back(
    folder: Path, quantized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: set[int] = set()

    def release(tensors: Iterable[torch.Tensor]) -> int:
        mapped = list(tensors)
        given.update(tensor.data_ptr() for tensor in mapped)
        return release_mapped(mapped)

    monkeypatch.setattr("osler.quant.source.release_mapped", release)
    quantize_to_folder(str(folder), tmp_path / "q", bits=8)
    stored = read_safetensors(folder / "model.safetensors").tensors
    assert len(given) == len(stored)
    assert (tmp_path / "q" / WEIGHTS_FILE).read_bytes() == (quantized / WEIGHTS_FILE).read_bytes()


def test_a_folder_that_is_not_empty_stays(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RequestError, match=r"exists and is not an empty folder"):
        quantize_to_folder(str(folder), tmp_path, bits=4)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_group_that_does_not_divide(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"Groups of 128 do not divide the 64 inputs"):
        quantize_to_folder(str(folder), tmp_path / "new", bits=4, layers="int4-g128")
    assert not (tmp_path / "new").exists()


def test_a_plan_of_another_model_is_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    plan = default_plan(get_config("osler-mini"), bits=4)
    with pytest.raises(CheckpointError, match=r"plan of another model"):
        quantize_to_folder(str(folder), tmp_path / "new", bits=4, plan=plan)
    assert not (tmp_path / "new").exists()


def test_a_quantized_folder_is_not_quantized_again(quantized: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is quantized already"):
        quantize_to_folder(str(quantized), tmp_path / "new", bits=4)
    with pytest.raises(CheckpointError, match=r"holds quantized weights, which this needs in floating point"):
        load_checkpoint(quantized)


def test_a_truncated_file_is_refused(copy: Path) -> None:
    weights = copy / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"truncated or was changed"):
        load_quantized_folder(copy)


def _flip(path: Path, *, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("part", [0.01, 0.37, 0.5, 0.999])
@pytest.mark.parametrize("verify", ["probe", "full"])
def test_any_changed_byte_of_a_small_file_is_found(copy: Path, part: float, verify: Verify) -> None:
    weights = copy / WEIGHTS_FILE
    _flip(weights, at=int(part * weights.stat().st_size))
    with pytest.raises(CheckpointError, match=r"truncated or was changed"):
        load_quantized_folder(copy, verify=verify)


def test_of_a_large_file_the_probed_places_are_compared(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osler.quant.stored.WHOLE_BELOW", 0)
    monkeypatch.setattr("osler.quant.stream_file._PROBE_BYTES", 64)
    weights, config = copy / WEIGHTS_FILE, copy / "config.json"
    content = json.loads(config.read_text()) | {"probe": file_probe(weights)}
    config.write_text(json.dumps(content))
    load_quantized_folder(copy)
    size = weights.stat().st_size
    probed, between = 31 * (size - 64) // 63 + 5, 31 * (size - 64) // 63 + 100
    assert between < 32 * (size - 64) // 63
    _flip(weights, at=between)
    load_quantized_folder(copy)  # what the probe does not see
    with pytest.raises(CheckpointError, match=r"truncated or was changed"):
        load_quantized_folder(copy, verify="full")
    _flip(weights, at=between)
    _flip(weights, at=probed)
    with pytest.raises(CheckpointError, match=r"truncated or was changed"):
        load_quantized_folder(copy)


def test_weights_of_another_model_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["decoder"]["layers"] = 6
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"plan of another model"):
        load_quantized_folder(copy)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, "config.json", "preprocess.json", "tokenizer.json"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(OslerError, match=name.split(".")[0]):
        load_quantized_folder(copy)
