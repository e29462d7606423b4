"""From a FHIR file to its resources: JSON or NDJSON, gzip or not, in bounded time and memory."""

from __future__ import annotations

import codecs
import json
import zlib
from dataclasses import dataclass, field
from gzip import BadGzipFile, GzipFile
from io import BytesIO
from itertools import chain
from typing import Any, BinaryIO, cast

from osler.errors import FileFormatError, UnsupportedError
from osler.readers.blob import Blob
from osler.readers.limits import LIMITS, Limits, check_memory, sized

Json = dict[str, Any]

# The densest JSON, a list of empty objects, takes about 24 bytes of memory a byte of text.
_MEMORY_FACTOR = 24
_SMALL = 16 * 2**20
_DEPTH_OF_BUNDLES = 4
_EXPECTED = "A FHIR R4 Bundle, a single resource, or NDJSON with one resource a line."


class Ambiguous(dict[str, Any]):
    """An object in which a key stands twice: nobody can say which value counts."""


@dataclass(slots=True)
class Resources:
    """What a file holds.

    Args:
        found: ``(entry, resource)``: the entry is the resource's type and id, or its number.
        broken: Reason -> how many entries could not be used.
    """

    found: list[tuple[str, Json]] = field(default_factory=list)
    broken: dict[tuple[str, str], int] = field(default_factory=dict)
    _ambiguous: bool = False

    def parse(self, text: str | bytes) -> Any:
        """Parses JSON, watching for keys that stand twice."""
        return json.loads(text, object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> Json:
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        self._ambiguous = True
        return Ambiguous(made)

    def ambiguous(self, value: Any) -> bool:
        """Whether a key stands twice somewhere in a value."""
        if not self._ambiguous:
            return False
        stack = [value]
        while stack:
            one = stack.pop()
            if isinstance(one, Ambiguous):
                return True
            inner = one.values() if isinstance(one, dict) else one
            stack.extend(entry for entry in inner if isinstance(entry, dict | list))
        return False

    def leave_out(self, what: str, why: str) -> None:
        """Counts an entry that cannot be used."""
        self.broken[what, why] = self.broken.get((what, why), 0) + 1


def read_resources(blob: Blob, *, limits: Limits = LIMITS) -> Resources:
    """Reads the resources of a file; broken entries are counted, not raised.

    Args:
        blob: A file that starts like JSON, or gzip of one.
        limits: Bounds on size and number.

    Raises:
        FileFormatError: If the file is no JSON, or too large.
        UnsupportedError: If it is JSON, but no FHIR.
        CapacityError: If it does not fit the memory that is free.
    """
    out = Resources()
    line_bytes = min(limits.record_line, limits.record_bytes) + 1
    try:
        with blob.open() as raw, _unpacked(raw) as stream:
            first = stream.readline(limits.record_bytes + 1)
            rest = stream.readline(line_bytes) if first else b""
            while rest and not rest.strip():
                rest = stream.readline(line_bytes)
            if rest and any(_resource(line, out=out) is not None for line in (first, rest)):
                _read_lines((first, rest), stream=stream, out=out, blob=blob, limits=limits)
            else:
                _read_whole(first + rest, stream=stream, out=out, blob=blob, limits=limits)
    except (BadGzipFile, EOFError, OSError, zlib.error) as error:
        reason = "its gzip is damaged" if isinstance(error, BadGzipFile | EOFError | zlib.error) else "cannot be read"
        raise FileFormatError(f"{blob.name}: {reason}.", next_step="Copy or export the file again.") from error
    return out


def _unpacked(raw: BinaryIO) -> BinaryIO:
    """The stream, without gzip if it has any."""
    head = raw.read(2)
    if raw.seekable():
        raw.seek(0)
    else:
        raw = BytesIO(head + raw.read())
    return cast(BinaryIO, GzipFile(fileobj=raw)) if head == b"\x1f\x8b" else raw


def _read_lines(start: tuple[bytes, bytes], *, stream: BinaryIO, out: Resources, blob: Blob, limits: Limits) -> None:
    """NDJSON: one resource a line; a line that is broken does not stop the rest."""
    total = 0
    for number, line in enumerate(chain(start, iter(lambda: stream.readline(limits.record_line + 1), b"")), start=1):
        total += len(line)
        if len(line) > limits.record_line:
            raise FileFormatError(
                f"{blob.name}: line {number} is longer than {sized(limits.record_line)}.", allowed=_EXPECTED
            )
        if total > limits.record_bytes:
            raise _too_large(blob, limits=limits)
        if not line.strip():
            continue
        value = _resource(line, out=out)
        if value is None:
            out.leave_out("line", "it is no FHIR resource in JSON")
        else:
            _take(value, number=number, out=out, blob=blob, limits=limits)


def _read_whole(start: bytes, *, stream: BinaryIO, out: Resources, blob: Blob, limits: Limits) -> None:
    data = start + stream.read(max(limits.record_bytes + 1 - len(start), 0))
    if len(data) > limits.record_bytes:
        raise _too_large(blob, limits=limits)
    if len(data) > _SMALL:
        check_memory(blob.name, need=_MEMORY_FACTOR * len(data) if _dense(data) else 10 * len(data))
    value = _parsed(data, out=out, blob=blob)
    if isinstance(value, list):
        for number, entry in enumerate(value, start=1):
            _take(entry, number=number, out=out, blob=blob, limits=limits)
        if not out.found:
            raise _no_fhir(blob)
    elif isinstance(value, dict) and isinstance(value.get("resourceType"), str):
        _take(value, number=1, out=out, blob=blob, limits=limits)
    else:
        raise _no_fhir(blob)


def _dense(data: bytes) -> bool:
    """Whether a sample holds far more brackets and commas than a record does."""
    sample = data[: 2**20]
    return sum(sample.count(mark) for mark in b"{[,") > len(sample) // 5


def _take(value: Any, *, number: int, out: Resources, blob: Blob, limits: Limits, depth: int = 0) -> None:
    """Adds a resource, or the resources of a bundle."""
    kind = value.get("resourceType") if isinstance(value, dict) else None
    if not isinstance(kind, str) or not kind:
        out.leave_out("entry", "it is no FHIR resource (no resourceType)")
        return
    kind = kind[:40] if kind.isalnum() else "entry"
    if kind != "Bundle":
        if len(out.found) >= limits.record_entries:
            raise FileFormatError(f"{blob.name} holds more than {limits.record_entries:,} entries.")
        if out.ambiguous(value):
            out.leave_out(kind, "a key stands twice in it, with different values or not")
            return
        identity = value.get("id")
        name = identity if isinstance(identity, str) and 0 < len(identity) <= 64 else f"entry {number}"
        out.found.append((f"{kind}/{name}", value))
        return
    entries = value.get("entry", [])
    if depth >= _DEPTH_OF_BUNDLES or not isinstance(entries, list):
        out.leave_out("Bundle", "its entries are no list, or bundles are nested too deep")
        return
    for index, entry in enumerate(entries, start=1):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if resource is None:
            out.leave_out("entry", "it holds no resource")
            continue
        full = entry.get("fullUrl")
        if isinstance(resource, dict) and isinstance(full, str) and "id" not in resource:
            resource["id"] = full.rsplit("/", 1)[-1].removeprefix("urn:uuid:")
        _take(resource, number=index, out=out, blob=blob, limits=limits, depth=depth + 1)


def _resource(line: bytes, *, out: Resources) -> Json | None:
    """The resource that a line holds, ``None`` if it holds none."""
    try:
        value = out.parse(line.removeprefix(codecs.BOM_UTF8))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("resourceType"), str) else None


def _parsed(data: bytes, *, out: Resources, blob: Blob) -> Any:
    again = "Export the record again, as UTF-8 JSON."
    try:
        text = data.decode(_encoding(data))
    except UnicodeDecodeError as error:
        raise FileFormatError(
            f"{blob.name} is not UTF-8 text (byte {error.start:,}).", allowed="JSON is UTF-8.", next_step=again
        ) from error
    try:
        return out.parse(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise FileFormatError(
            f"{blob.name} is damaged JSON (line {error.lineno:,}, column {error.colno:,}: {error.msg.lower()}).",
            allowed=_EXPECTED,
            next_step=again,
        ) from error
    except RecursionError as error:
        raise FileFormatError(
            f"{blob.name} is JSON nested hundreds of levels deep, as no record is.", allowed=_EXPECTED, next_step=again
        ) from error
    except ValueError as error:
        raise FileFormatError(f"{blob.name} holds a number of thousands of digits.", next_step=again) from error


def _encoding(data: bytes) -> str:
    """UTF-8, unless the first bytes say UTF-16 or UTF-32."""
    return "utf-8" if data.startswith(codecs.BOM_UTF8) else json.detect_encoding(data[:4])


def _too_large(blob: Blob, *, limits: Limits) -> FileFormatError:
    return FileFormatError(
        f"{blob.name} unpacks to more than {sized(limits.record_bytes)}.",
        allowed=f"At most {sized(limits.record_bytes)} a file.",
        next_step="Export one patient's record.",
    )


def _no_fhir(blob: Blob) -> UnsupportedError:
    return UnsupportedError(
        f"{blob.name}: a JSON document, but no FHIR record (no resourceType).",
        allowed=_EXPECTED,
        next_step="Check that this is the right file.",
    )
