"""Asks a checkpoint many questions in batches, with the image as it is or blanked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from osler.engine.features import FeatureStore
from osler.engine.generate import Prompt, generate
from osler.engine.options import Decoding
from osler.engine.packing import choose_packing
from osler.engine.prefix import PrefixStore
from osler.engine.runner import Runner
from osler.engine.slab_features import SlabStore
from osler.errors import RequestError
from osler.model.pack import pack
from osler.prepare import PixelBatches, PreparedImages, assemble, prepare_images
from osler.readers.limits import available_memory
from osler.study import Study
from osler.weights import Checkpoint

Sight = Literal["seen", "blanked"]
_GRAY = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer and how it ended."""

    text: str
    stopped: str


class Asker:
    """Keeps a checkpoint ready for questions.

    Args:
        checkpoint: From `osler.weights.load_checkpoint`.
        max_tokens: Of an answer.
    """

    def __init__(self, checkpoint: Checkpoint, *, max_tokens: int = 48) -> None:
        self.checkpoint = checkpoint
        model = checkpoint.model.eval()
        if choose_packing(model.decoder, available=available_memory()).value == "packed":
            pack(model.decoder)
        self.runner = Runner(model)
        self._images = FeatureStore(model)
        self._slabs = SlabStore(model)
        self.decoding = Decoding(max_tokens=max_tokens)
        self._answered: dict[tuple[bytes, bytes], Reply] = {}

    def look(self, study: Study) -> tuple[PreparedImages, Tensor]:
        """Prepares a study's images and encodes them as a session does, (N, T, D) or (M, 1, D)."""
        prepared = prepare_images(study, preprocess=self.checkpoint.preprocess)
        return prepared, self._encode(prepared)

    def blank(self, prepared: PreparedImages) -> Tensor:
        """Features of the same images, each of one middle gray."""
        rgb = np.full_like(prepared.pixels.rgb, _GRAY)
        pixels = PixelBatches(rgb=rgb, preprocess=prepared.pixels.preprocess)
        return self._encode(replace(prepared, pixels=pixels))

    def _encode(self, prepared: PreparedImages) -> Tensor:
        features = self._slabs.encode_shown(prepared, images=self._images)
        if features is None:
            raise RequestError("The study has no image to look at.")
        return features

    def prompt(self, question: str, *, prepared: PreparedImages | None, features: Tensor | None) -> Prompt:
        """Builds the prompt of a question on prepared images, or on none."""
        config = self.checkpoint.model.config
        images = prepared or prepare_images(Study(timepoints=()), preprocess=self.checkpoint.preprocess)
        inputs = assemble(
            images,
            question,
            preprocess=self.checkpoint.preprocess,
            tokenizer=self.checkpoint.tokenizer,
            tokens=config.tokens,
        )
        return Prompt(token_ids=inputs.token_ids, features_NTD=features)

    def ask(self, prompts: Sequence[Prompt], *, batch: int = 16) -> list[Reply]:
        """Answers prompts, greedily, some at a time; equal prompts (of blanked images, say) once."""
        keys = [_prompt_key(prompt) for prompt in prompts]
        fresh = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._answered}
        # Alone, a prompt takes up what an earlier one on the same images has read.
        prefix = PrefixStore() if batch == 1 else None
        waiting = list(fresh.items())
        for start in range(0, len(waiting), batch):
            part = waiting[start : start + batch]
            results = generate(self.runner, [prompt for _, prompt in part], decoding=self.decoding, prefix=prefix)
            for (key, _), result in zip(part, results, strict=True):
                text = self.checkpoint.tokenizer.decode(result.token_ids).strip()
                self._answered[key] = Reply(text=text, stopped=result.stopped)
        return [self._answered[key] for key in keys]


def _prompt_key(prompt: Prompt) -> tuple[bytes, bytes]:
    """Tells equal prompts: the ids, and a hash of the features."""
    if prompt.features_NTD is None:
        return prompt.token_ids.tobytes(), b""
    features = prompt.features_NTD.contiguous().view(torch.uint8).numpy()
    return prompt.token_ids.tobytes(), hashlib.sha256(features.data).digest()
