"""The near end of a process that decodes (`osler.readers.decode_worker`)."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import cast

import numpy as np

from osler.readers.decode_job import Job
from osler.readers.dicom_errors import PARSE_ERRORS


class DecodeProcess:
    """A process that decodes one job after the other; stop it when done."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls) -> DecodeProcess | None:
        """Starts a process; ``None`` where the machine does not allow one."""
        if not sys.executable:
            return None
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            process = subprocess.Popen(
                # -P: nothing is imported from the folder that the user stands in, which may hold anything.
                [sys.executable, "-P", "-m", "osler.readers.decode_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except OSError:
            return None
        return cls(process)

    def send(self, job: Job) -> bool:
        """Hands over a job, all frames of the one before having been received. False if the process is gone."""
        path, member = job.blob.address()
        request = {
            "path": path,
            "member": member,
            "frames": job.frames,
            "syntax": job.syntax,
            "codestream": job.codestream and dataclasses.asdict(job.codestream),
        }
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            return False
        return True

    def receive(self, job: Job) -> Iterator[np.ndarray]:
        """Yields the frames of a job; fewer than it has where the process fails or finds another size."""
        for _ in job.frames:
            try:
                array = self._receive()
            except PARSE_ERRORS:
                return
            if array is None or array.shape[:2] != job.shape:
                return
            yield array

    def stop(self) -> None:
        """Ends the process, whatever it is at."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue
        self._process.wait()

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def _receive(self) -> np.ndarray | None:
        answers = cast(io.BufferedReader, self._process.stdout)
        head = json.loads(answers.readline() or b'{"failed": true}')
        if head.get("failed"):
            return None
        array = np.empty(head["shape"], dtype=head["dtype"])
        view = memoryview(array).cast("B")
        filled = 0
        while filled < len(view):
            count = answers.readinto(view[filled:])
            if not count:
                return None
            filled += count
        return array
