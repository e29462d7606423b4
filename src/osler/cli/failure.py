"""From exceptions to messages and exit codes, in one place for all commands.

=========  ==========================================================
exit code  meaning
=========  ==========================================================
0          done
1          a fault of Osler's own, with how to report it
2          the input, the model or the request is at fault (OslerError)
130        Ctrl-C
141        whoever read the output has gone (``osler inspect | head``)
143        stopped from outside (SIGTERM)
=========  ==========================================================
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer

from osler.cli.json_output import echo_json
from osler.errors import CapacityError, OslerError

_FAULT = 1
_REFUSED = 2
_INTERRUPTED = 130
_PIPE_CLOSED = 141


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """Wraps a command: every exception becomes one message and an exit code.

    With ``as_json=True`` among the arguments an `OslerError` is also printed
    to standard output as the object that ``failure.schema.json`` describes.
    """

    @functools.wraps(command)
    def guarded_command(*args: Any, **kwargs: Any) -> None:
        try:
            with warnings.catch_warnings():
                _silence_libraries()
                command(*args, **kwargs)
        except typer.Exit:
            raise
        except OslerError as error:
            _refuse(error, as_json=bool(kwargs.get("as_json")))
        except MemoryError:
            _refuse(_out_of_memory(), as_json=bool(kwargs.get("as_json")))
        except KeyboardInterrupt:
            typer.echo("\nInterrupted; nothing was written half.", err=True)
            raise typer.Exit(_INTERRUPTED) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(_PIPE_CLOSED) from None
        except Exception as error:
            if os.environ.get("OSLER_DEBUG"):
                raise
            typer.echo(fault_report(error), err=True)
            raise typer.Exit(_FAULT) from None

    return guarded_command


def format_failure(error: OslerError) -> str:
    """Formats an error for a person: what was wrong, what is allowed, what to do."""
    from osler.writers import printable

    lines = [f"Error: {printable(error.problem)}"]
    lines += [f"  {printable(line)}" for line in (error.allowed, error.next_step) if line]
    return "\n".join(lines)


def fault_report(error: BaseException) -> str:
    """Formats an unexpected exception for a bug report, without anything from the input.

    The exception's own text and all values are left out: they may hold what
    was in a patient's file. What is left is its type and where it happened.
    """
    import osler

    home = Path(osler.__file__).parent
    lines = [
        f"Osler {osler.__version__} met a fault of its own ({type(error).__name__}). Nothing was written half.",
        "Please report these lines; they hold nothing of your files (OSLER_DEBUG=1 shows all, patient data included):",
    ]
    for frame in traceback.extract_tb(error.__traceback__)[-8:]:
        file = Path(frame.filename)
        name = file.relative_to(home.parent) if file.is_relative_to(home) else file.name
        lines.append(f"  {name}:{frame.lineno} in {frame.name}")
    return "\n".join(lines)


def _refuse(error: OslerError, *, as_json: bool) -> NoReturn:
    typer.echo(format_failure(error), err=True)
    if as_json:
        from osler.writers import failure_to_dict

        echo_json(failure_to_dict(error))
    raise typer.Exit(_REFUSED) from None


def _out_of_memory() -> CapacityError:
    return CapacityError(
        "The machine ran out of memory.",
        allowed="`osler models` says what each model needs.",
        next_step="Close other programs, or ask about a smaller series.",
    )


def _silence_libraries() -> None:
    """Keeps the warnings and logs of libraries off the terminal: they quote values from patients' files."""
    warnings.simplefilter("ignore")
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())
