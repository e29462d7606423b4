"""From a study and a question to what the network is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int64

from osler.errors import CapacityError, RequestError
from osler.prepare.chat import ControlTokens, Tokenizer, Turn, render_chat
from osler.prepare.contract import Preprocess
from osler.prepare.images import PreparedImages, prepare_images
from osler.prepare.pixels import PixelBatches, ShownImage
from osler.prepare.prompt import study_parts
from osler.prepare.scope import scope_warnings
from osler.prepare.volume_slabs import SlabbedVolume
from osler.progress import Progress
from osler.study import LeftOut, Study, UsedSeries

MAX_QUESTION = 20_000
"""Most characters in a question; about 5,000 tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelInputs:
    """What the network sees, and how to go back from it.

    Args:
        token_ids: The prompt; the places of image features hold the image token.
        answer_mask: True where training asks for the id; all False without an answer.
        pixels: The images, normalized a few at a time.
        images: One entry an image, in the order of the prompt.
        volumes: Those that are read as slabs, by the number of their first image.
        soft_tokens: Places of image features among the ids.
        used: What was shown of each series.
        left_out: What was not shown, and why.
        warnings: What the user should know, one sentence each.
        preprocess_hash: Hash of the contract.
    """

    token_ids: Int64[np.ndarray, " token"]
    answer_mask: Bool[np.ndarray, " token"]
    pixels: PixelBatches
    images: tuple[ShownImage, ...]
    used: tuple[UsedSeries, ...]
    left_out: tuple[LeftOut, ...]
    warnings: tuple[str, ...]
    preprocess_hash: str
    volumes: Mapping[int, SlabbedVolume] = field(default_factory=dict)
    soft_tokens: int = 0


def prepare_inputs(
    study: Study | None,
    question: str,
    *,
    preprocess: Preprocess,
    tokenizer: Tokenizer,
    tokens: ControlTokens,
    system: str = "",
    answer: str | None = None,
    context: int | None = None,
    progress: Progress | None = None,
) -> ModelInputs:
    """Prepares a question on a study.

    Args:
        study: The study, or ``None`` for a question without images.
        question: At most `MAX_QUESTION` characters.
        preprocess: The contract of the weights.
        tokenizer: The tokenizer of the weights.
        tokens: Ids of the control tokens.
        system: System text, may be empty.
        answer: The answer to train on, or ``None`` to ask for one.
        context: Most tokens that the prompt may have, or ``None`` for no limit.
        progress: Called with ``"images"``, images done and images in all.

    Raises:
        RequestError: If the question is empty or too long.
        CapacityError: If the prompt is longer than ``context``.
        DataError: If pixels cannot be read or mean nothing.

    Example:
        >>> from osler.prepare import Preprocess, prepare_inputs
        >>> contract = Preprocess(image_size=256, image_tokens=64)
        >>> inputs = prepare_inputs(None, "What is HU?", preprocess=contract,
        ...     tokenizer=tokenizer, tokens=tokens)  # doctest: +SKIP
    """
    check_question(question)
    images = prepare_images(study or Study(timepoints=()), preprocess=preprocess, progress=progress)
    return assemble(
        images,
        question,
        study=study,
        preprocess=preprocess,
        tokenizer=tokenizer,
        tokens=tokens,
        system=system,
        answer=answer,
        context=context,
    )


def assemble(
    prepared: PreparedImages,
    question: str,
    *,
    preprocess: Preprocess,
    tokenizer: Tokenizer,
    tokens: ControlTokens,
    study: Study | None = None,
    system: str = "",
    answer: str | None = None,
    context: int | None = None,
    record: str = "",
    history: Sequence[Turn] = (),
) -> ModelInputs:
    """Puts images that are prepared already and a question into one prompt.

    Many questions on one study share the `PreparedImages`. With a ``history``
    the images stand in its first turn, which must have been built by
    `first_turn`, and the question follows as text. A ``record`` (dated events
    and documents as text) stands between the images and the question of the
    first turn; it is data, and can hold no control token.

    Raises:
        RequestError: If the question is empty or too long, or ``history`` holds another number of images.
        CapacityError: If the prompt is longer than ``context``.
    """
    check_question(question)
    if history:
        asked = Turn.of("user", question)
    else:
        asked = first_turn(prepared, question, preprocess=preprocess, record=record)
    turns = [*history, asked]
    if answer is not None:
        turns.append(Turn.of("assistant", answer))
    slots = sum(turn.images for turn in turns)
    if slots != prepared.places:
        raise RequestError(f"The conversation shows {slots} images, but {prepared.places} were prepared.")
    chat = render_chat(turns, tokenizer=tokenizer, tokens=tokens, image_tokens=preprocess.image_tokens, system=system)
    spent = int(np.count_nonzero(chat.token_ids == tokens.image))
    _check_length(len(chat.token_ids), context=context, images=slots, spent=spent)
    modalities = [series.modality for series in prepared.used]
    return ModelInputs(
        token_ids=chat.token_ids,
        answer_mask=chat.answer_mask,
        pixels=prepared.pixels,
        images=prepared.images,
        used=prepared.used,
        left_out=prepared.left_out,
        warnings=(*prepared.warnings, *scope_warnings(question, study=study, modalities=modalities)),
        preprocess_hash=preprocess.hash,
        volumes=prepared.volumes,
        soft_tokens=spent,
    )


def before_record(told: str, record: str) -> str:
    """Puts what a head reads of the images before the record; either may be empty."""
    return "\n\n".join(part for part in (told, record) if part)


def first_turn(prepared: PreparedImages, question: str, *, preprocess: Preprocess, record: str = "") -> Turn:
    """Builds the user turn that shows the images, then the record, and asks the question."""
    asked = f"{record.strip()}\n\n{question}" if record.strip() else question
    parts = study_parts(prepared.series, style=preprocess.prompt, instruction=preprocess.instruction, question=asked)
    return Turn(role="user", parts=parts)


def check_question(question: str) -> None:
    """Checks that a question has text and is not too long.

    Raises:
        RequestError: If not.
    """
    if not isinstance(question, str):
        raise RequestError(f"A question of type {type(question).__name__}.", allowed="A text.")
    if not question.strip():
        raise RequestError("The question is empty.", next_step='Ask something, such as "What does this scan show?".')
    if len(question) > MAX_QUESTION:
        raise RequestError(
            f"The question has {len(question):,} characters.",
            allowed=f"At most {MAX_QUESTION:,}.",
            next_step="Shorten it; long records belong into files.",
        )


def _check_length(length: int, *, context: int | None, images: int, spent: int) -> None:
    if context is None or length <= context:
        return
    raise CapacityError(
        f"The prompt has {length:,} tokens, {spent:,} of them for {images} images.",
        allowed=f"This model reads at most {context:,}.",
        next_step="Shorten the question, or show fewer slices (max_slices in the preprocessing contract).",
    )
