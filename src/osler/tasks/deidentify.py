"""Takes identity out of files: a folder in, a folder out, and a report of what was changed.

Nothing passes silently: a file is written whole, checked by reading it again, or refused with the
reason. Originals are never touched, nothing is overwritten, and no name of the input, of a file or
of a patient, appears in the output.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydicom import dcmread

from osler.atomic import write_atomic
from osler.errors import DataError, FileFormatError, OslerError, RequestError, UnsupportedError
from osler.readers.blob import DiskBlob
from osler.readers.dicom_deflated import check_deflated
from osler.readers.dicom_errors import DECODE_ERRORS, PARSE_ERRORS
from osler.readers.dicom_header import FileHeader
from osler.readers.dicom_scan import scan_file
from osler.readers.folder import find_files
from osler.readers.limits import LIMITS, Limits, check_memory
from osler.readers.sniff import HEAD_BYTES, NOT_READ, Kind, kind_of
from osler.study import LeftOut
from osler.tasks.burned_in_text import TextFinder
from osler.tasks.deidentify_dataset import Changes, DatasetCleaner
from osler.tasks.deidentify_other import clean_nifti, clean_picture
from osler.tasks.deidentify_pixels import blank_text, cut_trailing
from osler.tasks.deidentify_profile import Profile
from osler.tasks.deidentify_search import Identifiers, find_left
from osler.tasks.deidentify_values import Pseudonyms, load_secret

PixelCheck = Literal["likely", "all", "none"]
REPORT_JSON, REPORT_MARKDOWN = "deidentify-report.json", "deidentify-report.md"
# Where machines and people write into the picture.
_WRITTEN_ON = {"US", "IVUS", "SC", "CR", "DX", "XA", "RF", "RG", "ES", "XC", "OT", "MG", "GM", "OP", "IO", "PX", "BMD"}
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_COPIES = 4
_WHY_NOT: dict[Kind, tuple[str, str]] = {
    "pdf": ("a PDF: free text cannot be cleaned surely", "Leave it out, or have a person black it."),
    "json": ("a record or another JSON document: free text cannot be cleaned surely", "Leave it out."),
    "zip": ("an archive", "Unpack it and name the folder."),
    "slide": ("a whole-slide file, whose label and macro pictures show names", "Convert it without label and macro."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeidentifyRequest:
    """What to do.

    Args:
        source: File or folder to read.
        out: Folder to write to; must be empty unless a key file is named.
        options: Options of the profile, see `osler.tasks.deidentify_profile.OPTIONS`.
        pixels: Which pixels are searched for text: those on which it is likely, all, or none.
        key: File of the secret; made if absent. With it, a run can be resumed and repeated.
        dry_run: Whether everything is done but writing.
        limits: Bounds on what a file may claim.
    """

    source: Path
    out: Path
    options: tuple[str, ...] = ()
    pixels: PixelCheck = "likely"
    key: Path | None = None
    dry_run: bool = False
    limits: Limits = LIMITS


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What became of one file.

    Args:
        number: Its place in the sorted list of input files, from 1.
        status: What was done.
        output: Path below the output folder; empty if there is none.
        why: Why it was refused, without anything of the file.
        regions: Text regions that were blanked. markers: Side markers that were left.
        notes: What else is to be known.
    """

    number: int
    status: Literal["written", "there already", "refused"]
    output: str = ""
    why: str = ""
    regions: int = 0
    markers: int = 0
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class DeidentifyRun:
    """What was done in all.

    Args:
        options: Options of the profile, dates among them.
        files: One entry a file.
        names: Names of the input files by number, for the terminal; not in the report.
        counts: How often, by element and action.
        patients: How many.
    """

    options: tuple[str, ...]
    pixels: PixelCheck
    dry_run: bool
    files: list[FileResult] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    patients: int = 0

    def count(self, status: str) -> int:
        """How many files have a status."""
        return sum(file.status == status for file in self.files)


@dataclass(slots=True)
class _Output:
    """A file that is ready to be written."""

    path: str
    data: bytes
    changes: Changes
    pixels_at: int
    regions: int = 0
    markers: int = 0
    notes: tuple[str, ...] = ()
    digest: str = ""


def deidentify(request: DeidentifyRequest, *, progress: Callable[[int, int], None] | None = None) -> DeidentifyRun:
    """Takes identity out of a file or a folder.

    Args:
        request: What to do.
        progress: Called with the number of files done and of all.

    Raises:
        RequestError: If the request makes no sense, or the output folder is in use.
        FileFormatError: If the input does not exist.

    Example:
        >>> run = deidentify(DeidentifyRequest(source=Path("in"), out=Path("out")))  # doctest: +SKIP
    """
    profile = Profile(request.options)
    blobs, left_out = _inputs(request)
    _require_out(request)
    worker = _Worker(request, profile=profile, pseudonyms=Pseudonyms(_secret(request)))
    run = DeidentifyRun(options=profile.options, pixels=request.pixels, dry_run=request.dry_run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, blob in enumerate(blobs, start=1):
            run.names[number] = blob.name
            run.files.append(worker.handle(blob, number=number))
            if progress is not None:
                progress(number, len(blobs))
    for number, entry in enumerate(left_out, start=len(blobs) + 1):  # what cannot even be opened is counted too
        run.names[number] = entry.what
        run.files.append(FileResult(number=number, status="refused", why=f"{entry.why}."))
    run.counts, run.patients = worker.counts, len(worker.patients)
    return run


def _secret(request: DeidentifyRequest) -> bytes:
    if request.dry_run and request.key is not None and not request.key.exists():
        return load_secret(None, keep_out_of=request.out)
    return load_secret(request.key, keep_out_of=request.out)


def _inputs(request: DeidentifyRequest) -> tuple[list[DiskBlob], list[LeftOut]]:
    source = request.source
    left_out: list[LeftOut] = []
    if source.is_dir():
        blobs, left_out = find_files(source, limits=request.limits)
    elif source.is_file():
        blobs = [DiskBlob(source, source.stat().st_size)]
    else:
        raise FileFormatError(
            f"{str(source)!r} is neither a file nor a folder.",
            allowed="DICOM, NIfTI, PNG and JPEG files, or a folder of them.",
            next_step="Check the path.",
        )
    if not blobs and not left_out:
        raise FileFormatError(f"{source} holds no files.", next_step="Check that this is the right path.")
    return blobs, left_out


def _require_out(request: DeidentifyRequest) -> None:
    source, out = request.source.resolve(), request.out.resolve()
    if out == source or out.is_relative_to(source) or source.is_relative_to(out):
        raise RequestError(
            "The output folder and the input lie in each other.", next_step="Name another folder with --out."
        )
    if out.exists() and not out.is_dir():
        raise RequestError(f"{str(request.out)!r} is a file.", next_step="Name a folder with --out.")
    # A run that could clean nothing leaves its report alone, and may be repeated once the path is right.
    left = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
    if left - {REPORT_JSON, REPORT_MARKDOWN} and request.key is None and not request.dry_run:
        raise RequestError(
            f"{str(request.out)!r} is not empty.",
            allowed="An empty or new folder; or one that a run with the same --key has begun.",
            next_step="Name another folder, or go on with --key FILE.",
        )


class _Worker:
    """Handles files one by one, and keeps what must be the same for all of them."""

    def __init__(self, request: DeidentifyRequest, *, profile: Profile, pseudonyms: Pseudonyms) -> None:
        self._request = request
        self._profile = profile
        self._pseudonyms = pseudonyms
        self._finder: TextFinder | None = None
        self._everyone = Identifiers()
        self._done: dict[str, str] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        self.patients: set[str] = set()

    def handle(self, blob: DiskBlob, *, number: int) -> FileResult:
        """Does everything for one file; whatever is wrong with it is its result."""
        try:
            output = self._clean(blob)
            if isinstance(output, str):
                return FileResult(number=number, status="there already", output=output)
            self._write(output)
        except OslerError as error:
            if isinstance(error, RequestError):
                raise
            why = error.problem.removeprefix(blob.name).lstrip(": ").removeprefix("is ").replace(blob.name, "the file")
            return FileResult(number=number, status="refused", why=" ".join((why, error.next_step)).strip())
        except DECODE_ERRORS as error:
            return FileResult(number=number, status="refused", why=f"it cannot be read ({type(error).__name__})")
        self.counts.update(output.changes.counts)
        return FileResult(
            number=number,
            status="written",
            output=output.path,
            regions=output.regions,
            markers=output.markers,
            notes=output.notes,
        )

    def _clean(self, blob: DiskBlob) -> _Output | str:
        with blob.open() as stream:
            kind = kind_of(stream.read(HEAD_BYTES))
        check_memory(blob.name, need=_COPIES * blob.size)
        if kind == "dicom":
            return self._dicom(blob)
        if kind in ("nifti", "picture"):
            return self._other(blob, kind=kind)
        why, step = _WHY_NOT.get(kind, (NOT_READ.get(kind, "of a kind that is not read"), "Leave it out."))
        raise UnsupportedError(f"{blob.name} is {why}.", next_step=step)

    def _dicom(self, blob: DiskBlob) -> _Output | str:
        frames = scan_file(blob, limits=self._request.limits)
        if not frames:
            raise UnsupportedError(
                f"{blob.name} is a DICOMDIR: it names files and patients.", next_step="It is not needed without them."
            )
        header = frames[0].file
        _refuse_label(header)
        path = self._target(header)
        digest = hashlib.sha256(blob.path.read_bytes()).hexdigest()
        if self._done.get(path, digest) != digest:
            raise UnsupportedError(
                f"{blob.name} has the SOP Instance UID of another file, and other contents.",
                next_step="Correct the UID, or leave one of them out.",
            )
        if path in self._done or (self._request.out / path).exists():
            return path
        with blob.open() as stream:
            check_deflated(stream, name=blob.name, limits=self._request.limits)
            stream.seek(0)
            dataset = dcmread(stream, force=True)
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = header.transfer_syntax
        changes_before: Counter[tuple[str, str]] = Counter()
        if cut_trailing(dataset):
            changes_before["PixelData", "bytes behind the last pixel cut"] += 1
        notes: list[str] = []
        checked = self._checks(header)
        regions = markers = 0
        if checked:
            blanked = blank_text(dataset, finder=self._text_finder(blob.name), name=blob.name)
            regions, markers = len(blanked.regions), blanked.markers
            if blanked.encoded:
                notes.append(f"encoded again without loss ({blanked.encoded})")
            if blanked.lost:
                notes.append("a side or projection marker stood in text and was blanked with it")
            if regions:
                changes_before["PixelData", "burned-in text blanked"] += regions
        else:
            notes.append("pixels not searched for text")
        cleaner = DatasetCleaner(self._profile, pseudonyms=self._pseudonyms, patient=_patient(header))
        changes = cleaner.clean(dataset, pixels_checked=checked)
        changes.counts.update(changes_before)
        self.patients.add(_patient(header))
        buffer = io.BytesIO()
        try:
            dataset.save_as(buffer, enforce_file_format=True)
        except PARSE_ERRORS as error:
            raise FileFormatError(
                f"{blob.name} cannot be written again ({type(error).__name__}).",
                next_step="Have it repaired, or leave it out.",
            ) from error
        data = buffer.getvalue()
        _require_readable(data, header=header, name=blob.name)
        at = data.find(_PIXEL_DATA, 132)
        return _Output(path, data, changes, at if at >= 0 else len(data), regions, markers, tuple(notes), digest)

    def _checks(self, header: FileHeader) -> bool:
        if self._request.pixels == "none":
            return False
        likely = header.modality in _WRITTEN_ON or header.sop_class.startswith(_SECONDARY_CAPTURE)
        derived = any(part.upper() in ("SECONDARY", "SCREEN SAVE") for part in header.image_type)
        return self._request.pixels == "all" or likely or derived or header.samples == 3

    def _text_finder(self, name: str) -> TextFinder:
        if self._finder is None:
            try:
                self._finder = TextFinder()
            except RequestError as error:
                raise UnsupportedError(
                    f"{name}: text may be burned into its pixels, and the package for finding it is not installed.",
                    next_step="pip install 'osler[documents]'; or --pixels none, if you know that there is no text.",
                ) from error
        return self._finder

    def _target(self, header: FileHeader) -> str:
        draw = self._pseudonyms
        keep = "uids" in self._profile.options
        names = (header.study_uid, header.series_uid, header.sop_uid)
        if not all(names):
            raise FileFormatError(
                f"{header.blob.name} lacks a UID of study, series or instance.", next_step="Leave it out."
            )
        study, series, instance = names if keep and all(map(_is_plain, names)) else tuple(map(draw.uid, names))
        return f"{draw.patient(_patient(header))}/{study}/{series}/{instance}.dcm"

    def _other(self, blob: DiskBlob, *, kind: Kind) -> _Output | str:
        data = blob.path.read_bytes()
        changes = Changes()
        stem = self._pseudonyms.name(data)
        if kind == "nifti":
            ending = ".nii.gz" if data[:2] == b"\x1f\x8b" else ".nii"
            path = f"without-patient/{stem}{ending}"
            if path in self._done or (self._request.out / path).exists():
                return path
            cleaned = clean_nifti(data, name=blob.name, counts=changes.counts)
            return _Output(path, cleaned, changes, 0, notes=("faces are not removed", "pixels not searched for text"))
        finder = None if self._request.pixels == "none" else self._text_finder(blob.name)
        cleaned, ending, regions = clean_picture(data, name=blob.name, finder=finder, counts=changes.counts)
        path = f"without-patient/{stem}{ending}"
        if path in self._done or (self._request.out / path).exists():
            return path
        notes = () if finder is not None else ("pixels not searched for text",)
        return _Output(path, cleaned, changes, 0, regions, notes=notes)

    def _write(self, output: _Output) -> None:
        """Searches the bytes for what identifies, and writes them."""
        self._everyone.merge(output.changes.found)
        left = find_left(output.data, pixels_at=output.pixels_at, identifiers=(output.changes.found, self._everyone))
        if left:
            raise UnsupportedError(
                f"{left} of the input would have stayed in the output, so it was not written.",
                next_step="Leave the file out, or have it cleaned by a person.",
            )
        self._done[output.path] = output.digest
        if self._request.dry_run:
            return
        target = self._request.out / output.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(target.parent).free
        except OSError as error:
            raise _no_room(self._request.out) from error
        if free < len(output.data):
            raise _no_room(self._request.out)
        write_atomic(target, data=output.data)
        if target.read_bytes() != output.data:
            target.unlink()
            raise DataError("the disk gave back other bytes than were written.", next_step="Check the disk.")


def _no_room(out: Path) -> RequestError:
    return RequestError(
        f"{str(out)!r} has no room left, or cannot be written.",
        allowed="What was written before is whole.",
        next_step="Make room; with --key, the same command goes on.",
    )


def _is_plain(uid: str) -> bool:
    return len(uid) <= 64 and all(part.isdecimal() for part in uid.split("."))


def _patient(header: FileHeader) -> str:
    """What dates and pseudonyms hang on: the patient, or the study where none is named."""
    return header.patient or f"study {header.study_uid}"


def _refuse_label(header: FileHeader) -> None:
    kinds = {part.upper() for part in header.image_type} & {"LABEL", "OVERVIEW"}
    if kinds and (header.modality == "SM" or "VOLUME" not in header.image_type):
        raise UnsupportedError(
            f"{header.blob.name} is the {kinds.pop().lower()} picture of a slide, which shows its label.",
            next_step="The slide itself does not need it.",
        )


def _require_readable(data: bytes, *, header: FileHeader, name: str) -> None:
    """Reads an output again: it must be a whole file with pixels of the same size."""
    try:
        again = dcmread(io.BytesIO(data))
        same = (int(again.Rows), int(again.Columns)) == (header.rows, header.columns)
        if not same or again.PatientIdentityRemoved != "YES" or not list(_walked(again)):
            raise ValueError("not what was written")
    except PARSE_ERRORS as error:
        raise FileFormatError(
            f"{name}: the cleaned file cannot be read again ({type(error).__name__}).", next_step="Leave it out."
        ) from error


def _walked(dataset: object) -> Iterator[object]:
    yield from dataset.iterall()  # type: ignore[attr-defined]
