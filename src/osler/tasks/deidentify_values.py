"""Values that stand for others, the same for the same: UIDs, patients, dates.

Everything is drawn from a secret by HMAC-SHA256. Who has the secret can repeat the work; who has
only the output cannot go back.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from osler.errors import RequestError

_SECRET_BYTES = 32
_DATE = re.compile(r"(\d{4})[.\-]?(\d{2})[.\-]?(\d{2})")
# One to ten years back, so that no date lies in the future.
_LEAST_DAYS, _MOST_DAYS = 365, 3650
_DICOM_ROOT = "1.2.840.10008."


class Pseudonyms:
    """Draws stand-ins from a secret.

    Args:
        secret: Random bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def _draw(self, kind: str, text: str) -> bytes:
        return hmac.new(self._secret, f"{kind}\x1f{text}".encode(), hashlib.sha256).digest()

    def uid(self, uid: str) -> str:
        """Another UID below 2.25; those that the standard itself defines stay."""
        if uid.startswith(_DICOM_ROOT) or not uid:
            return uid
        return f"2.25.{int.from_bytes(self._draw('uid', uid)[:16], 'big')}"

    def patient(self, key: str) -> str:
        """A number for a patient."""
        return f"OSLER-{self._draw('patient', key).hex()[:12].upper()}"

    def name(self, content: bytes) -> str:
        """A name for a file that has no identifier of its own."""
        return self._draw("file", hashlib.sha256(content).hexdigest()).hex()[:24]

    def days(self, key: str) -> int:
        """How many days a patient's dates are moved: the same for all of them."""
        span = _MOST_DAYS - _LEAST_DAYS
        return -(_LEAST_DAYS + int.from_bytes(self._draw("days", key)[:8], "big") % span)


def shifted(text: str, *, days: int) -> str:
    """Moves a DICOM date (DA) or date and time (DT); what is no full date becomes empty.

    Example:
        >>> shifted("20240301", days=-1)
        '20240229'
        >>> shifted("20240301120000.5+0100", days=-366)
        '20230301120000.5+0100'
    """
    text = text.strip(" \x00")
    match = _DATE.match(text)
    if match is None:
        return ""
    try:
        moved = dt.date(*(int(part) for part in match.groups())) + dt.timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    rest = text[match.end() :]
    return moved.isoformat().replace("-", "") + (rest if re.fullmatch(r"[0-9.+\-]*", rest) else "")


def load_secret(path: Path | None, *, keep_out_of: Path) -> bytes:
    """Reads the secret from a file, makes the file where there is none, or draws one that nobody keeps.

    Args:
        path: File of the secret; ``None`` for a secret that is forgotten afterwards.
        keep_out_of: The folder of the output, where it must not lie.

    Raises:
        RequestError: If it lies in the output, is no secret of Osler's, or cannot be written.
    """
    if path is None:
        return secrets.token_bytes(_SECRET_BYTES)
    if path.resolve().is_relative_to(keep_out_of.resolve()):
        raise RequestError(
            "The key file lies in the output folder, which would let anyone link the files to the patients.",
            next_step="Keep the key elsewhere.",
        )
    try:
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(_SECRET_BYTES) + "\n")
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise RequestError(
            f"The key file {str(path)!r} cannot be used ({type(error).__name__}).",
            allowed=f"A file that Osler made, with {2 * _SECRET_BYTES} hexadecimal digits.",
            next_step="Name a file that does not exist yet: it is made.",
        ) from error
    if len(secret) < _SECRET_BYTES:
        raise RequestError(
            f"The key in {str(path)!r} has {len(secret)} bytes.", allowed=f"At least {_SECRET_BYTES} bytes."
        )
    return secret
