"""What the peers share: pictures of a study, log-probabilities of choices, greedy answers.

Legend: L tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from osler.engine.device import choose_device
from osler.evaluate.published import PLAIN, PromptStyle
from osler.evaluate.responder import Inquiry, Meter
from osler.study import Image, Study, Volume, Window
from osler.weights.skills import Skill

_SOFT_TISSUE = Window(low=-135, high=215)


class CausalResponder(ABC):
    """A decoder of ``transformers`` that is asked; a kind of peer says how a prompt is made.

    Args:
        name: Of the folder. key: Tells weights apart.
        model: With ``generate`` and logits. tokenizer: Of ``transformers``.
        note: What a reader must know.
    """

    trained: frozenset[Skill] = frozenset({"answers"})
    asked_anyway: frozenset[Skill] = frozenset()
    style: PromptStyle = PLAIN
    session: None = None

    def __init__(self, *, name: str, key: str, model: Any, tokenizer: Any, note: str) -> None:
        self.name = name
        self.key = key
        self.note = note
        self.meter = Meter()
        self._model = model.eval()
        self._tokenizer = tokenizer

    @abstractmethod
    def inputs(self, inquiry: Inquiry) -> Mapping[str, torch.Tensor]:
        """Returns ``input_ids`` (1, L) and what else the model needs of a prompt."""

    def longest(self) -> int:
        """Tokens that the model can read and write together."""
        return int(self._model.config.get_text_config().max_position_embeddings)

    @torch.inference_mode()
    def ask(self, inquiries: Sequence[Inquiry], *, max_tokens: int) -> list[str]:
        """Answers greedily, one question at a time."""
        texts = []
        for inquiry in inquiries:
            inputs = self.inputs(inquiry)
            prompt = inputs["input_ids"].shape[1]
            room = max(self.longest() - prompt, 1)
            written_1L = self._model.generate(
                **inputs,
                attention_mask=torch.ones_like(inputs["input_ids"]),
                do_sample=False,
                max_new_tokens=min(max_tokens, room),
                pad_token_id=self._tokenizer.eos_token_id,
            )
            # With embeddings as input only the new tokens come back; with ids the prompt stands before them.
            new = written_1L[0, prompt:]
            self.meter.questions += 1
            self.meter.prompt_tokens += prompt
            self.meter.answer_tokens += len(new)
            texts.append(self._tokenizer.decode(new, skip_special_tokens=True).strip())
        return texts

    @torch.inference_mode()
    def score(self, inquiry: Inquiry, choices: Sequence[str]) -> list[float]:
        """Returns the log-probability of each choice behind the prompt."""
        inputs = dict(self.inputs(inquiry))
        ids_1L = inputs.pop("input_ids")
        found = []
        for choice in choices:
            added = self._continuation(choice)
            whole_1L = torch.cat((ids_1L, torch.tensor([added], device=ids_1L.device)), dim=1)
            logits_LV = self._model(input_ids=whole_1L, **inputs).logits[0, -len(added) - 1 : -1].float()
            logprobs_LV = torch.log_softmax(logits_LV, dim=-1)
            picked = torch.tensor(added, device=ids_1L.device)[:, None]
            found.append(float(logprobs_LV.gather(1, picked).sum()))
        self.meter.questions += 1
        return found

    def _continuation(self, text: str) -> list[int]:
        """Tokens of an answer behind the prompt, without those that begin a text."""
        ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return list(ids)


def picture_of(study: Study | None) -> np.ndarray | None:
    """One picture of a study, uint8 (row, column, 3): the first image, or the middle slice of the first volume.

    CT is shown in the soft-tissue window; other grays from the least to the greatest value.
    """
    for series in study.series() if study is not None else ():
        if isinstance(series, Volume):
            pixels = series.read(slices=[series.shape[0] // 2])[0]
        elif isinstance(series, Image):
            pixels = series.read()
        else:
            continue
        if series.units == "RGB" or pixels.ndim == 3:
            return np.asarray(pixels, dtype=np.uint8)
        return np.repeat(_gray(pixels, hounsfield=series.units == "HU")[..., None], 3, axis=-1)
    return None


def _gray(pixels: np.ndarray, *, hounsfield: bool) -> np.ndarray:
    low, high = float(pixels.min()), float(pixels.max())
    window = _SOFT_TISSUE if hounsfield else Window(low=low, high=max(high, low + 1))
    return np.rint(window.apply(pixels)).astype(np.uint8)


def folder_key(folder: Path) -> str:
    """Tells the weights of folders apart by names, sizes and times of their files."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    stamps = "\n".join(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
    return f"{folder.resolve().name} {hashlib.sha256(stamps.encode()).hexdigest()[:16]}"


def place_for(device: str) -> torch.device:
    """The device of a request."""
    return torch.device(str(choose_device(device).value))
