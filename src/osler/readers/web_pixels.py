"""Pixels of a study on a server: instances are fetched when they are read, each once.

Fetched instances lie in a temporary folder of the user's own, not in memory: a study may be
larger than memory, decoding by several processes needs a path, and reading a slice again
fetches nothing. The folder is removed with the study, at the latest when Python ends.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from osler.errors import CapacityError, OslerError, ServerError
from osler.readers.blob import DiskBlob
from osler.readers.dicom_errors import PARSE_ERRORS
from osler.readers.dicom_header import FrameHeader
from osler.readers.dicom_pixels import DicomImagePixels, DicomVolumePixels, pick_slices
from osler.readers.dicom_scan import scan_file
from osler.readers.limits import LIMITS, Limits, sized
from osler.readers.web_address import WebAddress
from osler.readers.web_client import Access, connect, server_error

_AT_ONCE = 4
_KEEP_FREE = 256 * 2**20


@dataclass(frozen=True, slots=True)
class WebBlob:
    """An instance on a server, as its metadata describe it.

    Args:
        at: Its series.
        uid: SOP Instance UID.
    """

    at: WebAddress
    uid: str

    @property
    def name(self) -> str:
        """Its address, without credentials."""
        return f"{self.at.shown}/instances/{self.uid}"

    @property
    def size(self) -> int:
        """Unknown before it is fetched."""
        return 0

    def open(self) -> BinaryIO:
        """Refuses: `WebPixels` fetches first."""
        raise FileNotFoundError(self.name)

    def address(self) -> tuple[str, str]:
        """Refuses: nothing lies on this machine yet."""
        raise FileNotFoundError(self.name)


@dataclass(frozen=True, slots=True)
class FetchedBlob(DiskBlob):
    """An instance that was fetched; named by where it came from."""

    label: str = ""

    @property
    def name(self) -> str:
        """Its address on the server."""
        return self.label


class WebStore:
    """Fetches instances of one server and keeps them.

    Args:
        address: Of the server. access: How it is reached. limits: Bounds on what is kept.
    """

    def __init__(self, address: WebAddress, *, access: Access, limits: Limits = LIMITS) -> None:
        self._address = address
        self._access = access
        self._limits = limits
        self._lock = threading.Lock()
        self._clients = threading.local()
        self._frames: dict[str, list[FrameHeader]] = {}
        self._folder: Path | None = None
        self._bytes = 0

    def __reduce__(self) -> tuple[Any, ...]:
        # A study may be sent to a data-loading process: each fetches for itself.
        return _remade, (self._address, self._limits)

    def local(self, frames: Sequence[FrameHeader]) -> list[FrameHeader]:
        """Returns the same frames with their pixels on this machine, fetching those that are not here yet.

        Raises:
            ServerError: If the server does not give one; says how many were fetched, which are kept.
            CapacityError: If the disk has no room.
        """
        missing = {
            frame.file.sop_uid: frame
            for frame in frames
            if isinstance(frame.file.blob, WebBlob) and frame.file.sop_uid not in self._frames
        }
        if missing:
            self._fetch_all(list(missing.values()))
        return [self._kept(frame) for frame in frames]

    def _kept(self, frame: FrameHeader) -> FrameHeader:
        kept = self._frames[frame.file.sop_uid]
        if frame.index >= len(kept):
            raise ServerError(
                f"{frame.file.blob.name}: the server sends {len(kept)} frames, its metadata say {frame.file.frames}.",
                next_step="Ask whoever runs the server.",
            )
        return kept[frame.index]

    def _fetch_all(self, frames: list[FrameHeader]) -> None:
        self._require_room(frames)
        pool = ThreadPoolExecutor(max_workers=_AT_ONCE)
        try:
            futures = [pool.submit(self._fetch, frame) for frame in frames]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failed = next((future for future in done if future.exception() is not None), None)
            if failed is not None:
                self._fail(failed, futures=futures)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _fail(self, failed: Future[None], *, futures: list[Future[None]]) -> None:
        for future in futures:
            future.cancel()
        wait([future for future in futures if not future.cancelled()])
        error = failed.exception()
        if not isinstance(error, ServerError):
            assert error is not None
            raise error
        good = sum(not future.cancelled() and future.exception() is None for future in futures)
        raise ServerError(
            f"{error.problem} {good} of {len(futures)} instances were fetched; they are kept while the study is open.",
            allowed=error.allowed,
            next_step=error.next_step,
        ) from error

    def _fetch(self, frame: FrameHeader) -> None:
        blob = frame.file.blob
        assert isinstance(blob, WebBlob)
        what = "an image of the study"
        try:
            dataset = self._client().retrieve_instance(blob.at.study, blob.at.series, blob.uid)
            if dataset.SOPInstanceUID != blob.uid:
                raise ValueError("another instance than was asked for")
            path = self._new_path()
            dataset.save_as(path, enforce_file_format=True)
        except OslerError:
            raise
        except PARSE_ERRORS as error:
            if isinstance(error, OSError) and error.errno == 28:  # ENOSPC
                raise self._no_room(0) from error
            raise server_error(error, what=what, address=self._address, access=self._access) from error
        fetched = FetchedBlob(path, path.stat().st_size, blob.name)
        headers = scan_file(fetched, limits=self._limits)
        if (headers[0].file.rows, headers[0].file.columns) != (frame.file.rows, frame.file.columns):
            raise ServerError(
                f"{blob.name}: the server sends pixels of another size than its metadata say.",
                next_step="Ask whoever runs the server.",
            )
        with self._lock:
            self._frames[blob.uid] = headers
            self._bytes += fetched.size

    def _client(self) -> Any:
        # A session is not made for several threads at once.
        if not hasattr(self._clients, "client"):
            self._clients.client = connect(self._address, access=self._access, limits=self._limits)
        return self._clients.client

    def _new_path(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="osler-study-"))
                weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            return self._folder / f"{os.urandom(8).hex()}.dcm"

    def _require_room(self, frames: list[FrameHeader]) -> None:
        """Refuses what cannot fit, by the uncompressed size: the server may send it so."""
        need = sum(
            frame.file.frames
            * frame.file.rows
            * frame.file.columns
            * frame.file.samples
            * frame.file.bits_allocated
            // 8
            for frame in frames
        )
        free = shutil.disk_usage(self._folder or tempfile.gettempdir()).free
        if need > free - _KEEP_FREE or self._bytes + need > self._limits.array_bytes:
            raise self._no_room(need)

    def _no_room(self, need: int) -> CapacityError:
        return CapacityError(
            f"The temporary folder has no room for the images{f' ({sized(need)})' if need else ''}.",
            allowed=f"At most {sized(self._limits.array_bytes)} are fetched, and some of the disk is left free.",
            next_step="Read fewer slices, or name another folder in TMPDIR.",
        )


def _remade(address: WebAddress, limits: Limits) -> WebStore:
    return WebStore(address, access=Access.from_environment(address), limits=limits)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WebPixels:
    """Pixels of a series on a server.

    Args:
        described: The series as the metadata describe it.
        store: What fetches its instances.
    """

    described: DicomVolumePixels | DicomImagePixels
    store: WebStore

    @property
    def shape(self) -> tuple[int, ...]:
        """As that of a series on disk."""
        return self.described.shape

    def read(self, *, slices: Sequence[int] | None = None) -> np.ndarray:
        """Fetches what is not here yet and decodes it, all slices or those named.

        Raises:
            ServerError: If the server does not give it.
            FileFormatError: If it cannot be decoded.
        """
        if isinstance(self.described, DicomImagePixels):
            (frame,) = self.store.local([self.described.frame])
            return replace(self.described, frame=frame).read()
        wanted = pick_slices(slices, count=self.shape[0])
        plan = self.described.resampling
        needed = wanted if plan is None else [int(end[index]) for index in wanted for end in (plan.below, plan.above)]
        needed = sorted(set(needed))
        frames = list(self.described.frames)
        for index, frame in zip(needed, self.store.local([frames[index] for index in needed]), strict=True):
            frames[index] = frame
        return replace(self.described, frames=tuple(frames)).read(slices=wanted)
