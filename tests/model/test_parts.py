"""Every part that Osler adds starts as an identity: the published network's results do not change by a bit."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from torch import Tensor

from osler.errors import RequestError
from osler.model.config import OslerConfig, get_config
from osler.model.osler import Osler, image_blocks
from osler.model.temporal import Events

PARTS = ("heads", "temporal", "volume", "adapter")


def random_network(config: OslerConfig, *, seed: int, dtype: torch.dtype = torch.float32) -> Osler:
    """Random weights everywhere but in the gates, which are where training starts."""
    torch.manual_seed(seed)
    model = Osler(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if not name.endswith("gate") and not name.startswith("volume.deviation"):
            parameter.normal_(std=parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.1)
    return model.to(dtype)


def without_parts(model: Osler) -> Osler:
    """The published network with the same weights."""
    config = dataclasses.replace(model.config, **dict.fromkeys(PARTS))
    with torch.device("meta"):
        plain = Osler(config).eval()
    wanted = set(plain.state_dict())
    plain.load_state_dict({n: t for n, t in model.state_dict().items() if n in wanted}, assign=True)
    return plain.requires_grad_(False)


def prompt(config: OslerConfig, *, images: int) -> tuple[Tensor, Tensor]:
    """Ids with images and text, and pixels."""
    tokens = config.tokens
    generator = torch.Generator().manual_seed(1)
    ids = [tokens.bos]
    for _ in range(images):
        ids += [tokens.start_of_image, *[tokens.image] * config.image_tokens, tokens.end_of_image]
    ids += torch.randint(110, min(480, config.decoder.vocab), (12,), generator=generator).tolist()
    side = config.vision.image_size if config.vision else 0
    return torch.tensor([ids]), torch.rand(images, 3, side, side, generator=generator) * 2 - 1


@torch.inference_mode()
def logits(model: Osler, ids_1L: Tensor, features: Tensor, *, memory: object = None) -> Tensor:
    hidden = model.decoder(
        model.embed(ids_1L, features),
        positions_BL=torch.arange(ids_1L.shape[1])[None],
        image_blocks_BL=image_blocks(ids_1L, image_token=model.config.tokens.image),
        memory=memory,  # type: ignore[arg-type]
    )
    return model.logits(hidden)


def check_identity(model: Osler, *, images: int) -> None:
    """Every part runs, and nothing that the decoder reads or writes changes."""
    plain, config = without_parts(model), model.config
    ids, pixels = prompt(config, images=images)
    with torch.inference_mode():
        expected_features = plain.encode_images(pixels)
        assert torch.equal(model.encode_images(pixels), expected_features)
        events = Events(
            text_BEC=model.text_states([[5, 9], [7]])[None],
            value_BE=torch.tensor([[1.5, torch.nan]]),
            day_BE=torch.tensor([[0.0, 3.0]]),
            padding_BE=torch.zeros(1, 2, dtype=torch.bool),
        )
        days = torch.arange(images, dtype=torch.float32)[None] * 30
        timeline = model.encode_timeline(pixels[None], days_BT=days, events=events)[0]
        assert torch.equal(timeline, expected_features)
        memory = model.image_memory(pixels)
    expected = logits(plain, ids, expected_features)
    assert torch.isfinite(expected).all()
    assert torch.equal(logits(model, ids, timeline, memory=memory), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_parts_are_an_identity_at_the_start(dtype: torch.dtype) -> None:
    check_identity(random_network(get_config("debug-parts"), seed=3, dtype=dtype), images=3)


def deep_network(config: OslerConfig, *, seed: int, period: int) -> Osler:
    """Random weights in bfloat16, where layers so many apart share theirs: depth takes no memory."""
    torch.manual_seed(seed)
    with torch.device("meta"):
        model = Osler(config).eval()
    made: dict[str, Tensor] = {}
    state = {}
    for name, wanted in model.state_dict().items():
        shared = re.sub(r"(?<=layers\.)\d+", lambda number: str(int(number[0]) % period), name)
        if shared not in made:
            still = name.endswith("gate") or name.startswith("volume.deviation")
            std = wanted.shape[-1] ** -0.5 if wanted.ndim > 1 else 0.1
            made[shared] = torch.zeros(wanted.shape) if still else torch.empty(wanted.shape).normal_(std=std)
            made[shared] = made[shared].to(torch.bfloat16 if wanted.is_floating_point() else wanted.dtype)
        state[name] = made[shared]
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False)


def test_all_parts_are_an_identity_in_the_4b_network() -> None:
    """The 4B configuration in every width and its whole depth, with a short vocabulary.

    Six decoder layers are one round of the pattern (five sliding, one global, and the one with the adapter), whose
    weights all rounds share; images are made 224 px so that they have 256 patches instead of 4096.
    """
    full = get_config("medgemma-1.5-4b-parts")
    assert full.vision is not None
    assert (full.decoder.layers, full.vision.layers) == (34, 27)
    tokens = dataclasses.replace(full.tokens, start_of_image=500, end_of_image=501, image=511)
    config = dataclasses.replace(
        full,
        decoder=dataclasses.replace(full.decoder, vocab=512),
        vision=dataclasses.replace(full.vision, image_size=224),
        image_tokens=16,
        tokens=tokens,
    )
    check_identity(deep_network(config, seed=4, period=6), images=1)


def test_the_published_tensors_of_the_4b_network_keep_their_names_and_shapes() -> None:
    with torch.device("meta"):
        plain = {n: t.shape for n, t in Osler(get_config("medgemma-1.5-4b")).state_dict().items()}
        full = {n: t.shape for n, t in Osler(get_config("medgemma-1.5-4b-parts")).state_dict().items()}
    assert len(plain) == 883
    assert {name: full[name] for name in plain} == plain
    added = {name.split(".")[0] for name in set(full) - set(plain)}
    assert added == {"heads", "temporal", "volume", "volume_projection", "adapter"}


def test_open_gates_change_the_answer() -> None:
    model = random_network(get_config("debug-parts"), seed=5)
    ids, pixels = prompt(model.config, images=2)
    features = model.encode_images(pixels)
    before = logits(model, ids, features, memory=model.image_memory(pixels))
    for layer in model.adapter.layers.values():  # type: ignore[union-attr]
        layer.gate.fill_(0.5)
    assert not torch.equal(logits(model, ids, features, memory=model.image_memory(pixels)), before)
    model.temporal.gate.fill_(0.5)  # type: ignore[union-attr]
    timeline = model.encode_timeline(pixels[None], days_BT=torch.tensor([[0.0, 9.0]]))[0]
    assert not torch.equal(timeline, features)


def test_the_heads_of_the_mini_network_are_small() -> None:
    with torch.device("meta"):
        model = Osler(get_config("osler-mini-parts"))
    assert model.heads is not None
    assert sum(parameter.numel() for parameter in model.heads.parameters()) < 8_000_000


@pytest.mark.parametrize("part", ["heads", "adapter", "temporal"])
def test_a_part_that_is_not_there_is_named(part: str) -> None:
    model = Osler(get_config("debug"))
    pixels = torch.zeros(1, 3, 32, 32)
    calls = {
        "heads": lambda: model.head_features(pixels),
        "adapter": lambda: model.image_memory(pixels),
        "temporal": lambda: model.encode_timeline(pixels[None], days_BT=torch.zeros(1, 1)),
    }
    with pytest.raises(RequestError, match="'debug' has no"):
        calls[part]()


def test_a_text_model_has_no_part_that_sees() -> None:
    config = dataclasses.replace(get_config("debug-parts"), vision=None)
    model = Osler(config)
    assert model.heads is model.adapter is model.temporal is None
