"""Writes a SentencePiece model from a vocabulary, so that the original library can be the oracle."""

from __future__ import annotations

import struct

_UNKNOWN, _CONTROL, _USER = 2, 3, 4
_BPE = 2


def sentencepiece_model(pieces: list[str], *, kinds: list[int], scores: list[float]) -> bytes:
    """Returns the bytes of a ``ModelProto``: no dummy prefix, no normalization, byte fallback.

    Source of the field numbers: sentencepiece_model.proto of google/sentencepiece.
    """
    fields = []
    for number, (piece, kind, score) in enumerate(zip(pieces, kinds, scores, strict=True)):
        kind = _UNKNOWN if number == 3 else kind
        text = piece.replace(" ", "\u2581") if kind == _USER else piece
        fields.append(_length(1, _length(1, text.encode()) + b"\x15" + struct.pack("<f", score) + _number(3, kind)))
    trainer = _number(3, _BPE) + _number(35, 1) + _number(40, 3) + _number(41, 2) + _number(42, 1) + _number(43, 0)
    normalizer = _length(1, b"identity") + _number(3, 0) + _number(4, 0) + _number(5, 1)
    return b"".join([*fields, _length(2, trainer), _length(3, normalizer)])


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _length(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value
