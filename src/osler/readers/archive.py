"""ZIP archives, read in place: nothing is unpacked to disk.

The table of contents is checked before any member is read: too much, packed
too tightly, members that overlap (the densest bombs), names that point outside
of the archive. Archives inside an archive are not opened.
"""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from osler.errors import FileFormatError, UnsupportedError
from osler.readers.blob import ZipBlob, ZipHandle
from osler.readers.limits import LIMITS, Limits, sized
from osler.study import LeftOut


def find_members(path: Path, *, limits: Limits = LIMITS) -> tuple[list[ZipBlob], list[LeftOut]]:
    """Lists the files in a ZIP archive that are safe to read.

    Args:
        path: The archive.
        limits: Bounds on number, size and ratio.

    Returns:
        The members by name, and those that were refused, with the reason.

    Raises:
        FileFormatError: If the archive is damaged, or is built to exhaust the machine.
        UnsupportedError: If it holds more files than allowed.
    """
    handle = ZipHandle(path)
    try:
        infos = [info for info in handle.get().infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise FileFormatError(
            f"{path} is a damaged ZIP archive ({error}).", next_step="Copy or download it again."
        ) from error
    _check_bomb(path, infos=infos, limits=limits)
    members: list[ZipBlob] = []
    left_out: list[LeftOut] = []
    for info in sorted(infos, key=lambda info: info.filename):
        reason = _refusal(info)
        if reason:
            left_out.append(LeftOut(what=f"{path}!{info.filename}", why=reason))
        elif not PurePosixPath(info.filename).name.startswith(".") and not info.filename.startswith("__MACOSX/"):
            members.append(ZipBlob(handle, info.filename, info.file_size))
    return members, left_out


def _refusal(info: zipfile.ZipInfo) -> str:
    name = info.filename
    windows = PureWindowsPath(name)
    if ".." in windows.parts or windows.drive or windows.root:
        return "its name points outside of the archive"
    if info.flag_bits & 0x1:
        return "encrypted; unpack the archive with its password first"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        return f"compressed by a method (number {info.compress_type}) that is not read"
    return ""


def _check_bomb(path: Path, *, infos: list[zipfile.ZipInfo], limits: Limits) -> None:
    if len(infos) > limits.files:
        raise UnsupportedError(
            f"{path} holds {len(infos):,} files.",
            allowed=f"At most {limits.files:,} are read.",
            next_step="Pack one patient's files only.",
        )
    unpacked = sum(info.file_size for info in infos)
    packed = max(path.stat().st_size, 1)
    too_dense = unpacked > limits.archive_ratio_from and unpacked / packed > limits.archive_ratio
    if unpacked > limits.archive_bytes or too_dense:
        raise FileFormatError(
            f"{path} would unpack from {sized(packed)} to {sized(unpacked)}, like a ZIP bomb.",
            allowed=f"At most {sized(limits.archive_bytes)}, and {limits.archive_ratio} times the packed size.",
            next_step="If you trust the archive, unpack it and open the folder.",
        )
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise FileFormatError(
                f"{path} has members that overlap, as ZIP bombs do.", next_step="Pack the files again."
            )
        # At least one byte a character: names in an old code page are shorter there than in UTF-8.
        end = info.header_offset + 30 + len(info.filename) + info.compress_size
