"""Decodes many frames at once over all cores.

Threads take jobs from one queue. Where there is much to unpack, each further
thread drives a process of its own (`osler.readers.decode_worker`), because the codecs
hold Python's global lock. Frames are handed over as they come; nothing is kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.uid import UID

from osler.errors import FileFormatError
from osler.readers.blob import Blob
from osler.readers.decode import decode_frames
from osler.readers.dicom_errors import DECODE_ERRORS, PARSE_ERRORS

# A process takes a while to start: worth it from this many compressed pixels.
_PROCESS_FROM = 12_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Frames of one file.

    Args:
        blob: The file.
        syntax: Transfer Syntax UID.
        frames: Indices within the file.
        targets: For each frame a number that the taker knows it by.
        shape: Rows and columns that each frame must have.
    """

    blob: Blob
    syntax: str
    frames: tuple[int, ...]
    targets: tuple[int, ...]
    shape: tuple[int, int]


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decode_all(jobs: Sequence[Job], *, take: Callable[[int, np.ndarray], None], packed: bool) -> None:
    """Decodes all jobs.

    Args:
        jobs: What to decode.
        take: Called with the target and the stored values of each frame, from several threads.
        packed: Whether the frames are compressed, so that decoding is worth a process.

    Raises:
        FileFormatError: If a frame cannot be decoded; names the file.
    """
    frames = sum(len(job.frames) for job in jobs)
    pixels = sum(len(job.frames) * job.shape[0] * job.shape[1] for job in jobs)
    workers = max(min(cores(), 8, frames), 1)
    use_processes = packed and pixels >= _PROCESS_FROM and bool(sys.executable)
    queue = _Queue(jobs)
    threads = [
        threading.Thread(target=_drain, args=(queue, take, use_processes), daemon=True) for _ in range(workers - 1)
    ]
    for thread in threads:
        thread.start()
    try:
        _drain(queue, take, False)
    finally:
        queue.stop()
        for thread in threads:
            thread.join()
    if queue.error is not None:
        raise queue.error


class _Queue:
    """Jobs that threads take in turn until they are done or one has failed."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = iter(jobs)
        self._lock = threading.Lock()
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Job]:
        while True:
            with self._lock:
                job = next(self._jobs, None)
            if job is None:
                return
            yield job

    def stop(self) -> None:
        with self._lock:
            self._jobs = iter(())

    def fail(self, error: Exception) -> None:
        self.stop()
        with self._lock:
            self.error = self.error or error


def _drain(queue: _Queue, take: Callable[[int, np.ndarray], None], use_process: bool) -> None:
    process = _start_process() if use_process else None
    try:
        for job in queue:
            if process is not None:
                process = _decode_in(process, job=job, take=take)
            else:
                _decode_here(job, take=take)
    except Exception as error:  # handed to the thread that waits, which raises it
        queue.fail(error)
    finally:
        _stop_process(process)


def _decode_here(job: Job, *, take: Callable[[int, np.ndarray], None]) -> None:
    targets = iter(job.targets)
    try:
        for array in decode_frames(job.blob, frames=job.frames, syntax=job.syntax):
            if array.shape[:2] != job.shape:
                raise ValueError(f"{array.shape[:2]!r} pixels where the header says {job.shape!r}")
            take(next(targets), array)
    except DECODE_ERRORS as error:
        raise _undecodable(job, error=error) from error
    if next(targets, None) is not None:
        raise FileFormatError(f"{job.blob.name} holds fewer frames than its header says.", next_step="Export it again.")


def _undecodable(job: Job, *, error: Exception) -> FileFormatError:
    lines = [line.strip() for line in str(error).strip().splitlines()]
    reasons = (" | ".join(lines) or type(error).__name__)[:500].rstrip(".")
    return FileFormatError(
        f"{job.blob.name}: its pixels ({UID(job.syntax).name}) cannot be decoded: {reasons}.",
        next_step="Export the file again, uncompressed if you can; if only this file is damaged, take it away.",
    )


def _start_process() -> subprocess.Popen[bytes] | None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    try:
        return subprocess.Popen(
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


def _stop_process(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                continue
    process.wait()


def _decode_in(
    process: subprocess.Popen[bytes], *, job: Job, take: Callable[[int, np.ndarray], None]
) -> subprocess.Popen[bytes] | None:
    """Has a process decode a job; what it cannot do is decoded here. Returns the process if it still works."""
    assert process.stdin is not None
    path, member = job.blob.address()
    request = {"path": path, "member": member, "frames": job.frames, "syntax": job.syntax}
    done = 0
    try:
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        for target in job.targets:
            array = _receive(process)
            if array is None or array.shape[:2] != job.shape:
                raise ValueError("the process could not decode the frame")
            take(target, array)
            done += 1
    except PARSE_ERRORS:
        rest = Job(
            blob=job.blob,
            syntax=job.syntax,
            frames=job.frames[done:],
            targets=job.targets[done:],
            shape=job.shape,
        )
        _stop_process(process)
        _decode_here(rest, take=take)
        return None
    return process


def _receive(process: subprocess.Popen[bytes]) -> np.ndarray | None:
    assert process.stdout is not None
    head = json.loads(process.stdout.readline() or b'{"failed": true}')
    if head.get("failed"):
        return None
    array = np.empty(head["shape"], dtype=head["dtype"])
    view = memoryview(array).cast("B")
    filled = 0
    while filled < len(view):
        count = process.stdout.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            return None
        filled += count
    return array
