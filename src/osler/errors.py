"""The errors that Osler raises, one tree.

::

    OslerError
    ├── DataError              a file or a study is at fault
    │   ├── FileFormatError    not the format it claims, truncated, unreadable
    │   ├── UnsupportedError   a real file of a kind that Osler does not read
    │   ├── GeometryError      positions, spacing or orientation make no volume
    │   ├── PatientMixError    files of several patients where one was expected
    │   └── ServerError        a server that the user named did not give what was asked for
    ├── ModelError             a checkpoint or the install is at fault
    │   ├── CheckpointError    missing, extra, misshapen or damaged weights
    │   ├── PreprocessMismatchError
    │   ├── CapacityError      the request does not fit memory or context
    │   └── TrainingError      a training run cannot go on; its last good state is kept
    └── RequestError           the question or an option is at fault

Each message says what was wrong (with the value), what is allowed, and what to
do next. Messages name files, never patients. The commands print the message
and exit with code 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class OslerError(Exception):
    """Base of all errors that a user of Osler may meet.

    Args:
        problem: What was wrong, naming the value.
        allowed: What would have been right.
        next_step: What to do about it.
    """

    def __init__(self, problem: str, *, allowed: str = "", next_step: str = "") -> None:
        self.problem = problem
        self.allowed = allowed
        self.next_step = next_step
        super().__init__(" ".join(part for part in (problem, allowed, next_step) if part))


class DataError(OslerError):
    """A file or a study is at fault."""


class FileFormatError(DataError):
    """A file is not what it claims to be, is truncated or cannot be read."""


class UnsupportedError(DataError):
    """A well-formed file of a kind that Osler does not read."""


class GeometryError(DataError):
    """Positions, spacing or orientation do not make a volume."""


class PatientMixError(DataError):
    """Files of several patients stand where one patient was expected."""


class ServerError(DataError):
    """A server that the user named did not give what was asked for."""


class ModelError(OslerError):
    """A checkpoint or the installation is at fault."""


class CheckpointError(ModelError):
    """Weights are missing, extra, misshapen or damaged."""


class PreprocessMismatchError(ModelError):
    """A checkpoint was trained with another preprocessing contract."""


class CapacityError(ModelError):
    """A request does not fit into memory or into the model's context."""


class TrainingError(ModelError):
    """A training run cannot go on; the state of its last good update is kept."""


class RequestError(OslerError):
    """The question or an option is at fault."""


def unknown_name(kind: str, *, name: str, known: Iterable[str]) -> RequestError:
    """Builds the error for a name that is not in a list, with the nearest match.

    Args:
        kind: What the name stands for, such as ``"model"``.
        name: The name as given.
        known: The allowed names.
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return RequestError(
        f"Unknown {kind} {name!r}.",
        allowed=f"Known: {', '.join(names)}.",
        next_step=f"Did you mean {close[0]!r}?" if close else "",
    )


def absent_device(name: str, *, library: str, here: Iterable[str], next_step: str) -> RequestError:
    """Builds the error for a device that this machine lacks, or that a library cannot use.

    Args:
        name: The device as given.
        library: That does not see it, such as ``"PyTorch"``.
        here: Devices that it sees.
        next_step: What to do about it.
    """
    return RequestError(
        f"The device {name!r} was asked for, but this {library} sees no CUDA GPU.",
        allowed=f"Devices here: {', '.join(sorted(set(here)))}.",
        next_step=next_step,
    )
