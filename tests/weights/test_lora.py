"""Adapters: the arithmetic, training, files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from osler.errors import CheckpointError
from osler.model.config import get_config
from osler.model.osler import Osler
from osler.weights.lora import (
    DECODER_LINEARS,
    LoraConfig,
    LoraLinear,
    add_lora,
    load_adapter,
    merge_lora,
    save_adapter,
    stack_adapters,
)

_CONFIG = LoraConfig(rank=4, alpha=8, targets=DECODER_LINEARS, base="debug")


def _network(seed: int = 3) -> Osler:
    torch.manual_seed(seed)
    return Osler(get_config("debug")).requires_grad_(False).eval()


def _hidden(model: Osler) -> torch.Tensor:
    ids_BL = torch.arange(3, 15)[None]
    return model.decoder(model.embed(ids_BL), positions_BL=torch.arange(12)[None])


def _trained(model: Osler) -> list[torch.nn.Parameter]:
    parameters = add_lora(model.decoder, config=_CONFIG)
    torch.manual_seed(4)
    for parameter in parameters:
        parameter.data.normal_(std=0.1)
    return parameters


def test_a_new_adapter_changes_nothing_and_learns() -> None:
    model = _network()
    before = _hidden(model)
    parameters = add_lora(model.decoder, config=_CONFIG)
    assert len(parameters) == 2 * 7 * 7
    assert torch.equal(_hidden(model), before)
    assert {name for name, value in model.named_parameters() if value.requires_grad} == {
        name for name, _ in model.named_parameters() if ".lora_" in name
    }
    _hidden(model).square().sum().backward()
    assert all(parameter.grad is not None for parameter in parameters)
    assert any(parameter.grad.abs().sum() > 0 for parameter in parameters)


def test_merging_gives_the_same_answer() -> None:
    model = _network()
    plain = _hidden(model)
    _trained(model)
    adapted = _hidden(model)
    assert (adapted - plain).abs().max() > 1e-2
    merge_lora(model)
    assert not any(isinstance(module, LoraLinear) for module in model.modules())
    torch.testing.assert_close(_hidden(model), adapted, rtol=1e-4, atol=1e-5)


def test_the_update_is_alpha_over_rank_times_b_a() -> None:
    model = _network()
    weight = model.decoder.layers[0].mlp.up_proj.weight.clone()
    _trained(model)
    layer = model.decoder.layers[0].mlp.up_proj
    expected = weight + 2.0 * layer.lora_B @ layer.lora_A
    torch.testing.assert_close(layer.merged().weight, expected)


def test_a_bfloat16_base_keeps_a_float32_adapter() -> None:
    model = _network().bfloat16()
    parameters = add_lora(model.decoder, config=_CONFIG)
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    assert _hidden(model).dtype == torch.bfloat16


@pytest.mark.parametrize("mode", ["merge", "attach"])
def test_a_saved_adapter_reads_back(tmp_path: Path, mode: str) -> None:
    model = _network()
    _trained(model)
    save_adapter(model, tmp_path, config=_CONFIG)
    again = _network()
    assert load_adapter(again, tmp_path, mode=mode) == LoraConfig(
        rank=4, alpha=8, targets=tuple(sorted(DECODER_LINEARS)), base="debug"
    )
    torch.testing.assert_close(_hidden(again), _hidden(model), rtol=1e-4, atol=1e-5)
    assert any(isinstance(module, LoraLinear) for module in again.modules()) == (mode == "attach")


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"No linear layer is called 'query'.*q_proj"):
        add_lora(_network(), config=LoraConfig(rank=2, alpha=2, targets=("query",)))


def test_a_model_without_adapters_has_none_to_save(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no adapter to save.*add_lora"):
        save_adapter(_network(), tmp_path, config=_CONFIG)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, r"peft_type = 'IA3'.*Plain LoRA.*Merge it into its base model"),
        ({"use_dora": True}, "use_dora = True"),
        ({"modules_to_save": ["embed_tokens"]}, r"modules_to_save = \['embed_tokens'\]"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"r": 0}, "has r = 0"),
        ({"r": 8}, r"of the wrong shape \(language_model"),
        ({"lora_alpha": None}, "lora_alpha = None"),
    ],
)
def test_another_kind_of_adapter_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    model = _network()
    _trained(model)
    save_adapter(model, tmp_path, config=_CONFIG)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CheckpointError, match=message):
        load_adapter(_network(), tmp_path)


def test_an_adapter_of_another_network_is_refused(tmp_path: Path) -> None:
    model = Osler(get_config("debug"))
    add_lora(model.vision, config=LoraConfig(rank=4, alpha=8, targets=("fc1",)))
    save_adapter(model, tmp_path, config=_CONFIG)
    text = Osler(type(model.config)(name="text", decoder=model.config.decoder, vision=None))
    with pytest.raises(CheckpointError, match=r"4 extra \(vision_tower\.encoder\.layers\.0\.mlp\.fc1\.lora_A"):
        load_adapter(text, tmp_path)


def test_stacked_adapters_do_what_both_do(tmp_path: Path) -> None:
    model = _network()
    _trained(model)
    save_adapter(model, tmp_path / "first", config=_CONFIG)
    merge_lora(model)
    other = LoraConfig(rank=2, alpha=6, targets=DECODER_LINEARS, base="first")
    torch.manual_seed(9)
    for parameter in add_lora(model.decoder, config=other):
        parameter.data.normal_(std=0.1)
    save_adapter(model, tmp_path / "second", config=other)
    both = _hidden(model)
    config = stack_adapters(tmp_path / "first", tmp_path / "second", out=tmp_path / "first", dtype=torch.float32)
    assert (config.rank, config.base) == (6, "debug")
    fresh = _network()
    load_adapter(fresh, tmp_path / "first")
    torch.testing.assert_close(_hidden(fresh), both, rtol=1e-4, atol=1e-5)


def test_adapters_on_other_layers_are_not_stacked(tmp_path: Path) -> None:
    for name, targets in (("first", DECODER_LINEARS), ("second", ("q_proj",))):
        model = _network()
        config = LoraConfig(rank=2, alpha=4, targets=targets, base="debug")
        add_lora(model.decoder, config=config)
        save_adapter(model, tmp_path / name, config=config)
    with pytest.raises(CheckpointError, match="not on the same layers"):
        stack_adapters(tmp_path / "first", tmp_path / "second", out=tmp_path / "first")
