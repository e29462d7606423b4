"""Boxes that the decoder asks for: it writes a box token, and the box head reads the place off that token's state.

Whether the token comes is the decoder's say: its probability is compared with that of the first word that says that
there is nothing to draw. Nothing is sampled, so the same picture always gives the same box.

Legend: L tokens, V vocabulary, D width of the decoder, P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from osler.engine.head_results import HeadBox
from osler.engine.options import Decoding
from osler.engine.words import Words
from osler.errors import RequestError
from osler.model.heads import patch_positions
from osler.model.osler import image_blocks
from osler.study import Box2D
from osler.tasks.opening import one_by_one

if TYPE_CHECKING:
    from osler.engine.session import Session
    from osler.prepare import PreparedImages
    from osler.study import Study

ABSENT = "not shown"
"""What is written in place of a box token."""

_LEAST = 1e-4


def box_token_question(label: str) -> str:
    """Returns the question whose answer is a box token."""
    return f"Mark the {label} with a box token."


def with_box_token(
    token_ids: np.ndarray, answer_mask: np.ndarray, *, box: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """Puts a box token, which no text encodes to, in place of the answer of a training sample.

    Args:
        token_ids: (L,), with an answer of any text. answer_mask: (L,), True on it and its end.
        box: The token. end: That closes an answer.
    """
    first = int(np.flatnonzero(answer_mask)[0])
    last = first + int(np.flatnonzero(token_ids[first:] == end)[0])
    ids = np.concatenate((token_ids[:first], [box], token_ids[last:]))
    mask = np.concatenate((answer_mask[:first], [True], answer_mask[last:]))
    return ids, mask


def written_boxes(session: Session, study: Study, *, labels: Sequence[str]) -> list[HeadBox]:
    """Asks for each label on each picture, and reads the boxes of the tokens that the decoder would write.

    Slices of volumes and tiles of slides are passed over: box tokens are taught on pictures.

    Args:
        session: On PyTorch, with weights that were trained to write box tokens. study: To look at.
        labels: As people say them.

    Returns:
        Boxes in the network's pixels; the score is the probability of the box token against "not shown".

    Raises:
        RequestError: If the weights have no box head, or another backend runs.
        CapacityError: If a prompt does not fit.
    """
    if session.checkpoint.model.heads is None:
        raise RequestError(f"The model {session.checkpoint.name!r} has no box head.", next_step="Choose one that has.")
    if session.runner.backend != "torch":
        raise RequestError("Box tokens are read by PyTorch only.", allowed="The backend torch.")
    prepared = session.prepare(study)
    pictures = [number for number, image in enumerate(prepared.images) if image.slice is None and image.tile is None]
    found = []
    for number, alone in zip(pictures, one_by_one(prepared, pictures), strict=True):
        twin = session.showing(study, alone)
        for label in labels:
            score, edges = _read(twin, study, alone, label=label)
            if score > 0.5 and all(edges[axis + 3] - edges[axis] > _LEAST for axis in (0, 1)):
                size, series = prepared.pixels.preprocess.image_size, prepared.images[number].series
                box = Box2D(x0=edges[0] * size, y0=edges[1] * size, x1=edges[3] * size, y1=edges[4] * size)
                found.append(HeadBox(label=label, series=series, score=score, image=number, box=box))
    return found


@torch.inference_mode()
def _read(session: Session, study: Study, prepared: PreparedImages, *, label: str) -> tuple[float, list[float]]:
    """The probability that a box token comes rather than "not shown", and the box at its state."""
    model, tokens = session.checkpoint.model, session.checkpoint.model.config.tokens
    words = Words(question=box_token_question(label))
    waiting = session._wait(study, words, decoding=Decoding(max_tokens=2), stop=(), on_progress=None)
    prompt = waiting.prompt
    ids_1L = torch.from_numpy(np.append(prompt.token_ids, tokens.box))[None].to(model.device)
    hidden_1LD = model.decoder(
        model.embed(ids_1L, prompt.features_NTD),
        positions_BL=torch.arange(ids_1L.shape[1], device=model.device)[None],
        image_blocks_BL=image_blocks(ids_1L, image_token=tokens.image),
        memory=prompt.memory,  # type: ignore[arg-type]
    )
    logits_V = model.logits(hidden_1LD[:, -2])[0].float()
    absent = session.checkpoint.tokenizer.encode(ABSENT)[0]
    score = float(torch.stack((logits_V[tokens.box], logits_V[absent])).softmax(0)[0])
    pixels = torch.from_numpy(prepared.pixels.array()).to(device=model.device, dtype=model.dtype)
    features_1PV = model.head_features(pixels)
    side = round(features_1PV.shape[1] ** 0.5)
    _, boxes_Q6, _ = model.boxes_at(
        hidden_1LD,
        token_ids_BL=ids_1L,
        features_BMV=features_1PV,
        positions_BM3=patch_positions(side, device=model.device)[None],
    )
    return score, boxes_Q6[-1].tolist()
