"""A process that decodes frames for another one: ``python -m osler.readers.decode_worker``.

The codecs for JPEG, JPEG-LS and JPEG 2000 hold Python's global lock, so threads
do not speed them up. Each request is one line of JSON on standard input; each frame
comes back as one line of JSON (``shape``, ``dtype``) and the bytes of the array.
"""

from __future__ import annotations

import json
import sys
from typing import Any, BinaryIO

import numpy as np

from osler.readers.blob import ZipHandle, blob_at
from osler.readers.codestream import Codestream
from osler.readers.decode import decode_frames


def serve(requests: BinaryIO, *, answers: BinaryIO) -> None:
    """Answers requests until the input ends.

    A frame that fails is answered by ``{"failed": true}``; the other side then decodes
    it itself and meets the error with its full context.
    """
    archives: dict[str, ZipHandle] = {}
    for line in requests:
        request = json.loads(line)
        try:
            blob = blob_at(request["path"], member=request["member"], archives=archives)
            codestream = _codestream(request["codestream"])
            frames = decode_frames(blob, frames=request["frames"], syntax=request["syntax"], codestream=codestream)
            for array in frames:
                array = np.ascontiguousarray(array)
                head = {"shape": array.shape, "dtype": array.dtype.str}
                answers.write(json.dumps(head).encode() + b"\n")
                answers.write(memoryview(array).cast("B"))
        except Exception:  # of any kind: the other side meets it again and names the file
            answers.write(b'{"failed": true}\n')
        answers.flush()


def _codestream(record: dict[str, Any] | None) -> Codestream | None:
    if record is None:
        return None
    return Codestream(
        parts=tuple((offset, length) for offset, length in record["parts"]),
        shape=(record["shape"][0], record["shape"][1]),
        bits=record["bits"],
        signed=record["signed"],
    )


if __name__ == "__main__":
    serve(sys.stdin.buffer, answers=sys.stdout.buffer)
