"""The worker process, run here: frames of an archive, which is opened once."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import JPEG2000Lossless

from osler.readers import blob
from osler.readers.decode_worker import serve

PACKED = Path(get_testdata_file("MR_small_jp2klossless.dcm"))


def _frames(answers: bytes) -> list[np.ndarray | None]:
    stream, found = io.BytesIO(answers), []
    while line := stream.readline():
        head = json.loads(line)
        if head.get("failed"):
            found.append(None)
            continue
        dtype = np.dtype(head["dtype"])
        data = stream.read(int(np.prod(head["shape"])) * dtype.itemsize)
        found.append(np.frombuffer(data, dtype=dtype).reshape(head["shape"]))
    return found


def test_an_archive_of_many_requests_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scans.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(4):
            archive.write(PACKED, f"{number}.dcm")
    opened: list[Path] = []
    real = zipfile.ZipFile
    monkeypatch.setattr(blob.zipfile, "ZipFile", lambda place: opened.append(place) or real(place))
    requests = [
        {"path": str(path), "member": member, "frames": [0], "syntax": JPEG2000Lossless, "codestream": None}
        for member in ("0.dcm", "absent.dcm", "1.dcm", "2.dcm", "3.dcm")
    ]
    answers = io.BytesIO()
    serve(io.BytesIO(b"".join(json.dumps(request).encode() + b"\n" for request in requests)), answers=answers)
    frames = _frames(answers.getvalue())
    expected = dcmread(PACKED).pixel_array
    assert [frame is None for frame in frames] == [False, True, False, False, False]
    assert all(np.array_equal(frame, expected) for frame in frames if frame is not None)
    assert opened == [path]
