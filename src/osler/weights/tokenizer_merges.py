"""The merges of a vocabulary that names none: found once, then read from the user's cache.

Finding those of Gemma's 262,144 pieces takes a second, a third of the time to
open a quantized network; reading them takes a fifth of that. The cache holds
numbers of pieces and a digest of them, is named after the vocabulary, and is
found anew where it is missing, damaged or cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np

from osler.weights.cache import cache_folder, whole_file

_FEWEST = 50_000
"""Pieces of the smallest vocabulary that is worth a file."""
_DIGEST = 32


def merges_of(mergeable: Mapping[str, None]) -> list[tuple[str, str]]:
    """Returns every way to make a piece of two others, in the order in which they apply.

    Of the ways to make one piece, the longest left part goes first, as in `transformers`.

    Args:
        mergeable: Pieces, in the order of their ids.
    """
    if len(mergeable) < _FEWEST:
        return _found(mergeable)
    pieces = list(mergeable)
    name = sha256("\0".join(pieces).encode("utf-8", errors="surrogatepass")).hexdigest()
    path = cache_folder() / "tokenizers" / f"merges-{name[:24]}.bin"
    pairs_M2 = _read(path, pieces=len(pieces))
    if pairs_M2 is not None:
        left, right = pairs_M2.T.tolist()
        return list(zip(map(pieces.__getitem__, left), map(pieces.__getitem__, right), strict=True))
    merges = _found(mergeable)
    _write(path, merges=merges, pieces=pieces)
    return merges


def _found(known: Mapping[str, None]) -> list[tuple[str, str]]:
    merges = []
    for piece in known:
        for cut in range(len(piece) - 1, 0, -1):
            left, right = piece[:cut], piece[cut:]
            if left in known and right in known:
                merges.append((left, right))
    return merges


def _read(path: Path, *, pieces: int) -> np.ndarray | None:
    """Numbers of left and right pieces, (M, 2); ``None`` where the file is missing or is not what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if len(body) % 8 or sha256(body).digest() != digest:
        return None
    pairs_M2 = np.frombuffer(body, dtype="<u4").reshape(-1, 2)
    return pairs_M2 if pairs_M2.size and int(pairs_M2.max()) < pieces else None


def _write(path: Path, *, merges: Iterable[tuple[str, str]], pieces: Iterable[str]) -> None:
    numbers = {piece: number for number, piece in enumerate(pieces)}
    body = np.array([(numbers[left], numbers[right]) for left, right in merges], dtype="<u4").tobytes()
    try:
        with whole_file(path) as out:
            out.write(sha256(body).digest() + body)
    except OSError:
        # Nothing is lost but a second, the next time.
        return
