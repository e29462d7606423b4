"""From exchanges to token ids, in the very format that inference uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from osler.model.config import TokenIds
from osler.prepare import Preprocess
from osler.prepare.chat import Tokenizer, Turn, render_chat
from osler.prepare.prompt import ShownSeries, study_parts
from osler.train.answers import Exchange


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A conversation to learn from.

    Args:
        token_ids: (L,). answer_mask: (L,), True where the loss is.
        rows: Rows of the feature table, one an image, in the order of the prompt.
    """

    token_ids: np.ndarray
    answer_mask: np.ndarray
    rows: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMaker:
    """Renders conversations with one tokenizer and one contract."""

    tokenizer: Tokenizer
    tokens: TokenIds
    preprocess: Preprocess

    def make(self, exchanges: Sequence[Exchange], *, rows: tuple[int, ...] = (), form: str = "image") -> Sample:
        """Builds a sample.

        Args:
            exchanges: Question and answer, in order; images stand in the first question.
            rows: Rows of the images' features.
            form: ``"image"`` or ``"volume"``, as in `ShownSeries`.
        """
        shown = [ShownSeries(timepoint=0, date=None, images=len(rows), kind=form)] if rows else []
        turns: list[Turn] = []
        for number, exchange in enumerate(exchanges):
            if number == 0:
                parts = study_parts(
                    shown,
                    style=self.preprocess.prompt,
                    instruction=self.preprocess.instruction,
                    question=exchange.question,
                )
                turns.append(Turn(role="user", parts=parts))
            else:
                turns.append(Turn.of("user", exchange.question))
            turns.append(Turn.of("assistant", exchange.answer))
        chat = render_chat(
            turns, tokenizer=self.tokenizer, tokens=self.tokens, image_tokens=self.preprocess.image_tokens
        )
        return Sample(token_ids=chat.token_ids, answer_mask=chat.answer_mask, rows=rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Samples padded on the right.

    Args:
        token_ids_BL: Ids. padding_BL: True where padded. wanted_BL: True at a position whose *next* id is asked for.
        rows: Feature rows of all images, sample by sample.
    """

    token_ids_BL: Tensor
    padding_BL: Tensor
    wanted_BL: Tensor
    rows: Tensor


def collate(samples: Sequence[Sample], *, pad: int) -> Batch:
    """Pads samples to the longest."""
    length = max(len(sample.token_ids) for sample in samples)
    ids = torch.full((len(samples), length), pad, dtype=torch.int64)
    padding = torch.ones(len(samples), length, dtype=torch.bool)
    wanted = torch.zeros(len(samples), length, dtype=torch.bool)
    for row, sample in enumerate(samples):
        size = len(sample.token_ids)
        ids[row, :size] = torch.from_numpy(sample.token_ids)
        padding[row, :size] = False
        wanted[row, : size - 1] = torch.from_numpy(sample.answer_mask[1:])
    rows = torch.tensor([index for sample in samples for index in sample.rows], dtype=torch.int64)
    return Batch(token_ids_BL=ids, padding_BL=padding, wanted_BL=wanted, rows=rows)
