"""Receives DICOM objects by C-STORE, as PACS and scanners send them, and answers C-ECHO.

Each object becomes ``study/series/instance.dcm`` below one folder, named by UIDs alone, so no
name from outside can lead elsewhere. A file is there whole or not at all: the bytes go to a hidden
file, are flushed to disk and take their name in one step. The sender is told of success after that.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import dcmread

from osler.atomic import write_atomic
from osler.errors import RequestError
from osler.extras import import_extra
from osler.readers.dicom_errors import PARSE_ERRORS
from osler.readers.dicom_values import as_text
from osler.readers.limits import sized
from osler.readers.web_address import is_uid

DEFAULT_PORT = 11_112
_SUCCESS, _DUPLICATE, _NO_ROOM, _MISMATCH, _UNREADABLE = 0x0000, 0x0111, 0xA700, 0xA900, 0xC000
_AT_ONCE = 4
_SILENT_SECONDS = 60
_LONGEST_TITLE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveOptions:
    """Who listens where.

    Args:
        out: Folder for what is received.
        port: TCP port.
        ae_title: Own application entity title.
        host: Address to listen at; loopback by default, as DICOM itself is not encrypted.
        allow: Calling titles that are accepted; all of them if empty.
    """

    out: Path
    port: int = DEFAULT_PORT
    ae_title: str = "OSLER"
    host: str = "127.0.0.1"
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for title in (self.ae_title, *self.allow):
            if (
                not 0 < len(title.strip()) <= _LONGEST_TITLE
                or not title.isascii()
                or not title.isprintable()
                or "\\" in title
            ):
                raise RequestError(
                    f"{title!r} is no application entity title.",
                    allowed=f"1 to {_LONGEST_TITLE} letters, digits and signs without a backslash.",
                )


@dataclass(slots=True)
class ReceivedSeries:
    """What has come of one series.

    Args:
        study: Study Instance UID. series: Series Instance UID. modality: Modality.
        files: Files written. bytes: Their size.
    """

    study: str
    series: str
    modality: str
    files: int = 0
    bytes: int = 0


@dataclass(slots=True)
class Received:
    """What has come since the receiver was started.

    Args:
        series: By study and series.
        again: Objects that were there already, with the same bytes.
        refused: Reasons and how often.
        broken: Associations that ended without a proper release.
        last: When something came, by `time.monotonic`.
    """

    series: dict[tuple[str, str], ReceivedSeries] = field(default_factory=dict)
    again: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    last: float = field(default_factory=time.monotonic)

    @property
    def files(self) -> int:
        """Files written."""
        return sum(series.files for series in self.series.values())


class Receiver:
    """A C-STORE service; use it in a ``with`` block.

    Args:
        options: Who listens where.
        on_change: Called after each object, from the thread that received it.

    Example:
        >>> with Receiver(ReceiveOptions(out=Path("inbox"), port=11112)) as receiver:  # doctest: +SKIP
        ...     time.sleep(60)
    """

    def __init__(self, options: ReceiveOptions, *, on_change: Callable[[Received], None] | None = None) -> None:
        self._options = options
        self._on_change = on_change
        self._lock = threading.Lock()
        self._server: Any = None
        self.received = Received()

    def __enter__(self) -> Self:
        library = import_extra("pynetdicom", extra="network")
        sop_classes = import_extra("pynetdicom.sop_class", extra="network")
        events = import_extra("pynetdicom.events", extra="network")
        # Its logs hold what senders say, patients' names among it.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        entity = library.AE(ae_title=self._options.ae_title)
        entity.require_calling_aet = list(self._options.allow)
        entity.maximum_associations = _AT_ONCE
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _SILENT_SECONDS
        for context in library.AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax, library.ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context(sop_classes.Verification)
        handlers = [
            (events.EVT_C_STORE, self._store),
            (events.EVT_C_ECHO, lambda event: _SUCCESS),
            (events.EVT_ABORTED, self._broke),
            (events.EVT_CONN_CLOSE, self._closed),
        ]
        self._require_folder()
        try:
            self._server = entity.start_server(
                (self._options.host, self._options.port), block=False, evt_handlers=handlers
            )
        except (OSError, OverflowError) as error:
            raise RequestError(
                f"Cannot listen at {self._options.host}:{self._options.port}: "
                f"{getattr(error, 'strerror', None) or type(error).__name__}.",
                allowed="A free port from 1024 to 65535, at an address of this machine.",
                next_step="Name another one with --port.",
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.ae.shutdown()

    def _require_folder(self) -> None:
        try:
            self._options.out.mkdir(parents=True, exist_ok=True)
            probe = write_atomic(self._options.out / f".osler-probe-{self._options.port}", data=b"")
            probe.unlink()
        except OSError as error:
            raise RequestError(
                f"{str(self._options.out)!r} is no folder that can be written ({error.strerror}).",
                next_step="Name another one with --out.",
            ) from error

    def _store(self, event: Any) -> int:
        """Answers one C-STORE request; whatever is wrong, the receiver goes on."""
        try:
            status, reason = self._keep(event)
        except Exception as error:  # a fault in here must become an answer to the sender, not a lost association
            status, reason = _UNREADABLE, f"a fault of Osler's own ({type(error).__name__})"
        with self._lock:
            if reason:
                self.received.refused[reason] += 1
            self.received.last = time.monotonic()
        if self._on_change is not None:
            self._on_change(self.received)
        return status

    def _keep(self, event: Any) -> tuple[int, str]:
        """Writes one object. Returns the status, and the reason if it is refused."""
        data = event.encoded_dataset()
        try:
            names = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality"]
            head = dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=names)
            study, series, instance, sop_class, modality = (as_text(head.get(name)) for name in names)
        except PARSE_ERRORS:
            return _UNREADABLE, "not a readable DICOM object"
        if not (is_uid(study) and is_uid(series) and is_uid(instance)):
            return _UNREADABLE, "without proper UIDs of study, series and instance"
        request = event.request
        if instance != as_text(request.AffectedSOPInstanceUID) or sop_class != as_text(request.AffectedSOPClassUID):
            return _MISMATCH, "another object than the sender announced"
        target = self._options.out / study / series / f"{instance}.dcm"
        with self._lock:  # one writer at a time: the check and the rename belong together
            if target.exists():
                return self._seen(target, data=data)
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(target, data=data)
            except (RequestError, OSError):
                return _NO_ROOM, "the disk is full or cannot be written"
            entry = self.received.series.setdefault(
                (study, series), ReceivedSeries(study, series, modality[:_LONGEST_TITLE])
            )
            entry.files += 1
            entry.bytes += len(data)
        return _SUCCESS, ""

    def _seen(self, target: Path, *, data: bytes) -> tuple[int, str]:
        try:
            same = hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(data).digest()
        except OSError:
            same = False
        if same:
            self.received.again += 1
            return _SUCCESS, ""
        return _DUPLICATE, "another object with the UID of one that is here; the first is kept"

    def _broke(self, event: Any) -> None:
        del event
        with self._lock:
            self.received.broken += 1
            self.received.last = time.monotonic()

    def _closed(self, event: Any) -> None:
        # A connection that ends during an association has no abort of its own.
        if event.assoc.is_established:
            self._broke(event)


def describe(series: ReceivedSeries) -> tuple[str, str, str, str]:
    """A row of a table: modality, series, files, size."""
    return series.modality or "?", series.series, str(series.files), sized(series.bytes)
