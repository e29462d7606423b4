"""Tokenizer files of Hugging Face folders: ``tokenizer.json`` and SentencePiece's ``tokenizer.model``."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from osler.errors import CheckpointError
from osler.weights.cache import whole_file

_NORMAL, _CONTROL, _USER, _BYTE = 1, 3, 4, 6
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """A SentencePiece vocabulary.

    Args:
        pieces: In the order of their ids.
        kinds: SentencePiece's type of each: 1 normal, 3 control, 4 user-defined, 6 byte.
        merges: Pairs in the order in which they apply, or ``None`` to derive them from the pieces.
    """

    pieces: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[tuple[str, str], ...] | None = None


def read_vocabulary(folder: Path) -> Vocabulary:
    """Reads a folder's ``tokenizer.json``, else its ``tokenizer.model``.

    Raises:
        CheckpointError: If there is neither, or the file does not hold a SentencePiece vocabulary.
    """
    for name, read in (("tokenizer.json", _read_json), ("tokenizer.model", _read_sentencepiece)):
        path = folder / name
        if not path.is_file():
            continue
        try:
            return read(path)
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
            raise CheckpointError(
                f"{str(path)!r} is not a Gemma tokenizer: {type(error).__name__}: {error}.",
                next_step="Copy the tokenizer files of the model again.",
            ) from error
    raise CheckpointError(
        f"{str(folder)!r} has no tokenizer.",
        allowed="A folder needs tokenizer.json or tokenizer.model.",
        next_step="Copy it from where the weights came from.",
    )


def write_tokenizer_files(tokenizer: Tokenizer, *, folder: Path) -> None:
    """Writes ``tokenizer.json`` and ``tokenizer_config.json``, as `transformers` reads them."""
    config = {
        "tokenizer_class": "GemmaTokenizerFast",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<bos>",
        "eos_token": "<eos>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
        "clean_up_tokenization_spaces": False,
        "spaces_between_special_tokens": False,
    }
    with whole_file(folder / "tokenizer.json") as out:
        out.write(tokenizer.to_str(pretty=False).encode("utf-8"))
    with whole_file(folder / "tokenizer_config.json") as out:
        out.write(json.dumps(config, indent=2).encode("utf-8"))


def _read_json(path: Path) -> Vocabulary:
    content = json.loads(path.read_text(encoding="utf-8"))
    model = content["model"]
    if model.get("type", "BPE") != "BPE" or not model.get("byte_fallback"):
        raise ValueError("not byte-pair encoding with byte fallback")
    added = {token["id"]: token for token in content["added_tokens"]}
    ids = dict(model["vocab"]) | {token["content"]: number for number, token in added.items()}
    pieces = sorted(ids, key=ids.__getitem__)
    if [ids[piece] for piece in pieces] != list(range(len(pieces))):
        raise ValueError("the ids have gaps")
    kinds = tuple(_json_kind(piece, added=added.get(number)) for number, piece in enumerate(pieces))
    merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return Vocabulary(pieces=tuple(pieces), kinds=kinds, merges=tuple((left, right) for left, right in merges))


def _json_kind(piece: str, *, added: dict[str, object] | None) -> int:
    if added is not None:
        return _CONTROL if added["special"] else _USER
    return _BYTE if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">") else _NORMAL


def _read_sentencepiece(path: Path) -> Vocabulary:
    """Reads the pieces of a SentencePiece ``ModelProto``: field 1, with 1 the text and 3 the type."""
    pieces, kinds = [], []
    for number, value in _fields(path.read_bytes()):
        if number != 1 or not isinstance(value, bytes):
            continue
        fields = dict(_fields(value))
        pieces.append(fields[1].decode("utf-8"))
        kinds.append(fields.get(3, _NORMAL))
    if not pieces:
        raise ValueError("no pieces")
    return Vocabulary(pieces=tuple(pieces), kinds=tuple(kinds))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Walks over the fields of a protocol-buffer message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _LENGTH:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        elif wire in (_FIXED32, _FIXED64):
            size = 4 if wire == _FIXED32 else 8
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire}")
        if at > len(data):
            raise ValueError("truncated")
        yield number, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
