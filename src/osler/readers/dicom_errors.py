"""What the DICOM libraries may raise on damaged input, in one place."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib

from pydicom.errors import BytesLengthException, InvalidDicomError

PARSE_ERRORS = (
    BytesLengthException,
    InvalidDicomError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
DECODE_ERRORS = (*PARSE_ERRORS, RuntimeError, MemoryError)


def brief(error: Exception) -> str:
    """Returns the kind of an error in words; its text might quote the patient."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
