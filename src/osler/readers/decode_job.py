"""One unit of decoding: some frames of one file."""

from __future__ import annotations

from dataclasses import dataclass

from osler.readers.blob import Blob
from osler.readers.codestream import Codestream


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Frames of one file.

    Args:
        blob: The file.
        syntax: Transfer Syntax UID.
        frames: Indices within the file.
        targets: For each frame a number that the taker knows it by.
        shape: Rows and columns that each frame must have.
        codestream: Where its only frame lies, if that is known.
    """

    blob: Blob
    syntax: str
    frames: tuple[int, ...]
    targets: tuple[int, ...]
    shape: tuple[int, int]
    codestream: Codestream | None = None
