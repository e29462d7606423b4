"""Gemma's tokenizer: byte-pair encoding over SentencePiece's vocabulary, with byte fallback.

Notable points:

- The merges are not in a GGUF file. They follow from the vocabulary: every
  split of a piece into two pieces, in the order of the pieces' ids.
- Runs of newlines and tabs and some HTML tags are units that are matched
  first, longest first, as SentencePiece's user-defined symbols are.
- Runs of spaces are merged like words, as in `transformers`. Up to 31 spaces
  that is what SentencePiece does; of longer runs it takes 31 first.
- Text from a user never yields a control token: with ``specials="text"`` the
  string ``<start_of_turn>`` is seven ordinary pieces. Control pieces take no part in
  merges, so no text can spell one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from osler.errors import CheckpointError
from osler.weights.gguf_file import GgufFile
from osler.weights.tokenizer_files import Vocabulary, read_vocabulary, write_tokenizer_files
from osler.weights.tokenizer_merges import merges_of

Specials = Literal["parse", "text"]

_SPACE = "\u2581"
_NORMAL, _UNKNOWN, _CONTROL, _USER = 1, 2, 3, 4
_IMAGE = "<image_soft_token>"
# User-defined in some files' vocabularies, but with a meaning to the model.
_GUARDED = ("[multimodal]", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", _IMAGE, "<mask>")
_UNUSED = re.compile(r"<unused\d+>")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class GemmaTokenizer:
    """Turns text into token ids and back. It never adds a beginning-of-sequence token.

    Args:
        parse: Recognizes control tokens. text: Does not.
        controls: Ids that `decode` leaves out.
    """

    def __init__(self, *, parse: Tokenizer, text: Tokenizer, controls: Iterable[int]) -> None:
        self._parse = parse
        self._text = text
        self._controls = frozenset(controls)
        self._bytes: dict[int, bytes] = {}

    @classmethod
    def from_gguf(cls, file: GgufFile) -> GemmaTokenizer:
        """Builds the tokenizer from a GGUF file's vocabulary.

        Raises:
            CheckpointError: If the vocabulary is not SentencePiece's.
        """
        kind = file.value("tokenizer.ggml.model")
        if kind != "llama":
            raise CheckpointError(
                f"The tokenizer of {str(file.path)!r} is of kind {kind!r}.",
                allowed="Gemma's is 'llama' (SentencePiece).",
                next_step="Use a Gemma 2 or Gemma 3 model.",
            )
        pieces, kinds = file.value("tokenizer.ggml.tokens"), file.value("tokenizer.ggml.token_type")
        try:
            vocabulary = Vocabulary(pieces=tuple(pieces), kinds=tuple(int(kind) for kind in kinds))
            return cls.from_vocabulary(vocabulary)
        except (TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"The vocabulary of {str(file.path)!r} does not parse: {error}.", next_step="Copy the file again."
            ) from error

    @classmethod
    def from_folder(cls, folder: Path) -> GemmaTokenizer:
        """Builds the tokenizer from a Hugging Face folder: ``tokenizer.json``, else ``tokenizer.model``.

        Raises:
            CheckpointError: If there is neither, or it does not parse.
        """
        return cls.from_vocabulary(read_vocabulary(Path(folder)))

    @classmethod
    def from_vocabulary(cls, vocabulary: Vocabulary) -> GemmaTokenizer:
        """Builds the tokenizer from its pieces."""
        kinds = [_kind(piece, kind) for piece, kind in zip(vocabulary.pieces, vocabulary.kinds, strict=True)]
        pieces = [
            _SPACE * len(piece) if kind == _USER and not piece.strip(" ") else piece
            for piece, kind in zip(vocabulary.pieces, kinds, strict=True)
        ]
        mergeable = {
            piece: None
            for piece, kind in zip(pieces, kinds, strict=True)
            if kind == _NORMAL or (kind == _USER and not piece.strip(_SPACE))
        }
        model = models.BPE(
            vocab={piece: number for number, piece in enumerate(pieces)},
            merges=merges_of(mergeable) if vocabulary.merges is None else _only(vocabulary.merges, mergeable=mergeable),
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
        users = [piece for piece, kind in zip(pieces, kinds, strict=True) if kind == _USER]
        controls = [piece for piece, kind in zip(pieces, kinds, strict=True) if kind == _CONTROL]
        controls += [] if _IMAGE in controls else [_IMAGE]
        parse = _assemble(model, users=users, controls=controls)
        text = _assemble(model, users=users, controls=())
        return cls(parse=parse, text=text, controls=[parse.token_to_id(piece) for piece in controls])

    def __len__(self) -> int:
        """Pieces in the vocabulary."""
        return self._parse.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, specials: Specials = "text") -> list[int]:
        """Returns the token ids of a text.

        Args:
            specials: ``"parse"`` turns ``<start_of_turn>`` and its like into their own ids;
                ``"text"`` reads them as ordinary characters.
        """
        tokenizer = self._parse if specials == "parse" else self._text
        # Lone surrogates, as a decoder of file names leaves them, have no UTF-8 form.
        sound = text.encode("utf-8", errors="replace").decode("utf-8")
        return tokenizer.encode(sound, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int], *, specials: Literal["skip", "text"] = "skip") -> str:
        """Returns the text of token ids; bytes that are not UTF-8 become U+FFFD.

        Args:
            specials: ``"skip"`` leaves control tokens out; ``"text"`` writes their names.
        """
        stream = self.stream(specials=specials)
        return "".join([*(stream.push(token) for token in ids), stream.finish()])

    def stream(self, *, specials: Literal["skip", "text"] = "skip") -> TextStream:
        """Returns a decoder that takes one id at a time."""
        return TextStream(self, specials=specials)

    def token_id(self, piece: str) -> int:
        """Returns the id of a piece.

        Raises:
            CheckpointError: If the vocabulary lacks it.
        """
        found = self._parse.token_to_id(piece)
        if found is None:
            raise CheckpointError(f"The tokenizer's vocabulary lacks {piece!r}.", next_step="Use a Gemma tokenizer.")
        return found

    def is_control(self, token: int) -> bool:
        """Whether an id stands for a control token and not for text."""
        return token in self._controls

    def control_pieces(self) -> tuple[str, ...]:
        """Returns the names of all control tokens."""
        return tuple(self._parse.id_to_token(token) or "" for token in sorted(self._controls))

    def bytes_of(self, token: int) -> bytes:
        """Returns the UTF-8 bytes that an id stands for; none for an id outside the vocabulary."""
        if token not in self._bytes:
            piece = self._parse.id_to_token(token) if 0 <= token < 2**32 else None
            self._bytes[token] = b"" if piece is None else _piece_bytes(piece)
        return self._bytes[token]

    def save(self, folder: Path) -> None:
        """Writes ``tokenizer.json`` and ``tokenizer_config.json``, as `transformers` reads them."""
        write_tokenizer_files(self._parse, folder=Path(folder))


class TextStream:
    """Decodes ids one at a time and never emits half a character."""

    def __init__(self, tokenizer: GemmaTokenizer, *, specials: Literal["skip", "text"]) -> None:
        self._tokenizer = tokenizer
        self._specials = specials
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """Returns the text that an id completes, possibly none."""
        if self._specials == "skip" and self._tokenizer.is_control(token):
            return ""
        return self._decoder.decode(self._tokenizer.bytes_of(token))

    def finish(self) -> str:
        """Returns what is left; an unfinished character becomes U+FFFD."""
        return self._decoder.decode(b"", final=True)


def _kind(piece: str, kind: int) -> int:
    """SentencePiece's type, with every piece that means something to the model made a control token."""
    guarded = kind == _USER and (piece in _GUARDED or _UNUSED.fullmatch(piece) is not None)
    return _CONTROL if guarded or kind == _UNKNOWN else kind


def _only(merges: Iterable[tuple[str, str]], *, mergeable: dict[str, None]) -> list[tuple[str, str]]:
    """The merges of a file without those that take or make a control or user-defined piece."""
    return [pair for pair in merges if all(piece in mergeable for piece in (*pair, "".join(pair)))]


def _assemble(model: models.BPE, *, users: Iterable[str], controls: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in users])
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in controls])
    return tokenizer


def _piece_bytes(piece: str) -> bytes:
    if byte := _BYTE.fullmatch(piece):
        return bytes([int(byte[1], 16)])
    return piece.replace(_SPACE, " ").encode("utf-8")
