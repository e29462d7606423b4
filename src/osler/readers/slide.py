"""From a slide file to a `Slide`: ``tiffslide`` first, OpenSlide where it is installed and needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from osler.errors import FileFormatError, OslerError, RequestError, UnsupportedError
from osler.readers.blob import Blob, DiskBlob
from osler.readers.slide_openslide import open_by_openslide
from osler.readers.slide_region import is_damage
from osler.readers.slide_sniff import mirax_folder
from osler.readers.slide_tiff import open_tiff_slide
from osler.study import SliceOrigin, Slide, SlideSource

_Opened = tuple[SlideSource, tuple[float, float] | None, float | None, tuple[str, ...]]
_ABSURD_MM = (1e-5, 0.1)
_LARGE_LEVEL = 2**26


def read_slide(blob: Blob) -> Slide:
    """Opens the headers of a whole slide; pixels are read a region at a time.

    Args:
        blob: The file.

    Raises:
        RequestError: If the package that reads it is not installed.
        FileFormatError: If it is damaged or truncated.
        UnsupportedError: If it is a slide of a kind that is not read, or lies inside an archive.
        CapacityError: If no region of it can be read by itself.
    """
    if not isinstance(blob, DiskBlob):
        raise UnsupportedError(
            f"{blob.name} is a whole slide inside an archive, where no region can be read by itself.",
            next_step="Unpack the archive and open the slide.",
        )
    source, spacing, power, problems = _open(blob.path)
    return Slide(
        series=blob.name,
        pixels=source,
        spacing=spacing if spacing is None or _sensible(spacing) else None,
        magnification=power,
        origins=(SliceOrigin(file=blob.name),),
        description=blob.path.name,
        problems=(*problems, *slide_problems(source, spacing=spacing, power=power)),
    )


def slide_problems(source: SlideSource, *, spacing: tuple[float, float] | None, power: float | None) -> tuple[str, ...]:
    """Says what a slide's header leaves open."""
    problems = []
    if spacing is not None and not _sensible(spacing):
        problems.append(
            f"The file says pixels of {spacing[0]:g} x {spacing[1]:g} mm, which no scanner has: "
            "positions are in px only."
        )
    elif spacing is None:
        assumed = f"its objective of {power:g}x is taken" if power else "20x is assumed"
        problems.append(f"The file does not say how large a pixel is: {assumed}, and positions are in px only.")
    last = source.levels[-1]
    if last.width * last.height > _LARGE_LEVEL:
        problems.append("The slide has no small level: tissue is looked for in samples.")
    return tuple(problems)


def reason_of(error: OslerError) -> str:
    """What an error says beside a file's name: for a missing package, with the command that brings it."""
    return f"{error.problem} {error.next_step}" if isinstance(error, RequestError) else error.problem


def _sensible(spacing: tuple[float, float]) -> bool:
    low, high = _ABSURD_MM
    return all(low <= value <= high for value in spacing)


def _open(path: Path) -> _Opened:
    """Tries the libraries in turn; reports what each of them said."""
    mirax = mirax_folder(DiskBlob(path, 0)) is not None
    ways: list[tuple[str, Callable[[], _Opened]]] = [] if mirax else [("tiffslide", lambda: open_tiff_slide(path))]
    ways.append(("OpenSlide", lambda: (*open_by_openslide(path), ())))
    failures: list[str] = []
    missing: RequestError | None = None
    for name, way in ways:
        try:
            return way()
        except RequestError as error:
            missing = missing or error
            failures.append(f"{name} is not installed")
        except OslerError:
            raise  # another library would not find missing bytes, or a third color, either
        except Exception as error:
            if not is_damage(error):
                raise
            failures.append(f"{name}: {type(error).__name__}")
    if missing is not None and failures[0].endswith("not installed"):
        raise missing  # the package that should have read it
    raise FileFormatError(
        f"{path} is a whole slide that cannot be read ({'; '.join(failures)}).",
        allowed="SVS, NDPI, SCN, MRXS, generic pyramidal TIFF, and DICOM.",
        next_step="Copy or export it again.",
    )
