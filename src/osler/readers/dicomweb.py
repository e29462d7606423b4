"""Studies on a DICOMweb server: the list of them (QIDO-RS), and one as a `Study` (WADO-RS)."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from osler.errors import DataError, OslerError, RequestError, ServerError, UnsupportedError
from osler.readers.dicom_errors import PARSE_ERRORS
from osler.readers.dicom_header import FrameHeader
from osler.readers.dicom_pixels import DicomImagePixels, DicomVolumePixels
from osler.readers.dicom_scan import scan_dataset
from osler.readers.dicom_series import build_series
from osler.readers.dicom_values import as_int, as_text
from osler.readers.future import future_days
from osler.readers.identity import Identity, Mixing, dicom_identities, require_one_patient
from osler.readers.limits import LIMITS, Limits
from osler.readers.web_address import WebAddress, is_uid, parse_address
from osler.readers.web_client import Access, connect, server_error
from osler.readers.web_pixels import WebBlob, WebPixels, WebStore
from osler.study import LeftOut, Series, Study, TimePoint

_PAGE = 200
_MOST_STUDIES = 5_000
_LISTED = ("StudyDate", "StudyDescription", "ModalitiesInStudy", "NumberOfStudyRelatedSeries",
           "NumberOfStudyRelatedInstances")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedStudy:
    """A study that a server has; nothing that names its patient.

    Args:
        study_uid: Study Instance UID.
        date: Day of the study, if the server says.
        description: Study Description.
        modalities: Modalities in it.
        series: Number of series, if the server says. instances: Number of instances, if the server says.
        address: What `open_study` takes.
    """

    study_uid: str
    date: dt.date | None
    description: str
    modalities: tuple[str, ...]
    series: int | None
    instances: int | None
    address: str


def list_studies(path: str | Path) -> tuple[ListedStudy, ...]:
    """Lists the studies on a server, newest first.

    Args:
        path: ``dicomweb://host[:port]/path``, with what they must match behind it, such as ``?StudyDate=20240101-``.

    Raises:
        RequestError: If the address is of no use.
        ServerError: If the server does not answer as it should.
    """
    address = parse_address(path)
    access = Access.from_environment(address)
    client = connect(address, access=access)
    filters = dict(address.query)
    if address.study:
        filters["StudyInstanceUID"] = address.study
    records: list[dict[str, Any]] = []
    try:
        while len(records) < _MOST_STUDIES:
            page = client.search_for_studies(
                search_filters=filters, fields=list(_LISTED), limit=_PAGE, offset=len(records)
            )
            known = {_uid_in(record) for record in records}
            # A server that knows no offset sends the first page again.
            records += [record for record in page if _uid_in(record) not in known]
            if len(page) < _PAGE or _uid_in(page[-1]) in known:
                break
        found = [_listed(record, address=address) for record in records]
    except OslerError:
        raise
    except PARSE_ERRORS as error:
        raise server_error(error, what="the list of studies", address=address, access=access) from error
    found.sort(key=lambda study: (study.date or dt.date.min, study.study_uid), reverse=True)
    return tuple(found)


def _uid_in(record: dict[str, Any]) -> str:
    return str(record["0020000D"]["Value"][0])


def _listed(record: dict[str, Any], *, address: WebAddress) -> ListedStudy:
    uid = _uid_in(record)
    if not is_uid(uid):
        raise ValueError("no UID")
    dataset = _dataset(record)
    modalities = dataset.get("ModalitiesInStudy") or ()
    return ListedStudy(
        study_uid=uid,
        date=_date(as_text(dataset.get("StudyDate"))),
        description=as_text(dataset.get("StudyDescription")),
        modalities=(modalities,) if isinstance(modalities, str) else tuple(str(part) for part in modalities),
        series=as_int(dataset.get("NumberOfStudyRelatedSeries")),
        instances=as_int(dataset.get("NumberOfStudyRelatedInstances")),
        address=replace(address, study=uid, series="", query=()).shown,
    )


def _date(text: str) -> dt.date | None:
    try:
        return dt.datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def open_dicomweb(
    path: str | Path, *, limits: Limits = LIMITS, mixing: Mixing = "refuse"
) -> tuple[Study, dict[Identity, int]]:
    """Opens a study or a series on a server: metadata now, images when they are read.

    Args:
        path: ``dicomweb://host[:port]/path/studies/UID`` or ``.../studies/UID/series/UID``.
        limits: Bounds on sizes and numbers.
        mixing: ``"allow"`` takes a study whose images name several patients, and says so in ``problems``.

    Returns:
        The study, and whose images it holds, in how many instances each.

    Raises:
        RequestError: If the address names no study.
        ServerError: If the server does not answer as it should.
        UnsupportedError: If the study holds no images that Osler reads.
        PatientMixError: If its images name several patients.
    """
    address = parse_address(path)
    if not address.study:
        raise RequestError(
            f"{address.shown} names a server, not a study.",
            allowed="dicomweb://host[:port]/path/studies/UID",
            next_step=f"`osler inspect {address.shown}` lists its studies.",
        )
    access = Access.from_environment(address)
    store = WebStore(address, access=access, limits=limits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = _metadata(address, access=access, limits=limits)
        frames, left_out = _frames(records, address=address, limits=limits)
        files = {id(frame.file): frame.file for frame in frames}
        shown = dicom_identities((file.patient, file.birth) for file in files.values())
        mixed = require_one_patient(shown, (), mixing=mixing)
        return _study(frames, address=address, store=store, left_out=left_out, problems=mixed), shown


def _metadata(address: WebAddress, *, access: Access, limits: Limits) -> list[dict[str, Any]]:
    what = "this series" if address.series else "this study"
    client = connect(address, access=access, limits=limits)
    try:
        if address.series:
            records = client.retrieve_series_metadata(address.study, address.series)
        else:
            records = client.retrieve_study_metadata(address.study)
        if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
            raise ValueError("no list of data sets")
    except OslerError:
        raise
    except PARSE_ERRORS as error:
        raise server_error(error, what=what, address=address, access=access) from error
    if not records:
        raise ServerError(
            f"{address.host} does not have {what}.",
            next_step="Check the UID: `osler inspect dicomweb://host/path` lists what is there.",
        )
    if len(records) > limits.files:
        raise UnsupportedError(
            f"The study holds {len(records):,} images.",
            allowed=f"At most {limits.files:,} are read.",
            next_step="Open one series.",
        )
    return records


def _frames(
    records: Sequence[dict[str, Any]], *, address: WebAddress, limits: Limits
) -> tuple[list[FrameHeader], list[LeftOut]]:
    """Reads the metadata; what is no image, or makes no sense, is left out by name."""
    frames: list[FrameHeader] = []
    left_out: list[LeftOut] = []
    for number, record in enumerate(records, start=1):
        what = f"{address.shown}: instance {number}"
        try:
            dataset = _dataset(record)
            series, uid = as_text(dataset.get("SeriesInstanceUID")), as_text(dataset.get("SOPInstanceUID"))
            if not is_uid(series) or not is_uid(uid):
                raise ValueError("no UID")
            blob = WebBlob(replace(address, series=series, query=()), uid)
            what = blob.name
            frames.extend(scan_dataset(dataset, blob=blob, limits=limits))
        except DataError as error:
            left_out.append(LeftOut(what=what, why=error.problem.removeprefix(what).lstrip(": ").removeprefix("is ")))
        except PARSE_ERRORS:
            left_out.append(LeftOut(what=what, why="its metadata make no sense"))
    return frames, left_out


def _dataset(record: dict[str, Any]) -> Any:
    """A data set from DICOM JSON; bulk data stay where they are."""
    dataset = Dataset.from_json(record, bulk_data_uri_handler=lambda tag, vr, uri: None)
    dataset.file_meta = FileMetaDataset()
    # The true one is known once an instance is fetched.
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def _study(
    frames: Sequence[FrameHeader],
    *,
    address: WebAddress,
    store: WebStore,
    left_out: list[LeftOut],
    problems: tuple[str, ...],
) -> Study:
    by_series: dict[str, list[FrameHeader]] = {}
    for frame in frames:
        by_series.setdefault(frame.file.series_uid, []).append(frame)
    series: list[Series] = []
    for members in by_series.values():
        built = build_series(members)
        series.extend(_on_server(one, store=store) for one in built.series)
        left_out.extend(built.left_out)
    if not series:
        first = "; ".join(f"{item.what}: {item.why}" for item in left_out[:3])
        raise UnsupportedError(
            f"{address.shown} holds nothing that can be used ({len(left_out)} left out): {first}",
            allowed="Osler reads DICOM images: CT, MR, X-ray and other pictures.",
            next_step="Open another study.",
        )
    about = frames[0].file
    point = TimePoint(
        series=tuple(sorted(series, key=lambda one: one.series)),
        date=about.study_date,
        study_uid=about.study_uid,
        description=about.study_description,
    )
    patient = next((frame.file.patient for frame in frames if frame.file.patient), "")
    return Study(
        timepoints=(point,),
        patient=patient,
        source=address.shown,
        left_out=tuple(left_out),
        problems=(*problems, *(f"A study is dated in the future: {day}." for day in future_days((point.date,)))),
    )


def _on_server(series: Series, *, store: WebStore) -> Series:
    assert isinstance(series.pixels, DicomVolumePixels | DicomImagePixels)
    return replace(series, pixels=WebPixels(described=series.pixels, store=store))
