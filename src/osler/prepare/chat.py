"""The chat format: turns of text and images to token ids.

Source: the chat template and processor of Gemma 3 in ``transformers``.

- No role of its own for the system text: it stands, with a blank line behind
  it, in front of the first user turn.
- Roles alternate, user first; the assistant is called ``model``.
- Each text item is trimmed; items follow each other without a separator.
- An image is a blank line, ``<start_of_image>``, the soft tokens,
  ``<end_of_image>`` and a blank line. Blank lines of neighbors meet in one run
  of text and are tokenized together, as the reference does.

Control tokens are placed by id. Text is encoded as text, so a question that
spells ``<end_of_turn>`` cannot end its turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Bool, Int64

from osler.errors import RequestError

THINK_SILENTLY = "SYSTEM INSTRUCTION: think silently if needed."
THOUGHT_END = "<unused95>"
_AROUND_IMAGE = "\n\n"

Role = Literal["user", "assistant"]


class Tokenizer(Protocol):
    """What `prepare` needs of a tokenizer."""

    def encode(self, text: str, *, specials: Literal["parse", "text"] = "text") -> list[int]:
        """Returns ids without a leading BOS; ``"text"`` keeps control tokens in the text as text."""
        ...


class ControlTokens(Protocol):
    """Ids of the control tokens of the chat format."""

    @property
    def bos(self) -> int: ...
    @property
    def start_of_turn(self) -> int: ...
    @property
    def end_of_turn(self) -> int: ...
    @property
    def start_of_image(self) -> int: ...
    @property
    def end_of_image(self) -> int: ...
    @property
    def image(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ImageSlot:
    """The place of one image in a turn; images come in the order of their slots.

    Args:
        tokens: Soft tokens that it takes; 0 for those of an image.
    """

    tokens: int = 0


Part = str | ImageSlot


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one side said.

    Args:
        role: Who said it.
        parts: Texts and image slots, in order.
    """

    role: Role
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, role: Role, *parts: Part) -> Turn:
        """Builds a turn from its parts."""
        return cls(role=role, parts=parts)

    @property
    def images(self) -> int:
        """Image slots in the turn."""
        return sum(isinstance(part, ImageSlot) for part in self.parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RenderedChat:
    """A conversation as token ids.

    Args:
        token_ids: All ids, BOS first.
        answer_mask: True where the id is the model's to say: the text of assistant turns and the
            ``<end_of_turn>`` behind it.
    """

    token_ids: Int64[np.ndarray, " token"]
    answer_mask: Bool[np.ndarray, " token"]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A run of text or of control ids, and whether the model says it."""

    said: bool
    text: str = ""
    ids: tuple[int, ...] = ()


def thinking_system(system: str = "") -> str:
    """Returns the system text that lets MedGemma 1.5 think before it answers."""
    return f"{THINK_SILENTLY} {system}".strip()


def render_chat(
    turns: Sequence[Turn], *, tokenizer: Tokenizer, tokens: ControlTokens, image_tokens: int, system: str = ""
) -> RenderedChat:
    """Renders a conversation as the published template and processor do.

    Where the last turn is the user's, the opening of the model's turn follows;
    where it is the assistant's, the ids stop at its ``<end_of_turn>``.

    Args:
        turns: Alternating, user first.
        tokenizer: Encodes the text between control tokens.
        tokens: Ids of the control tokens.
        image_tokens: Soft tokens an image takes.
        system: System text, may be empty.

    Raises:
        RequestError: If there is no turn, roles do not alternate, or an assistant turn has an image.
    """
    check_turns(turns)
    ids: list[int] = [tokens.bos]
    said: list[bool] = [False]
    for piece in _merged(_pieces(turns, tokens=tokens, image_tokens=image_tokens, system=system)):
        new = list(piece.ids) if piece.ids else tokenizer.encode(piece.text, specials="text")
        ids.extend(new)
        said.extend([piece.said] * len(new))
    return RenderedChat(token_ids=np.array(ids, dtype=np.int64), answer_mask=np.array(said, dtype=bool))


def chat_text(turns: Sequence[Turn], *, system: str = "") -> str:
    """Returns the conversation as people read it, an image as ``<start_of_image>``.

    It is for showing only: text and control tokens cannot be told apart in it.
    """
    check_turns(turns)
    lines = ["<bos>"]
    for index, turn in enumerate(turns):
        prefix = f"{system}\n\n" if index == 0 and system else ""
        body = "".join("<start_of_image>" if isinstance(part, ImageSlot) else part.strip() for part in turn.parts)
        name = "model" if turn.role == "assistant" else "user"
        lines.append(f"<start_of_turn>{name}\n{prefix}{body}<end_of_turn>\n")
    if turns[-1].role == "user":
        lines.append("<start_of_turn>model\n")
    return "".join(lines)


def check_turns(turns: Sequence[Turn]) -> None:
    """Checks that turns alternate, user first, and only users show images.

    Raises:
        RequestError: If not.
    """
    if not turns:
        raise RequestError("A conversation without a turn.", allowed="At least one turn, the user's.")
    for index, turn in enumerate(turns):
        wanted: Role = "user" if index % 2 == 0 else "assistant"
        if turn.role != wanted:
            raise RequestError(
                f"Turn {index + 1} is by {turn.role!r}.", allowed="Turns alternate user, assistant, user, ..."
            )
        if turn.role == "assistant" and turn.images:
            raise RequestError(f"Turn {index + 1}, the assistant's, has an image.", allowed="Only users show images.")


def _pieces(turns: Sequence[Turn], *, tokens: ControlTokens, image_tokens: int, system: str) -> Iterator[_Piece]:
    for index, turn in enumerate(turns):
        said = turn.role == "assistant"
        yield _Piece(said=False, text="\n" if index else "")
        yield _Piece(said=False, ids=(tokens.start_of_turn,))
        yield _Piece(said=False, text="model\n" if said else "user\n")
        if index == 0 and system:
            yield _Piece(said=False, text=f"{system}\n\n")
        for part in turn.parts:
            if isinstance(part, ImageSlot):
                yield _Piece(said=False, text=_AROUND_IMAGE)
                soft = [tokens.image] * (part.tokens or image_tokens)
                yield _Piece(said=False, ids=(tokens.start_of_image, *soft, tokens.end_of_image))
                yield _Piece(said=False, text=_AROUND_IMAGE)
            else:
                yield _Piece(said=said, text=part.strip())
        yield _Piece(said=said, ids=(tokens.end_of_turn,))
    if turns[-1].role == "user":
        yield _Piece(said=False, text="\n")
        yield _Piece(said=False, ids=(tokens.start_of_turn,))
        yield _Piece(said=False, text="model\n")


def _merged(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """Joins neighboring texts, because a tokenizer may merge across their border.

    The border between the prompt and what the model says stays: at inference
    the prompt ends there, so training must cut at the same place.
    """
    open_: _Piece | None = None
    for piece in pieces:
        if not piece.ids and not piece.text:
            continue
        if open_ and not piece.ids and piece.said == open_.said:
            open_ = _Piece(said=open_.said, text=open_.text + piece.text)
            continue
        if open_:
            yield open_
            open_ = None
        if piece.ids:
            yield piece
        else:
            open_ = piece
    if open_:
        yield open_
