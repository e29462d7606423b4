"""Heads against their PyTorch twins, in float32: odd numbers of labels and features, padding, volumes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")

import jax

from osler.jax import heads
from osler.jax.arrays import to_jax
from osler.jax.module import JaxHeads
from osler.model.config import HeadsConfig, get_config
from osler.model.heads import Heads, patch_positions, volume_features
from tests.jax.parts import random_part, require_near, tree_of

_DEBUG = get_config("debug-parts")
assert _DEBUG.vision is not None
CONFIG = HeadsConfig(findings=("pleural-effusion", "pneumothorax", "lung-mass"), trunk=2, embedding=12, heads=3)
V, C = _DEBUG.vision.width, _DEBUG.decoder.width


@pytest.fixture(scope="module")
def twins() -> tuple[Heads, dict]:
    part = random_part(Heads(replace(_DEBUG, heads=CONFIG)), seed=6)
    part.findings.scale[1] = torch.nan
    return part, tree_of(part)


def test_states_normalized_over_pictures() -> None:
    config = replace(CONFIG, states="batch")
    part = random_part(Heads(replace(_DEBUG, heads=config)), seed=7).eval()
    part.findings.norm.variance.uniform_(0.2, 3.0)
    read = torch.randn(3, 20, V, generator=torch.Generator().manual_seed(5))
    ours = jax.jit(heads.findings, static_argnames="config")(tree_of(part), to_jax(read), config=config)
    for mine, theirs in zip(ours, part.findings(read), strict=True):
        require_near(mine, theirs)


def test_a_taught_box_head_is_asked_for_itself() -> None:
    config = replace(CONFIG, taught=("heart",))
    part = random_part(Heads(replace(_DEBUG, heads=config)), seed=9)
    generator = torch.Generator().manual_seed(3)
    text = torch.randn(2, 3, C, generator=generator)
    read = {"features_BMV": torch.randn(2, 20, V, generator=generator)}
    read["positions_BM3"] = torch.rand(2, 20, 3, generator=generator)
    twin = JaxHeads(tree_of(part), config=config)
    assert part.taught is not None
    for ours, theirs in zip(twin.taught(text, **read), part.taught(text, **read), strict=True):
        require_near(ours, theirs)
    assert not torch.allclose(twin.taught(text, **read)[0], twin.boxes(text, **read)[0])


@pytest.mark.parametrize(("rows", "labels", "features", "seed"), [(1, 1, 1, 0), (3, 5, 47, 1), (2, 9, 90, 2)])
def test_boxes_findings_and_vectors(twins, rows: int, labels: int, features: int, seed: int) -> None:
    part, tree = twins
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(rows, labels, C, generator=generator)
    read = torch.randn(rows, features, V, generator=generator)
    places = torch.rand(rows, features, 3, generator=generator)
    padding = torch.rand(rows, features, generator=generator) < 0.3
    padding[:, 0] = False
    given_padding = {"padding_BM": padding}, {"padding_BM": to_jax(padding)}
    wanted = part.boxes(text, features_BMV=read, positions_BM3=places, **given_padding[0])
    found = jax.jit(heads.boxes, static_argnames="config")(
        tree, to_jax(text), features_BMV=to_jax(read), positions_BM3=to_jax(places), config=CONFIG, **given_padding[1]
    )
    for ours, theirs in zip(found, wanted, strict=True):
        require_near(ours, theirs)
    for ours, theirs in zip(
        jax.jit(heads.findings, static_argnames="config")(tree, to_jax(read), config=CONFIG, **given_padding[1]),
        part.findings(read, **given_padding[0]),
        strict=True,
    ):
        require_near(ours, theirs)
    vectors = part.contrastive.images(read, **given_padding[0]), part.contrastive.texts(text[:, 0])
    require_near(
        jax.jit(heads.embed_images, static_argnames="config")(tree, to_jax(read), config=CONFIG, **given_padding[1]),
        vectors[0],
    )
    require_near(heads.embed_texts(tree, to_jax(text[:, 0])), vectors[1])
    require_near(
        heads.contrastive_logits(tree, *(to_jax(vector) for vector in vectors)), part.contrastive.logits(*vectors)
    )


@pytest.mark.parametrize(("rows", "labels", "features"), [(1, 3, 64), (5, 9, 300)])
def test_what_pads_a_call_of_the_engine_changes_nothing(twins, rows: int, labels: int, features: int) -> None:
    part, tree = twins
    engine = JaxHeads(tree, config=CONFIG)
    text, read = torch.randn(rows, labels, C), torch.randn(rows, features, V)
    places = torch.rand(rows, features, 3)
    wanted = part.boxes(text, features_BMV=read, positions_BM3=places)
    for ours, theirs in zip(engine.boxes(text, features_BMV=read, positions_BM3=places), wanted, strict=True):
        require_near(ours, theirs)
    state, logits = part.findings(read)
    for ours, theirs in zip(engine.findings(read), (state, logits), strict=True):
        require_near(ours, theirs)
    require_near(engine.findings.probabilities(logits), part.findings.probabilities(logits))
    require_near(engine.findings.scale, part.findings.scale)
    require_near(engine.progression(state), part.progression(state))
    require_near(engine.contrastive.images(read), part.contrastive.images(read))
    require_near(engine.contrastive.texts(text[0]), part.contrastive.texts(text[0]))


@pytest.mark.parametrize("layers", [0, 2])
def test_the_trunk(twins, layers: int) -> None:
    part, tree = twins
    config = replace(CONFIG, trunk=layers)
    assert _DEBUG.vision is not None
    x = torch.randn(3, _DEBUG.vision.side**2, V)
    wanted = part.trunk(x) if layers else x
    require_near(heads.trunk(tree, to_jax(x), config=config, vision=_DEBUG.vision), wanted)


@pytest.mark.parametrize("slices", [5])
def test_places_of_pictures_and_of_volumes(slices: int) -> None:
    require_near(heads.patch_positions(6, slices=slices), patch_positions(6, slices=slices))
    features, depth = torch.randn(2 * slices, 36, V), torch.rand(2, slices)
    wanted = volume_features(features, depth_BS=depth, side=6)
    found = heads.volume_features(to_jax(features), depth_BS=to_jax(depth), side=6)
    for ours, theirs in zip(found, wanted, strict=True):
        require_near(ours, theirs)
