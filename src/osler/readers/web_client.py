"""The connection to a DICOMweb server: what it may do, and its errors in words.

Only the host that the user names is contacted: no redirect is followed, no proxy or
netrc file of the environment is used unless the user names it to Osler. Certificates
are verified. Every wait has an end, also when a server sends a byte now and then.
"""

from __future__ import annotations

import logging
import netrc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from osler.errors import RequestError, ServerError
from osler.extras import import_extra
from osler.readers.limits import LIMITS, Limits, check_memory, sized
from osler.readers.web_address import WebAddress

CONNECT_SECONDS = 10.0
SILENT_SECONDS = 30.0
_PIECE = 1 << 20
# Slower than this over the time a server may be silent, it counts as silent.
_LEAST_RATE = 1024
# The whole answer, its parts and the parsed data set stand in memory at once.
_COPIES = 3
_LOGGERS = (
    "dicomweb_client",
    "dicomweb_client.web",
    "dicomweb_client.session_utils",
    "urllib3",
    "urllib3.connectionpool",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a server is reached.

    Args:
        user: User name. password: Its password. token: A bearer token, instead of both.
        authority: File with the certificates of an own authority.
        seconds: How long the server may be silent.
    """

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    authority: str = ""
    seconds: float = SILENT_SECONDS

    @classmethod
    def from_environment(cls, address: WebAddress) -> Access:
        """Reads the variables ``OSLER_DICOMWEB_USER``, ``_PASSWORD``, ``_TOKEN``, ``_NETRC``, ``_CA`` and ``_TIMEOUT``.

        Raises:
            RequestError: If one of them is of no use, or a password would go over the network unencrypted.
        """
        get = os.environ.get
        user, password = get("OSLER_DICOMWEB_USER", ""), get("OSLER_DICOMWEB_PASSWORD", "")
        named = get("OSLER_DICOMWEB_NETRC", "")
        if named and not user:
            user, password = _from_netrc(named, host=address.host)
        access = cls(
            user=user,
            password=password,
            token=get("OSLER_DICOMWEB_TOKEN", ""),
            authority=get("OSLER_DICOMWEB_CA", ""),
            seconds=_seconds(get("OSLER_DICOMWEB_TIMEOUT", "")),
        )
        if (access.user or access.token) and not address.encrypted and not address.is_local:
            raise RequestError(
                f"The password for {address.host} would go over the network unencrypted.",
                allowed="Credentials are sent by dicomwebs:// only, or to this machine.",
                next_step="Use dicomwebs://, or unset the variables OSLER_DICOMWEB_USER, _TOKEN and _NETRC.",
            )
        if access.authority and not os.path.isfile(access.authority):
            raise RequestError("OSLER_DICOMWEB_CA names no file.", allowed="A file of certificates (PEM).")
        return access


def _from_netrc(path: str, *, host: str) -> tuple[str, str]:
    try:
        entry = netrc.netrc(path).authenticators(host)
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError) as error:
        raise RequestError(
            f"OSLER_DICOMWEB_NETRC cannot be read ({type(error).__name__}).",
            allowed="A file with lines such as `machine HOST login NAME password WORD`.",
        ) from error
    return (entry[0], entry[2] or "") if entry else ("", "")


def _seconds(text: str) -> float:
    try:
        seconds = float(text) if text else SILENT_SECONDS
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise RequestError(f"OSLER_DICOMWEB_TIMEOUT is {text!r}.", allowed="Seconds, more than 0 and at most 3600.")
    return seconds


def connect(address: WebAddress, *, access: Access, limits: Limits = LIMITS) -> Any:
    """Makes a `dicomweb_client.DICOMwebClient` for one thread; nothing is sent yet.

    Raises:
        RequestError: If the package is not installed or the address is of no use.
    """
    library = import_extra("dicomweb_client", extra="network")
    sessions = import_extra("dicomweb_client.session_utils", extra="network")
    for name in _LOGGERS:  # they write addresses and queries, which may identify a patient
        logging.getLogger(name).setLevel(logging.CRITICAL)
    session = sessions.create_session()
    session.trust_env = False
    session.max_redirects = 0
    session.verify = access.authority or True
    if access.token:
        session.headers["Authorization"] = f"Bearer {access.token}"
    elif access.user:
        session.auth = (access.user, access.password)

    def bound(response: Any, *arguments: Any, **options: Any) -> Any:
        del arguments, options
        response.raw = _BoundedAnswer(response.raw, seconds=access.seconds, most=limits.array_bytes)
        length = response.headers.get("Content-Length", "")
        check_memory("The answer of the server", need=_COPIES * int(length) if length.isdecimal() else 0)
        return response

    try:
        client = library.DICOMwebClient(
            address.url, session=session, timeout=(min(CONNECT_SECONDS, access.seconds), access.seconds), callback=bound
        )
    except ValueError as error:
        raise RequestError(f"{address.shown} is no address of a server.") from error
    client.set_http_retry_params(retry=False)
    return client


class _BoundedAnswer:
    """The body of an answer, read as it comes, with bounds on time and length."""

    def __init__(self, raw: Any, *, seconds: float, most: int) -> None:
        self._raw = raw
        self._seconds = seconds
        self._most = most

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def stream(self, amount: int, *, decode_content: bool = True) -> Iterator[bytes]:
        del amount
        start = mark = time.monotonic()
        total = since_mark = checked = 0
        while piece := self._raw.read1(_PIECE, decode_content=decode_content):
            total += len(piece)
            since_mark += len(piece)
            now = time.monotonic()
            if now - mark > self._seconds:
                if since_mark < _LEAST_RATE * self._seconds:
                    raise TimeoutError(f"{total} bytes in {now - start:.0f} s")
                mark, since_mark = now, 0
            if total > self._most:
                raise ValueError(f"an answer of more than {sized(self._most)}")
            if total - checked > 64 * _PIECE:
                check_memory("The answer of the server", need=_COPIES * total)
                checked = total
            yield piece


def server_error(error: Exception, *, what: str, address: WebAddress, access: Access) -> ServerError:
    """Says in words why a server did not give what was asked for.

    Args:
        error: What the client library raised.
        what: What was asked for, such as ``"the list of studies"``.
        address: Of the server.
        access: How it was reached.
    """
    place = f"{address.host}{f':{address.port}' if address.port else ''}"
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None and "HTTPError" in names:
        problem, step = _by_status(status, place=place, what=what)
    elif "TooManyRedirects" in names:
        problem = f"{place} wants to send the request for {what} to another address, which is not followed."
        step = "Name the address that the server itself uses, perhaps with dicomwebs://."
    elif "SSLError" in names:
        problem = f"The certificate of {place} cannot be verified, or it speaks no TLS."
        step = (
            "Name your authority's certificates in OSLER_DICOMWEB_CA, or use dicomweb:// on a network that you trust."
        )
    elif {"Timeout", "TimeoutError"} & names or "timed out" in str(error).lower():
        problem = f"{place} did not send {what} in time ({access.seconds:g} s without progress)."
        step = "Try again later, or allow more seconds in OSLER_DICOMWEB_TIMEOUT."
    elif {"ChunkedEncodingError", "ProtocolError", "ContentDecodingError", "EOFError"} & names or _was_cut(error):
        problem = f"{place} stopped in the middle of sending {what}."
        step = "Try again: what was fetched already is kept while this study is open."
    elif "ConnectionError" in names:
        problem = f"{place} cannot be reached."
        step = "Check host and port, and that the server is running."
    elif isinstance(error, ValueError | LookupError | AttributeError | TypeError):
        problem = f"{place} answered the request for {what} with something that is not DICOM, perhaps a web page."
        step = "Check the path in the address: Orthanc's ends in /dicom-web."
    else:
        problem = f"{place} did not give {what} ({type(error).__name__})."
        step = "Try again, or ask whoever runs the server."
    return ServerError(problem, next_step=step)


def _was_cut(error: Exception) -> bool:
    text = str(error)
    return any(mark in text for mark in ("Connection aborted", "IncompleteRead", "RemoteDisconnected", "reset by peer"))


def _by_status(status: int, *, place: str, what: str) -> tuple[str, str]:
    if status in (401, 403, 407):
        return (
            f"{place} refuses access to {what} (HTTP status {status}).",
            "Set OSLER_DICOMWEB_USER and OSLER_DICOMWEB_PASSWORD, OSLER_DICOMWEB_TOKEN, or OSLER_DICOMWEB_NETRC.",
        )
    if status in (404, 410):
        return (
            f"{place} does not have {what} (HTTP status {status}).",
            "Check the UID and the path: `osler inspect dicomweb://host/path` lists what is there.",
        )
    if status >= 500 or status == 429:
        return (
            f"{place} failed to give {what} (HTTP status {status}).",
            "Try again later, or ask whoever runs the server.",
        )
    return f"{place} did not accept the request for {what} (HTTP status {status}).", "Check the address and the query."
