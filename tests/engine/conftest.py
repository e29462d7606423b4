"""The `debug` network with random weights, its tokenizer and prompts for it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from osler.engine.generate import Prompt
from osler.engine.runner import Runner
from osler.model.config import OslerConfig, get_config
from osler.model.osler import Osler, image_blocks
from osler.model.pack import pack
from osler.prepare import preprocess_for
from osler.study import Affine, ArrayPixels, SliceOrigin, Study, TimePoint, Volume
from osler.weights import Checkpoint
from osler.weights.tokenizer import GemmaTokenizer
from osler.weights.tokenizer_files import Vocabulary

_NORMAL, _CONTROL, _BYTE = 1, 3, 6
_FIRST_BYTE = 110


@pytest.fixture(scope="session")
def config() -> OslerConfig:
    """The `debug` configuration: window 24, 4 soft tokens an image, ids below 512."""
    return get_config("debug")


@pytest.fixture(scope="session")
def model(config: OslerConfig) -> Osler:
    """Random weights, large enough that neighbors matter to the likeliest token."""
    generator = torch.Generator().manual_seed(0)
    network = Osler(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.15, generator=generator)
        # Tied embeddings make a network of random layers repeat its input; small ones leave the say to the layers.
        network.decoder.embed_tokens.weight.mul_(0.1)
    return network.requires_grad_(False)


@pytest.fixture(scope="session", params=["plain", "packed"])
def runner(model: Osler, request: pytest.FixtureRequest) -> Runner:
    """The network as it is, and with its weights packed."""
    if request.param == "plain":
        return Runner(model)
    packed = copy.deepcopy(model)
    pack(packed.decoder)
    return Runner(packed)


@pytest.fixture(scope="session")
def make_prompt(model: Osler) -> Callable[..., Prompt]:
    """Builds a prompt: images, each after three words, then text."""

    def make(*, images: int = 0, text: int = 10, seed: int = 0) -> Prompt:
        rng = np.random.default_rng(seed)
        tokens = model.config.tokens
        ids = [tokens.bos]
        for _ in range(images):
            ids += rng.integers(110, 490, 3).tolist()
            ids += [tokens.start_of_image, *[tokens.image] * model.config.image_tokens, tokens.end_of_image]
        ids += rng.integers(110, 490, text).tolist()
        features = None
        if images:
            pixels = torch.rand(images, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1
            features = model.encode_images(pixels)
        return Prompt(token_ids=np.array(ids), features_NTD=features)

    return make


@pytest.fixture(scope="session")
def plain_answer(model: Osler) -> Callable[..., list[int]]:
    """Greedy tokens by the whole forward pass again for each token: no cache, no chunk, no batch."""
    tokens = model.config.tokens
    forbidden = [tokens.pad, tokens.start_of_image, tokens.end_of_image, tokens.image]

    @torch.inference_mode()
    def answer(prompt: Prompt, *, count: int) -> list[int]:
        ids_1L = torch.from_numpy(prompt.token_ids)[None]
        out: list[int] = []
        while len(out) < count:
            hidden_1LD = model.decoder(
                model.embed(ids_1L, prompt.features_NTD),
                positions_BL=torch.arange(ids_1L.shape[1])[None],
                image_blocks_BL=image_blocks(ids_1L, image_token=tokens.image),
            )
            logits_V = model.logits(hidden_1LD[0, -1])
            logits_V[forbidden] = -torch.inf
            token = int(logits_V.argmax())
            if token in (tokens.eos, tokens.end_of_turn):
                break
            out.append(token)
            ids_1L = torch.cat((ids_1L, torch.tensor([[token]])), dim=1)
        return out

    return answer


@pytest.fixture(scope="session")
def tokenizer(config: OslerConfig) -> GemmaTokenizer:
    """All 256 bytes, some letters, and the control tokens of the `debug` configuration."""
    pieces = [f"<unused{number}>" for number in range(config.decoder.vocab)]
    kinds = [_CONTROL] * len(pieces)
    names = {0: "<pad>", 1: "<eos>", 2: "<bos>", 3: "<unk>", 100: "<unused94>", 101: "<unused95>"}
    names |= {94: "<unused100>", 95: "<unused101>"}
    names |= {105: "<start_of_turn>", 106: "<end_of_turn>"}
    names |= {500: "<start_of_image>", 501: "<end_of_image>", 511: "<image_soft_token>"}
    for number, name in names.items():
        pieces[number] = name
    for byte in range(256):
        pieces[_FIRST_BYTE + byte], kinds[_FIRST_BYTE + byte] = f"<0x{byte:02X}>", _BYTE
    for number, letter in enumerate("\u2581abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,?!\n"):
        pieces[370 + number], kinds[370 + number] = letter, _NORMAL
    return GemmaTokenizer.from_vocabulary(Vocabulary(pieces=tuple(pieces), kinds=tuple(kinds)))


@pytest.fixture(scope="session")
def checkpoint(model: Osler, tokenizer: GemmaTokenizer, config: OslerConfig) -> Checkpoint:
    """What `load_checkpoint` returns, around the random weights."""
    return Checkpoint(
        model=model,
        tokenizer=tokenizer,
        preprocess=preprocess_for(config),
        name="debug",
        source=Path("random-weights"),
        licence="none",
    )


@pytest.fixture(scope="session")
def ct_study() -> Study:
    """Eight CT slices of noise around a bright ball."""
    rng = np.random.default_rng(0)
    z, y, x = np.ogrid[:8, :24, :24]
    ball = (z - 4) ** 2 * 4 + (y - 12) ** 2 + (x - 10) ** 2 < 40
    voxels = np.where(ball, 300.0, -600.0).astype(np.float32) + rng.normal(0, 40, (8, 24, 24)).astype(np.float32)
    volume = Volume(
        series="1.2.3",
        pixels=ArrayPixels(voxels),
        affine=Affine(np.diag([1.0, 1.0, 4.0, 1.0])),
        modality="CT",
        units="HU",
        origins=tuple(SliceOrigin(file=f"{index}.dcm", sop_uid=f"1.2.3.{index}") for index in range(8)),
        description="made by a test",
    )
    return Study(timepoints=(TimePoint(series=(volume,)),))


@pytest.fixture(scope="session")
def parts_model() -> Osler:
    """The `debug` network with every part, random weights and gates a little open."""
    generator = torch.Generator().manual_seed(11)
    network = Osler(get_config("debug-parts")).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.15, generator=generator)
        network.decoder.embed_tokens.weight.mul_(0.1)
    return network.requires_grad_(False)


@pytest.fixture
def parts_checkpoint(parts_model: Osler, tokenizer: GemmaTokenizer) -> Checkpoint:
    """Weights with heads, made anew for each test, which may change them."""
    return Checkpoint(
        model=copy.deepcopy(parts_model),
        tokenizer=tokenizer,
        preprocess=preprocess_for(parts_model.config),
        name="debug-parts",
        source=Path("random-weights"),
        licence="none",
        trained=frozenset({"answers", "boxes", "findings", "progression", "embeddings"}),
    )
