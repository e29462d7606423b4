"""One update of all tasks: the losses and gradients of PyTorch on one batch, the same moves, and learning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("jax", reason="jax is not installed: pip install 'osler[jax]'")
pytest.importorskip("optax", reason="optax is not installed: pip install 'osler[jax]'")

import jax
import jax.numpy as jnp

from osler.errors import CheckpointError
from osler.jax import temporal
from osler.jax.arrays import to_jax
from osler.jax.lora import lora_from, lora_tensors, new_lora
from osler.jax.parameters import parameters_from, tensors_from
from osler.jax.train_step import (
    Answers,
    Batch,
    Films,
    Objective,
    State,
    loss_and_gradients,
    make_optimizer,
    make_step,
)
from osler.model.config import get_config
from osler.model.heads import patch_positions
from osler.model.osler import Osler, image_blocks
from osler.model.temporal import Events
from osler.train import losses
from osler.train.optimizer import make_optimizer as make_torch_optimizer
from osler.train.recipe import OptimizerConfig
from osler.weights.lora import LoraConfig, LoraLinear, add_lora

CONFIG = replace(get_config("debug-parts"), adapter=None, volume=None)
LORA = LoraConfig(rank=3, alpha=6.0)
WEIGHTS = losses.TaskWeights()
CHANGE_WEIGHTS = (0.15, 1.5, 1.5, 2.0, 2.0, 0.7)
PATIENTS, DATES, LABELS = 2, 2, 5
# What XLA optimizes takes longer than the updates.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
IMAGE = [500, *[511] * 4, 501]


def made(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network() -> Osler:
    """Random weights, an adapter that is no longer at its start."""
    generator = torch.Generator().manual_seed(8)
    model = Osler(CONFIG).eval().requires_grad_(False)
    for tensor in model.state_dict().values():
        tensor.normal_(std=0.15, generator=generator)
    model.language_model.embed_tokens.weight.mul_(0.1)
    for parameter in add_lora(model.language_model, config=LORA):
        parameter.data.normal_(std=0.1, generator=generator)
    model.heads.requires_grad_(True)
    model.temporal.requires_grad_(True)
    return model


@pytest.fixture(scope="module")
def batch() -> dict[str, Any]:
    """Two prompts of unlike length with an image each, and two patients with two films each."""
    side, count = CONFIG.vision.image_size, PATIENTS * DATES
    rows = [[2, 30, *IMAGE, 40, 41, 42, 43, 44, 45], [2, *IMAGE, 50, 51, 52]]
    length = max(map(len, rows))
    corners = torch.rand(2, count, LABELS, 2, generator=torch.Generator().manual_seed(1))
    boxes = torch.full((count, LABELS, 6), torch.nan)
    boxes[..., [0, 1]], boxes[..., [3, 4]] = corners.amin(0), corners.amax(0)
    boxes[0, 3], boxes[2, 1] = torch.nan, torch.nan
    asked = torch.tensor([[0, 1, 2, 3, -1], [2, 0, -1, -1, -1], [1, 2, 3, 0, 2], [-1] * 5])
    boxes[asked < 0] = torch.nan
    findings = torch.rand(count, 2, generator=torch.Generator().manual_seed(2))
    findings[1, 0] = torch.nan
    labels = [[40, 41], [42], [43, 44, 45], [46]]
    reports = [[60, 61, 62], [63], [64, 65], [66, 67, 68, 69]]
    return {
        "ids": torch.tensor([row + [0] * (length - len(row)) for row in rows]),
        "positions": torch.tensor([[*range(len(row)), *[-1] * (length - len(row))] for row in rows]),
        "wanted": torch.tensor([[8 <= place < len(row) - 1 for place in range(length)] for row in rows]),
        "prompt pixels": made(2, 3, side, side, seed=3),
        "film pixels": made(count, 3, side, side, seed=4),
        "labels": labels,
        "reports": reports,
        "asked": asked,
        "boxes": boxes,
        "findings": findings,
        "changes": torch.tensor([[1, losses.UNKNOWN], [5, 3]]),
        "days": torch.tensor([[3.0, 40.0], [torch.nan, 9.0]]),
        "events": Events(
            text_BEC=made(PATIENTS, 3, CONFIG.decoder.width, seed=5),
            value_BE=torch.tensor([[0.2, torch.nan, 3.0], [1.0, -2.0, 0.0]]),
            day_BE=torch.tensor([[1.0, 39.0, 90.0], [2.0, 5.0, 0.0]]),
            padding_BE=torch.tensor([[False, False, False], [False, False, True]]),
        ),
    }


def torch_losses(model: Osler, batch: Mapping[str, Any]) -> dict[str, Tensor]:
    """The same objective with the modules and losses of PyTorch."""
    ids, heads = batch["ids"], model.heads
    x_BLD = model.embed(ids, model.encode_images(batch["prompt pixels"]))
    hidden = model.decoder(
        x_BLD,
        positions_BL=torch.arange(ids.shape[1]).expand(len(ids), -1),
        padding_BL=batch["positions"] < 0,
        image_blocks_BL=image_blocks(ids, image_token=CONFIG.tokens.image),
    )
    features = model.head_features(batch["film pixels"])
    places = patch_positions(CONFIG.vision.side).expand(len(features), -1, -1)
    asked = batch["asked"]
    text = model.text_states(batch["labels"])[asked.clamp(min=0)]
    boxes, presence = heads.boxes(text, features_BMV=features, positions_BM3=places)
    there = (asked >= 0) & ~batch["boxes"][..., 0].isnan()
    state, logits = heads.findings(features)
    _, after = model.temporal(state.unflatten(0, (PATIENTS, DATES)), days_BT=batch["days"], events=batch["events"])
    pairs = heads.contrastive.logits(
        heads.contrastive.images(features), heads.contrastive.texts(model.text_states(batch["reports"]))
    )
    return {
        "next_token": losses.next_token_loss(model.logits(hidden), token_ids_BL=ids, wanted_BL=batch["wanted"]),
        "boxes": losses.box_loss(boxes[there], batch["boxes"][there]),
        "presence": losses.presence_loss(presence[asked >= 0], there_Q=there[asked >= 0]),
        "findings": losses.findings_loss(logits, wanted_BF=batch["findings"]),
        "progression": losses.progression_loss(
            heads.progression(after[:, -1]),
            wanted_BF=batch["changes"],
            class_weights_C=torch.tensor(CHANGE_WEIGHTS),
        ),
        "contrastive": losses.contrastive_loss(pairs),
    }


def table(texts: list[list[int]]) -> tuple[jax.Array, jax.Array]:
    longest = max(map(len, texts))
    ids = jnp.array([row + [0] * (longest - len(row)) for row in texts])
    return ids, jnp.array([[place >= len(row) for place in range(longest)] for row in texts])


def jax_batch(batch: Mapping[str, Any]) -> Batch:
    label_ids, label_padding = table(batch["labels"])
    report_ids, report_padding = table(batch["reports"])
    names = temporal.Events._fields
    return Batch(
        answers=Answers(*(to_jax(batch[name]) for name in ("ids", "positions", "wanted", "prompt pixels"))),
        films=Films(
            pixels_N3SS=to_jax(batch["film pixels"]),
            label_ids_KL=label_ids,
            label_padding_KL=label_padding,
            asked_NQ=to_jax(batch["asked"]),
            boxes_NQ6=to_jax(batch["boxes"]),
            findings_NF=to_jax(batch["findings"]),
            changes_UF=to_jax(batch["changes"]),
            days_UT=to_jax(batch["days"]),
            events=temporal.Events(*(to_jax(getattr(batch["events"], name)) for name in names)),
            report_ids_NL=report_ids,
            report_padding_NL=report_padding,
        ),
    )


def twin_of(model: Osler) -> tuple[dict, dict, Objective]:
    """What learns and what is frozen, on JAX."""
    plain = {name.replace(".base.", "."): tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}
    weights = parameters_from(plain, config=CONFIG)
    updates = {
        f"{name}.{kind}": getattr(module, kind).detach().numpy()
        for name, module in model.language_model.named_modules()
        if isinstance(module, LoraLinear)
        for kind in ("lora_A", "lora_B")
    }
    lora = lora_from(updates, lora=LORA, config=CONFIG.decoder, layers=weights["language_model"]["layers"])
    trained = {"lora": lora, "heads": weights.pop("heads"), "temporal": weights.pop("temporal")}
    objective = Objective(
        config=CONFIG, weights=tuple(asdict(WEIGHTS).items()), lora=LORA, change_weights=CHANGE_WEIGHTS
    )
    return trained, weights, objective


def by_name(tree: dict, frozen: dict) -> dict[str, np.ndarray]:
    """Arrays of what learns under the names of PyTorch's parameters."""
    found = {f"language_model.{name}": value for name, value in lora_tensors(tree["lora"], config=CONFIG.decoder)}
    whole = tensors_from(frozen | {name: tree[name] for name in ("heads", "temporal")}, config=CONFIG)
    return found | {name: value for name, value in whole if name.startswith(("heads.", "temporal."))}


def near(found: np.ndarray, wanted: Tensor, *, within: float, least: float = 0.0) -> bool:
    """Whether the greatest difference is small beside the greatest value, or beside ``least``."""
    scale = max(float(wanted.abs().max()), least)
    return float(np.abs(found - wanted.numpy()).max()) <= within * scale


def test_losses_gradients_and_the_update_are_those_of_torch(network: Osler, batch: dict[str, Any]) -> None:
    trained, frozen, objective = twin_of(network)
    parts = torch_losses(network, batch)
    total = losses.total_loss(parts, weights=WEIGHTS)
    total.backward()
    jitted = jax.jit(loss_and_gradients, static_argnames="objective", compiler_options=QUICK)
    found, gradients = jitted(trained, frozen, jax_batch(batch), objective=objective)
    assert found.keys() == parts.keys() | {"total"}
    for name, value in (parts | {"total": total}).items():
        assert float(found[name]) == pytest.approx(value.item(), rel=1e-5), name
    ours = by_name(gradients, frozen)
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert learning.keys() <= ours.keys()
    largest = max(float(p.grad.abs().max()) for p in learning.values() if p.grad is not None)
    for name, parameter in learning.items():
        if parameter.grad is None:
            # The gate's way back to the tokens is not part of this objective.
            assert not ours[name].any(), name
            continue
        if name.endswith("keys.bias"):
            # Softmax does not see it: what is there is rounding, other on another processor.
            assert max(np.abs(ours[name]).max(), parameter.grad.abs().max()) < 1e-5 * largest, name
        else:
            assert near(ours[name], parameter.grad, within=2e-4, least=1e-3 * largest), name
        # Of one gradient: AdamW's first move is its sign, so that rounding near zero would move far.
        parameter.grad.copy_(torch.from_numpy(ours[name].copy()))

    settings = OptimizerConfig(learning_rate=1e-2, steps=10, warmup=0, weight_decay=0.1, clip=0.5, batch=1)
    torch.nn.utils.clip_grad_norm_(list(learning.values()), settings.clip)
    make_torch_optimizer([(list(learning.values()), 1.0)], config=settings).step()
    optimizer = make_optimizer(trained, learning_rate=1e-2, weight_decay=0.1, clip=0.5)
    moves, _ = optimizer.update(gradients, optimizer.init(trained), trained)
    after = by_name(jax.tree.map(lambda leaf, move: leaf + move, trained, moves), frozen)
    for name, parameter in learning.items():
        assert near(after[name], parameter.detach(), within=1e-5), name


def test_a_few_updates_lower_every_loss_that_weighs(network: Osler, batch: dict[str, Any]) -> None:
    trained, frozen, objective = twin_of(network)
    fresh = new_lora(frozen["language_model"]["layers"], lora=LORA, config=CONFIG.decoder, key=jax.random.key(0))
    trained = trained | {"lora": fresh}
    optimizer = make_optimizer(trained, learning_rate=3e-3, weight_decay=0.0, clip=1.0)
    state, read = State(trained, optimizer.init(trained)), jax_batch(batch)
    # One program for all updates: it would refuse another shape.
    step = make_step(objective, optimizer=optimizer).lower(state, frozen, read).compile(compiler_options=QUICK)
    seen = []
    for _ in range(15):
        state, found = step(state, frozen, read)
        seen.append({name: float(value) for name, value in found.items()})
    assert seen[-1]["total"] < 0.8 * seen[0]["total"]
    assert seen[-1]["next_token"] < seen[0]["next_token"]
    assert seen[-1]["findings"] < seen[0]["findings"]


def test_a_target_that_is_no_product_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"'q_project'.*q_proj"):
        new_lora({}, lora=LoraConfig(rank=2, alpha=2.0, targets=("q_project",)), config=CONFIG.decoder, key=None)
