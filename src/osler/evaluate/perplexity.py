"""Perplexity of a decoder on plain text: what an adapter costs in knowledge."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from osler.model.osler import Osler
from osler.weights import GemmaTokenizer

if TYPE_CHECKING:
    from osler.engine.backend import AnyRunner


def general_texts() -> tuple[str, ...]:
    """Everyday paragraphs, written for this measurement."""
    return _paragraphs("general_text.txt")


def medical_texts(root: Path | None, *, abstracts: int = 60) -> tuple[str, ...]:
    """Medical paragraphs: ours, and PubMedQA contexts where the evaluate-only set is there."""
    texts = _paragraphs("medical_text.txt")
    path = root / "qa" / "pubmedqa.json" if root is not None else None
    if path is None or not path.is_file():
        return texts
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = list(content.values()) if isinstance(content, dict) else content
    key = "CONTEXTS" if "CONTEXTS" in rows[0] else "contexts"
    found = [
        " ".join(row[key]) if isinstance(row.get(key), list) else str(row.get(key, "")) for row in rows[:abstracts]
    ]
    return (*texts, *(text for text in found if text))


def _paragraphs(name: str) -> tuple[str, ...]:
    text = resources.files("osler.evaluate").joinpath(name).read_text(encoding="utf-8")
    return tuple(part.strip().replace("\n", " ") for part in text.split("\n\n") if part.strip())


def perplexity(
    model: Osler, texts: Sequence[str], *, tokenizer: GemmaTokenizer, longest: int = 512
) -> tuple[float, int]:
    """Returns the perplexity over all tokens but each text's first, and how many there were."""
    total, count = 0.0, 0
    for text in texts:
        added, tokens = negative_log_likelihood(model, text, tokenizer=tokenizer, longest=longest)
        total, count = total + added, count + tokens
    return math.exp(total / max(1, count)), count


def likelihood_by(runner: AnyRunner, text: str, *, tokenizer: GemmaTokenizer, longest: int = 512) -> tuple[float, int]:
    """The same as `negative_log_likelihood`, on any backend."""
    ids_1L = torch.tensor([[runner.config.tokens.bos, *tokenizer.encode(text)[: longest - 1]]])
    count = ids_1L.shape[1]
    logits_LV = runner.score(ids_1L, cache=runner.new_cache(planned=count))[:-1].float()
    return float(F.cross_entropy(logits_LV.cpu(), ids_1L[0, 1:], reduction="sum")), count - 1


@torch.inference_mode()
def negative_log_likelihood(
    model: Osler, text: str, *, tokenizer: GemmaTokenizer, longest: int = 512, device: torch.device | str = "cpu"
) -> tuple[float, int]:
    """Returns the summed negative log-likelihood (nats) of a text's tokens but the first, and how many there are."""
    ids = torch.tensor([[model.config.tokens.bos, *tokenizer.encode(text)[: longest - 1]]], device=device)
    positions = torch.arange(ids.shape[1], device=device)[None]
    hidden = model.decoder(model.embed(ids), positions_BL=positions)
    logits = model.logits(hidden[:, :-1]).float()
    return float(F.cross_entropy(logits[0], ids[0, 1:], reduction="sum")), ids.shape[1] - 1
