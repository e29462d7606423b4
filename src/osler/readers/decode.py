"""Decodes DICOM frames, the short way where there is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from osler.readers.blob import Blob
from osler.readers.codestream import Codestream, decode_codestream


def decode_frames(
    blob: Blob, *, frames: Sequence[int], syntax: str, codestream: Codestream | None = None
) -> Iterator[np.ndarray]:
    """Decodes frames of one file, in the order given.

    Args:
        blob: The file.
        frames: Indices within the file, from 0.
        syntax: Transfer Syntax UID.
        codestream: Where its only frame lies, if that is known.

    Yields:
        Stored values, ``(row, column)`` or ``(row, column, 3)`` RGB.

    Raises:
        Exception: Whatever pydicom raises; see `osler.readers.dicom_errors.DECODE_ERRORS`.
    """
    if codestream is not None and tuple(frames) == (0,):
        array = decode_codestream(blob, codestream=codestream)
        if array is not None:
            yield array
            return
    from osler.readers.decode_pydicom import decode_by_pydicom  # late: a process for the short way needs no pydicom

    yield from decode_by_pydicom(blob, frames=frames, syntax=syntax)
