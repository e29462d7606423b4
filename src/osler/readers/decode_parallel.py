"""Decodes many frames at once over all cores.

Threads take jobs from one queue. Where there is much to unpack, each thread
drives a process of its own (`osler.readers.decode_worker`), because the codecs
hold Python's global lock: a thread that decoded beside them would keep the others
from fetching what is ready. Frames are handed over as they come; nothing is kept.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from pydicom.uid import UID

from osler.errors import FileFormatError
from osler.readers.decode import decode_frames
from osler.readers.decode_job import Job
from osler.readers.decode_process import DecodeProcess
from osler.readers.dicom_errors import DECODE_ERRORS

# A process takes a while to start: worth it from this many compressed pixels.
_PROCESS_FROM = 6_000_000

Take = Callable[[int, np.ndarray], None]
"""Takes the target and the stored values of a frame."""


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def decode_all(jobs: Sequence[Job], *, take: Take, packed: bool) -> None:
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
    use_processes = packed and workers > 1 and pixels >= _PROCESS_FROM
    queue = _Queue(jobs)
    # This thread decodes, too, unless processes have all the cores.
    beside = workers if use_processes else workers - 1
    threads = [threading.Thread(target=_drain, args=(queue, take, use_processes), daemon=True) for _ in range(beside)]
    for thread in threads:
        thread.start()
    try:
        if use_processes:
            for thread in threads:
                thread.join()
        else:
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


def _drain(queue: _Queue, take: Take, use_process: bool) -> None:
    try:
        process = DecodeProcess.start() if use_process else None
        if process is not None:
            _drain_by(process, queue=queue, take=take)
        for job in queue:
            _decode_here(job, take=take)
    except Exception as error:  # handed to the thread that waits, which raises it
        queue.fail(error)


def _drain_by(process: DecodeProcess, *, queue: _Queue, take: Take) -> None:
    """Has a process decode jobs until there are none or it fails; what it began and did not end is done here.

    A frame is taken one step late, so that the process is busy meanwhile.
    """
    late: list[tuple[int, np.ndarray]] = []
    try:
        for job in queue:
            done = 0
            if process.send(job):
                for array in process.receive(job):
                    while late:
                        take(*late.pop())
                    late.append((job.targets[done], array))
                    done += 1
            if done < len(job.targets):
                process.stop()
                rest = dataclasses.replace(job, frames=job.frames[done:], targets=job.targets[done:])
                _decode_here(rest, take=take)
                break
        while late:
            take(*late.pop())
    finally:
        process.stop()


def _decode_here(job: Job, *, take: Take) -> None:
    targets = iter(job.targets)
    try:
        for array in decode_frames(job.blob, frames=job.frames, syntax=job.syntax, codestream=job.codestream):
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
