"""Decodes DICOM frames by pydicom and its codecs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np
from pydicom import dcmread
from pydicom.pixels import iter_pixels
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from osler.readers.blob import Blob


def decode_frames(blob: Blob, *, frames: Sequence[int], syntax: str) -> Iterator[np.ndarray]:
    """Decodes frames of one file, in the order given.

    Args:
        blob: The file.
        frames: Indices within the file, from 0.
        syntax: Transfer Syntax UID.

    Yields:
        Stored values, ``(row, column)`` or ``(row, column, 3)`` RGB.

    Raises:
        Exception: Whatever pydicom raises; see `osler.readers.dicom_scan.PARSE_ERRORS`.
    """
    with blob.open() as stream:
        yield from _frames(stream, frames=frames, syntax=syntax)


def _frames(stream: BinaryIO, *, frames: Sequence[int], syntax: str) -> Iterator[np.ndarray]:
    if syntax == DeflatedExplicitVRLittleEndian:
        # pydicom's streaming path does not inflate.
        dataset = dcmread(stream, force=True)
        yield from iter_pixels(dataset, indices=list(frames))
        return
    yield from iter_pixels(stream, indices=list(frames), transfer_syntax_uid=UID(syntax))
