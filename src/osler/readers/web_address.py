"""The address of a DICOMweb server, a study or a series, as a user writes it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from osler.errors import RequestError

# Path() makes one slash of two.
_ADDRESS = re.compile(r"^(dicomwebs?):/{1,2}(?=[^/])", re.IGNORECASE)
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_FORM = (
    "dicomweb://host[:port]/path/studies/STUDY-UID[/series/SERIES-UID], or dicomwebs:// for an encrypted connection."
)
LONGEST_UID = 64


def is_address(path: str | Path) -> bool:
    """Whether a path is the address of a DICOMweb server."""
    return _ADDRESS.match(str(path)) is not None


def is_uid(text: str) -> bool:
    """Whether a text has the form of a DICOM unique identifier."""
    return 0 < len(text) <= LONGEST_UID and _UID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAddress:
    """Where a study lies.

    Args:
        encrypted: Whether TLS is used (``dicomwebs://``).
        host: Name or number of the server.
        port: Port; 0 for the usual one.
        path: Root of the DICOMweb service, without a slash at the end.
        study: Study Instance UID; empty for the whole server.
        series: Series Instance UID; empty for the whole study.
        query: What studies must match, as pairs; it may identify a patient and is never shown.
    """

    encrypted: bool
    host: str
    port: int = 0
    path: str = ""
    study: str = ""
    series: str = ""
    query: tuple[tuple[str, str], ...] = ()

    @property
    def url(self) -> str:
        """Root of the service by HTTP."""
        return f"http{'s' if self.encrypted else ''}://{self._place}"

    @property
    def shown(self) -> str:
        """The address for messages and provenance: no credentials, no query."""
        parts = [f"dicomweb{'s' if self.encrypted else ''}://{self._place}"]
        parts += ["studies", self.study] if self.study else []
        parts += ["series", self.series] if self.series else []
        return "/".join(parts)

    @property
    def is_local(self) -> bool:
        """Whether the server is this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def _place(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}{f':{self.port}' if self.port else ''}{self.path}"


def parse_address(text: str | Path) -> WebAddress:
    """Reads an address.

    Raises:
        RequestError: If it has no host, holds a password or names something else than a study or a series.

    Example:
        >>> parse_address("dicomweb://localhost:8042/dicom-web/studies/1.2.3").study
        '1.2.3'
    """
    match = _ADDRESS.match(str(text))
    if match is None:
        raise _bad("This is no DICOMweb address.")
    try:
        parts = urlsplit("//" + str(text)[match.end() :])
        port = parts.port or 0
        host = parts.hostname or ""
    except ValueError as error:
        raise _bad("The host or the port of the address cannot be read.") from error
    if "@" in parts.netloc:
        raise RequestError(
            "The address holds a user name or a password, which would end up in logs and in the shell's history.",
            allowed=_FORM,
            next_step="Set OSLER_DICOMWEB_USER and OSLER_DICOMWEB_PASSWORD, or name a file in OSLER_DICOMWEB_NETRC.",
        )
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
        raise _bad("The address names no host.")
    path, study, series = _resource(parts)
    return WebAddress(
        encrypted=match.group(1).lower() == "dicomwebs",
        host=host,
        port=port,
        path=path,
        study=study,
        series=series,
        query=tuple(parse_qsl(parts.query)),
    )


def _resource(parts: SplitResult) -> tuple[str, str, str]:
    """Root path, study and series."""
    names = [name for name in parts.path.split("/") if name]
    study = series = ""
    if len(names) >= 4 and names[-4] == "studies" and names[-2] == "series":
        study, series, names = names[-3], names[-1], names[:-4]
    elif len(names) >= 2 and names[-2] == "studies":
        study, names = names[-1], names[:-2]
    elif names and names[-1] == "studies":
        names = names[:-1]
    for uid in (study, series):
        if uid and not is_uid(uid):
            raise _bad(f"{uid[:80]!r} is no UID.")
    if {"studies", "series", "instances"} & set(names):
        raise _bad("The address names neither a study nor a series.")
    return "".join(f"/{name}" for name in names), study, series


def _bad(problem: str) -> RequestError:
    return RequestError(problem, allowed=_FORM, next_step="`osler inspect dicomweb://host/path` lists what is there.")
