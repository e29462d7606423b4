"""What the decoder must not forget: it is held to the frozen base on plain text.

The text is sampled from the base itself, from openings of many kinds, so that
it shows what the pretrained model knows and no data set is needed. The loss is
the divergence of the adapted decoder's next-token distribution from the base's.

Dimensions: B batch, L tokens, D width, P positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from osler.engine.decode import forbidden_ids
from osler.engine.kv_cache import KVCache
from osler.engine.runner import Runner
from osler.model.osler import Osler
from osler.prepare.chat import Tokenizer
from osler.train.cache_key import cache_key
from osler.train.checkpoints import save_tensors
from osler.weights.lora import without_adapters
from osler.weights.safetensors_io import read_safetensors


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallConfig:
    """The retention term of the answers and the finetune stage, added to the loss of each update.

    Args:
        weight: On the divergence, in nats a token; 0 leaves the term out.
        every: Updates from one such term to the next.
        texts: Texts sampled from the base. length: Their tokens, the opening included.
        rows: Texts of an update. positions: Places in each at which distributions are compared.
        at_once: Texts sampled side by side.
    """

    weight: float = 1.0
    every: int = 1
    texts: int = 384
    length: int = 128
    rows: int = 2
    positions: int = 32
    at_once: int = 96


def openings() -> tuple[str, ...]:
    """The shipped beginnings of texts."""
    text = resources.files("osler.train").joinpath("recall_openings.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line.strip() and not line.startswith("#"))


def recall_texts(base: Osler, *, tokenizer: Tokenizer, config: RecallConfig, seed: int, path: Path) -> Tensor:
    """Samples texts from the base at temperature 1, or reads those that were sampled with the same settings.

    Returns:
        (texts, length) int64; padded on the right where a text ended early.
    """
    starts = [np.array([base.config.tokens.bos, *tokenizer.encode(text)]) for text in openings()]
    key = cache_key(recall=1, config=[config.texts, config.length, config.at_once], seed=seed, starts=starts)
    if path.is_file():
        file = read_safetensors(path)
        if file.metadata.get("key") == key:
            return file.tensors["texts"].clone()
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for first in range(0, config.texts, config.at_once):
        count = min(config.at_once, config.texts - first)
        chosen = [starts[(first + i) % len(starts)] for i in range(count)]
        parts.append(sample_side_by_side(base, chosen, length=config.length, generator=generator))
    texts = torch.cat(parts)
    save_tensors(path, {"texts": texts}, metadata={"key": key})
    return texts


@torch.inference_mode()
def sample_side_by_side(
    base: Osler, starts: Sequence[np.ndarray], *, length: int, generator: torch.Generator
) -> Tensor:
    """Continues texts together, one draw a row and step, each to ``length`` tokens in all, (B, length)."""
    runner, tokens = Runner(base), base.config.tokens
    caches, logits = [], []
    for start in starts:
        cache = KVCache(base.config.decoder, planned=length)
        logits.append(runner.read(torch.from_numpy(start)[None], features_NTD=None, cache=cache))
        caches.append(cache)
    joined = KVCache.stack(caches, planned=length)
    texts = torch.full((len(starts), length), tokens.pad, dtype=torch.int64)
    ends = [len(start) for start in starts]
    for row, start in enumerate(starts):
        texts[row, : len(start)] = torch.from_numpy(start)
    closed = torch.zeros(len(starts), dtype=torch.bool)
    never = torch.tensor([*forbidden_ids(tokens, vocab=base.config.decoder.vocab), tokens.end_of_turn])
    logits_BV = torch.cat(logits)
    for _ in range(length - max(ends)):
        drawn_B = _draw(logits_BV, never=never, generator=generator)
        closed |= drawn_B == tokens.eos
        if bool(closed.all()):
            break
        for row in range(len(starts)):
            if not closed[row]:
                texts[row, ends[row]] = drawn_B[row]
                ends[row] += 1
        logits_BV = runner.step(drawn_B, cache=joined)
    return texts


def _draw(logits_BV: Tensor, *, never: Tensor, generator: torch.Generator) -> Tensor:
    """One id a row by the distribution of the logits."""
    weights_BV = logits_BV.float().index_fill_(1, never, -torch.inf).softmax(-1).cumsum_(-1)
    # Rounding leaves the sum a little off one.
    at_B1 = torch.rand(len(weights_BV), 1, generator=generator) * weights_BV[:, -1:]
    return torch.searchsorted(weights_BV, at_B1, right=True)[:, 0].clamp_(max=weights_BV.shape[1] - 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RecallBatch:
    """Texts and the places at which next-token distributions are compared.

    Args:
        token_ids_BL: Ids, padded on the right.
        places_P: Positions in the flattened (B, L).
    """

    token_ids_BL: Tensor
    places_P: Tensor

    def to(self, device: torch.device) -> RecallBatch:
        """The same on another device."""
        return RecallBatch(token_ids_BL=self.token_ids_BL.to(device), places_P=self.places_P.to(device))


def draw_recall(texts: Tensor, *, config: RecallConfig, pad: int, rng: np.random.Generator) -> RecallBatch:
    """Draws the texts of an update, and places among their tokens."""
    rows = rng.integers(len(texts), size=config.rows)
    ids_BL = texts[torch.from_numpy(rows)]
    longest = int((ids_BL != pad).sum(1).max())
    ids_BL = ids_BL[:, :longest]
    filled = np.flatnonzero((ids_BL != pad).numpy().reshape(-1))
    count = min(len(filled), config.rows * config.positions)
    places = np.sort(rng.choice(filled, size=count, replace=False))
    return RecallBatch(token_ids_BL=ids_BL, places_P=torch.from_numpy(places))


def recall_loss(model: Osler, batch: RecallBatch, *, base: Osler | None = None) -> Tensor:
    """Mean divergence KL(base || adapted) of the next-token distributions, in nats.

    Args:
        model: The adapted network. base: The frozen one; ``None`` for the same without its adapters.
    """
    with torch.no_grad(), without_adapters(model) if base is None else nullcontext():
        known_PV = _log_probabilities(model if base is None else base, batch)
    return F.kl_div(_log_probabilities(model, batch), known_PV, log_target=True, reduction="batchmean")


def _log_probabilities(model: Osler, batch: RecallBatch) -> Tensor:
    ids_BL = batch.token_ids_BL
    positions_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device).expand_as(ids_BL)
    # Padding stands on the right, where no text token sees it.
    hidden_BLD = model.decoder(model.embed(ids_BL), positions_BL=positions_BL)
    return model.logits(hidden_BLD.flatten(0, 1)[batch.places_P]).float().log_softmax(-1)
