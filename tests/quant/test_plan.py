from __future__ import annotations

from dataclasses import replace

import pytest

from osler.errors import CheckpointError, RequestError
from osler.model.config import get_config
from osler.quant.matrices import matrices
from osler.quant.plan import EMBEDDING, FLOAT, QuantPlan, config_digest, default_plan, planned_bytes, products

MINI, LARGE = get_config("osler-mini"), get_config("medgemma-1.5-4b")


def test_a_plan_is_read_back() -> None:
    plan = default_plan(MINI, bits=4)
    assert QuantPlan.from_json(plan.to_json(), source="here") == plan


def test_every_product_has_a_format_and_the_head_keeps_eight_bits() -> None:
    plan = default_plan(MINI, bits=4)
    decoder = {name for name, _, _ in products(MINI.decoder)}
    assert set(plan.formats) == decoder | set(matrices(MINI))
    assert plan.matrices == tuple(matrices(MINI))
    assert plan.formats[EMBEDDING] == "int8-g32"
    assert set(plan.formats.values()) == {"int4-g32-asym", "int8-g32"}


@pytest.mark.parametrize("bits", [4, 8])
def test_the_image_tower_is_stored_at_eight_bits_or_as_it_is_told(bits: int) -> None:
    name, other = "vision_tower.encoder.layers.0.mlp.fc2", "vision_tower.encoder.layers.9.self_attn.q_proj"
    plan = default_plan(LARGE, bits=bits)
    assert plan.formats[name] == "int8-channel"  # 4,304 inputs are no whole groups
    assert plan.formats[other] == "int8-g32"
    assert default_plan(LARGE, bits=bits, tower="int4-g64-asym").formats[other] == "int4-g64-asym"
    assert not set(matrices(LARGE)) & set(default_plan(LARGE, bits=bits, tower=FLOAT).formats)
    with pytest.raises(RequestError, match=r"no weight format 'int7'"):
        default_plan(LARGE, bits=bits, tower="int7")


def test_groups_that_do_not_fit_fall_back_unless_asked_for() -> None:
    odd = replace(MINI, decoder=replace(MINI.decoder, mlp_width=2000))
    assert default_plan(odd, bits=4).formats["language_model.layers.0.mlp.down_proj"] == "int4-channel-asym"
    with pytest.raises(RequestError, match=r"Groups of 64 do not divide the 2000 inputs of '.*down_proj'"):
        default_plan(odd, bits=4, layers="int4-g64")


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (["attention"], ["layers.3.self_attn.qkv_proj", "layers.17.self_attn.o_proj"]),
        (["down"], ["layers.0.mlp.down_proj", "layers.17.mlp.down_proj"]),
        (["ends"], ["layers.0.mlp.gate_up_proj", "layers.17.self_attn.qkv_proj"]),
        (["down", "ends"], ["layers.9.mlp.down_proj", "layers.0.self_attn.o_proj"]),
    ],
)
def test_parts_are_kept_at_eight_bits(keep: list[str], kept: list[str]) -> None:
    usual, plan = default_plan(MINI, bits=4), default_plan(MINI, bits=4, keep=keep)
    assert {plan.formats[f"language_model.{name}"] for name in kept} == {"int8-g32"}
    changed = [name for name in plan.formats if plan.formats[name] != usual.formats[name]]
    each = {"attention": 2 * 18, "down": 18, "ends": 2 * 4}
    assert len(changed) == sum(each[part] for part in keep) - (2 if len(keep) == 2 else 0)
    assert planned_bytes(MINI, plan=plan) > planned_bytes(MINI, plan=usual)


def test_a_part_that_does_not_exist() -> None:
    with pytest.raises(RequestError, match=r"atention.*attention"):
        default_plan(MINI, bits=4, keep=["atention"])


def test_bits_that_do_not_exist() -> None:
    with pytest.raises(RequestError, match=r"3 bits do not exist here.*4 or 8"):
        default_plan(MINI, bits=3)


def test_a_plan_of_another_model_is_refused() -> None:
    plan = default_plan(MINI, bits=4)
    plan.require(replace(MINI, name="renamed"), source="here")
    with pytest.raises(CheckpointError, match=rf"'here' have a plan of another model: made for {config_digest(MINI)}"):
        plan.require(LARGE, source="here")


@pytest.mark.parametrize("bits", ["3", "16", "null", '"4"', "[4]"])
def test_a_stored_plan_of_other_bits_is_refused(bits: str) -> None:
    text = default_plan(MINI, bits=4).to_json().replace('"bits": 4', f'"bits": {bits}')
    with pytest.raises(CheckpointError, match=r"plan of the quantized weights in 'here' cannot be read"):
        QuantPlan.from_json(text, source="here")


def test_layers_have_the_bits_that_were_asked_for() -> None:
    with pytest.raises(RequestError, match=r"'int8-g32' for the layers has 8 bits, and 4.*int4-g32.*Ask for 8 bits"):
        default_plan(MINI, bits=4, layers="int8-g32")
    with pytest.raises(RequestError, match=r"'int4-channel' for the layers has 4 bits, and 8 were"):
        default_plan(MINI, bits=8, layers="int4-channel")
    plan = default_plan(MINI, bits=4, layers="int4-g32", embedding="int8-channel", tower="int8-channel", keep=["down"])
    assert set(plan.formats.values()) == {"int4-g32", "int8-g32", "int8-channel"}


@pytest.mark.parametrize("text", ["", "{}", '{"version": 2, "bits": 4, "model": "", "formats": {}}', "[1]"])
def test_a_damaged_plan_is_refused(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"plan of the quantized weights in 'here' cannot be read"):
        QuantPlan.from_json(text, source="here")


def test_the_large_model_fits_where_it_should() -> None:
    # 3.21 G weights of layers at 5 bits, 0.67 G of the embedding at 8.5.
    assert 2.6e9 < planned_bytes(LARGE, plan=default_plan(LARGE, bits=4)) < 2.8e9
    assert planned_bytes(LARGE, plan=default_plan(LARGE, bits=8)) < 4.2e9
