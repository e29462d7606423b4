"""The files that a command can write beside its answer: one set of options for all of them.

A command takes the options as parameters with the types below, checks them
with `Outputs.checked` before any model runs, and writes them with
`Outputs.write` when the answer is there and shown: each is made whole and put in
place in one step, and one that cannot be made does not take the others along.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from osler.errors import OslerError, RequestError

if TYPE_CHECKING:
    from osler.prepare import PreparedImages
    from osler.study import Answer, Study

PictureOption = Annotated[Path | None, typer.Option("--picture", help="PNG to write: what was seen, and the answer.")]
MarkdownOption = Annotated[Path | None, typer.Option("--markdown", help="Markdown report to write.")]
FhirOption = Annotated[Path | None, typer.Option("--fhir", help="FHIR bundle to write (DiagnosticReport, JSON).")]
SrOption = Annotated[Path | None, typer.Option("--sr", help="DICOM structured report to write (TID 1500).")]
SegOption = Annotated[
    Path | None, typer.Option("--seg", help="DICOM segmentation of the boxes to write; NIfTI if named .nii.gz.")
]
GspsOption = Annotated[Path | None, typer.Option("--gsps", help="DICOM presentation state to write: boxes drawn.")]
CaptureOption = Annotated[Path | None, typer.Option("--capture", help="DICOM secondary capture of the picture.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Let output files overwrite any file.")]

_NAMES = {
    "picture": "Picture",
    "markdown": "Report",
    "fhir": "FHIR bundle",
    "sr": "DICOM SR",
    "seg": "Segmentation",
    "gsps": "Presentation state",
    "capture": "Capture",
}
_DICOM = ("sr", "seg", "gsps", "capture")


def tell_written(name: str, place: Path) -> None:
    """Prints where a file lies."""
    typer.echo(f"{_NAMES[name]}: {place}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The output files of one command, checked already; ``None`` where one is not wanted."""

    picture: Path | None = None
    markdown: Path | None = None
    fhir: Path | None = None
    sr: Path | None = None
    seg: Path | None = None
    gsps: Path | None = None
    capture: Path | None = None
    force: bool = False

    @classmethod
    def checked(cls, *, force: bool = False, has_study: bool = True, **paths: Path | None) -> Outputs:
        """Checks that every file can be written, before any costly work.

        Args:
            force: Let any file be overwritten; without it, only Osler's own pictures.
            has_study: Whether there are images: DICOM objects need them.
            paths: By option: ``picture``, ``markdown``, ``fhir``, ``sr``, ``seg``, ``gsps``, ``capture``.

        Raises:
            RequestError: If one cannot be written, two are the same file, or a package is missing.
        """
        from osler.extras import import_extra
        from osler.writers import check_picture, check_writable

        wanted = {name: path for name, path in paths.items() if path is not None}
        checked: dict[str, Path] = {}
        for name, path in wanted.items():
            if name == "picture":
                real = check_picture(path, replace="any" if force else "ours")
            else:
                real = check_writable(path, replace="any" if force else "refuse")
            same = next((other for other, place in checked.items() if place == real), None)
            if same is not None:
                raise RequestError(
                    f"--{same} and --{name} name the same file, {str(path)!r}.", allowed="A file for each output."
                )
            checked[name] = real
        dicom = [name for name in _DICOM if name in checked and not _as_nifti(name, checked[name])]
        if not has_study:
            needless = [name for name in _DICOM if name in checked]
            if needless:
                raise RequestError(
                    f"--{needless[0]} without images.",
                    allowed="SR, SEG, presentation states and captures belong to images.",
                    next_step="Name a scan, or leave it out.",
                )
        if dicom:
            import_extra("highdicom", extra="dicom")
        return cls(force=force, **checked)

    @property
    def draws(self) -> bool:
        """Whether one of the files is a picture of the images."""
        return self.picture is not None or self.capture is not None

    def refuse_unfit(self, study: Study) -> None:
        """Refuses DICOM objects about images that are not DICOM, before a model runs.

        Raises:
            UnsupportedError: If there is no DICOM image among them.
        """
        from osler.errors import UnsupportedError

        wanted = [name for name in _DICOM if (path := getattr(self, name)) is not None and not _as_nifti(name, path)]
        if wanted and not any(origin.sop_uid for series in study.series() for origin in series.origins):
            raise UnsupportedError(
                f"--{wanted[0]}: {study.source} holds no DICOM images, so no DICOM object can refer to it.",
                allowed="SR, SEG, presentation states and captures are written about DICOM images.",
                next_step="Leave it out; --markdown, --fhir, --picture and --seg mask.nii.gz work for any image.",
            )

    def write(
        self,
        answer: Answer,
        *,
        study: Study,
        question: str = "",
        prepared: PreparedImages | None = None,
        on_written: Callable[[str, Path], None] | None = None,
    ) -> None:
        """Makes the files and puts each in place.

        Args:
            answer: What to write.
            study: What it is about.
            question: As asked.
            prepared: What the model saw, for pictures.
            on_written: Called with the option and the file for each that is in its place.

        Raises:
            OslerError: If one cannot be made or written: the first such error, after the other files were written.
        """
        from osler.writers import write_atomic

        failures: list[OslerError] = []
        for name in _makers():
            try:
                for path, data in self._made(name, answer, study, question, prepared):
                    place = write_atomic(path, data=data)
                    if on_written is not None:
                        on_written(name, place)
            except OslerError as error:
                failures.append(error)
        if failures:
            raise failures[0]

    def _made(
        self, name: str, answer: Answer, study: Study, question: str, prepared: PreparedImages | None
    ) -> list[tuple[Path, bytes]]:
        path: Path | None = getattr(self, name)
        if path is None:
            return []
        request = _Request(answer, study, question, prepared, path, self.picture)
        parts = _makers()[name](request)
        return [(self._numbered(path, number), data) for number, data in enumerate(parts, start=1)]

    def _numbered(self, path: Path, number: int) -> Path:
        """The name of a further file, such as ``answer-2.dcm``; one that is free."""
        if number == 1:
            return path
        stem = path.name.partition(".")[0]
        place = path.with_name(f"{stem}-{number}{path.name[len(stem) :]}")
        while place.exists() and not self.force:
            number += 1
            place = path.with_name(f"{stem}-{number}{path.name[len(stem) :]}")
        return place


@dataclass(frozen=True, slots=True)
class _Request:
    answer: Answer
    study: Study
    question: str
    prepared: PreparedImages | None
    path: Path
    beside: Path | None

    def png(self) -> bytes:
        """The picture of the answer."""
        from osler.writers import draw_answer

        if self.prepared is None:
            raise RequestError("This command draws no picture.", next_step="Leave --picture and --capture out.")
        return draw_answer(self.prepared, study=self.study, question=self.question, answer=self.answer)


def _as_nifti(name: str, path: Path) -> bool:
    return name == "seg" and str(path).lower().endswith((".nii", ".nii.gz"))


def _makers() -> dict[str, Callable[[_Request], tuple[bytes, ...]]]:
    return {
        "picture": lambda request: (request.png(),),
        "markdown": _markdown,
        "fhir": _fhir,
        "sr": _sr,
        "seg": _seg,
        "gsps": _gsps,
        "capture": _capture,
    }


def _markdown(request: _Request) -> tuple[bytes, ...]:
    from osler.writers.markdown import format_markdown

    picture = ""
    if request.beside is not None and request.beside.parent == request.path.parent:
        picture = request.beside.name
    return (format_markdown(request.answer, question=request.question, picture=picture).encode("utf-8", "replace"),)


def _fhir(request: _Request) -> tuple[bytes, ...]:
    from osler.writers.fhir_report import format_fhir

    return (format_fhir(request.answer, study=request.study).encode("utf-8", "replace"),)


def _sr(request: _Request) -> tuple[bytes, ...]:
    from osler.writers.dicom_sr import write_sr

    return (write_sr(request.answer, study=request.study),)


def _seg(request: _Request) -> tuple[bytes, ...]:
    if _as_nifti("seg", request.path):
        from osler.writers.nifti_mask import write_label_map

        packed = request.path.name.lower().endswith(".gz")
        return (write_label_map(request.answer, study=request.study, packed=packed),)
    from osler.writers.dicom_seg import write_segs

    return write_segs(request.answer, study=request.study)


def _gsps(request: _Request) -> tuple[bytes, ...]:
    from osler.writers.dicom_capture import write_gsps

    return write_gsps(request.answer, study=request.study)


def _capture(request: _Request) -> tuple[bytes, ...]:
    from osler.writers.dicom_capture import write_capture

    return (write_capture(request.answer, study=request.study, picture=request.png()),)
