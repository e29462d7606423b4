"""Finds the files below a folder, safely: no loops, no pipes, no endless trees."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from osler.errors import UnsupportedError
from osler.readers.blob import DiskBlob
from osler.readers.limits import LIMITS, Limits
from osler.study import LeftOut


def find_files(root: Path, *, limits: Limits = LIMITS) -> tuple[list[DiskBlob], list[LeftOut]]:
    """Lists the regular files below ``root`` in a stable order.

    Links are followed, each folder once, so that a loop ends. Hidden files
    and folders, such as ``.DS_Store``, are passed over.

    Args:
        root: A folder.
        limits: Bounds on depth and number.

    Returns:
        The files, and what could not be entered, with the reason.

    Raises:
        UnsupportedError: If there are more files than allowed.
    """
    files: list[DiskBlob] = []
    left_out: list[LeftOut] = []
    for item in _walk(root, seen=set(), depth=0, limits=limits):
        if isinstance(item, LeftOut):
            left_out.append(item)
            continue
        files.append(item)
        if len(files) > limits.files:
            raise UnsupportedError(
                f"{root} holds more than {limits.files:,} files.", next_step="Open one patient's folder."
            )
    return files, left_out


def _walk(folder: Path, *, seen: set[tuple[int, int]], depth: int, limits: Limits) -> Iterator[DiskBlob | LeftOut]:
    try:
        here = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield LeftOut(what=str(folder), why=f"cannot be entered ({error.strerror})")
        return
    if (here.st_dev, here.st_ino) in seen:
        yield LeftOut(what=str(folder), why="a link to a folder that was read already")
        return
    seen.add((here.st_dev, here.st_ino))
    if depth > limits.depth:
        yield LeftOut(what=str(folder), why=f"nested deeper than {limits.depth} folders")
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = folder / entry.name
        try:
            status = entry.stat()
        except OSError as error:
            yield LeftOut(what=str(path), why=f"cannot be read ({error.strerror})")
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(path, seen=seen, depth=depth + 1, limits=limits)
        elif stat.S_ISREG(status.st_mode):
            yield DiskBlob(path, status.st_size)
        else:
            yield LeftOut(what=str(path), why="not a regular file (a pipe, socket or device)")
