"""Scans of the user's table, opened and prepared once as inference does it, and kept beside the run.

Each scan goes through `open_study`, `prepare_images` and `assemble` under the contract of the
weights, and its samples hold the hash of that contract. What is kept of a scan is one
safetensors file: the samples' ids and their images (soft tokens of the frozen tower, one a row, or
8-bit pixels where the tower learns too).

Dimensions: N images, S side (px), T soft tokens, M soft tokens of all images, D width of the decoder.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from osler.errors import DataError, OslerError
from osler.prepare import ModelInputs, PreparedImages, Preprocess, assemble, prepare_images
from osler.readers import open_study
from osler.study import Study
from osler.tasks.opening import one_by_one
from osler.train.checkpoints import save_tensors
from osler.train.local_boxes import box_lessons
from osler.train.local_table import LocalRow, LocalTable, Unreadable, is_kept_out
from osler.train.parts_reading import Reading
from osler.train.taught import Taught
from osler.weights.checkpoint import Checkpoint
from osler.weights.safetensors_io import read_safetensors

_VERSION = "2"
Encode = Callable[[PreparedImages], Tensor]
"""Images to what is kept of them: (N, T, D) soft tokens, (M, 1, D) where volumes are read as slabs, or (N, S, S, 3)
pixels."""
Read = Callable[[PreparedImages], Reading | None]
"""Images to what parts read of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one sample is kept."""

    file: Path
    index: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalScans:
    """All samples of a table, divided; ``contracts`` are the hashes that they were prepared under."""

    train: tuple[Place, ...]
    kept_out: tuple[Place, ...]
    unreadable: tuple[Unreadable, ...]
    contracts: tuple[str, ...]


class KeptSamples:
    """Samples that lie in files (a `Source`)."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = tuple(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Taught:
        """Reads one sample.

        Raises:
            CheckpointError: If its file is absent or damaged.
        """
        place = self.places[number]
        tensors = read_safetensors(place.file).tensors
        rows = tensors[f"rows.{place.index}"]
        return Taught(
            name=place.name,
            token_ids=tensors[f"ids.{place.index}"].numpy(),
            answer_mask=tensors[f"mask.{place.index}"].numpy(),
            images=tensors["images"][rows] if len(rows) else None,
            reading=Reading.from_tensors(tensors),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanKeeper:
    """Prepares the scans of a table.

    Args:
        checkpoint: Whose contract and tokenizer are used.
        encode: What is kept of the images. read: What is kept beside it for parts, which learn from questions only.
        folder: Where it is kept.
        method: Part of the key of what is kept.
        slices: Slices of a volume that a box is taught on.
    """

    checkpoint: Checkpoint
    encode: Encode
    folder: Path
    method: str
    slices: int
    read: Read | None = None

    def keep(
        self, table: LocalTable, *, share: float, on_progress: Callable[[int, int], None] | None = None
    ) -> LocalScans:
        """Prepares every scan that is not kept yet.

        Args:
            share: Of the patients that are kept out of training.
            on_progress: Called with the scans done and in all.

        Raises:
            DataError: If no row can be used for training.
        """
        groups: dict[Path, list[LocalRow]] = {}
        for row in table.rows:
            groups.setdefault(row.path, []).append(row)
        sides: dict[bool, list[Place]] = {True: [], False: []}
        bad = list(table.unreadable)
        contracts: set[str] = set()
        for done, (path, rows) in enumerate(groups.items()):
            kept = self._scan(path, rows=rows)
            bad += [Unreadable(line=line, path=str(path), reason=reason) for line, reason in kept.unreadable.items()]
            contracts |= set(kept.contracts)
            for index, line in enumerate(kept.lines):
                row = next(row for row in rows if row.line == line)
                out = row.split == "kept-out" if row.split else is_kept_out(row.patient or kept.patient, share=share)
                sides[out].append(Place(file=kept.file, index=index, name=f"line {line} ({path.name})"))
            if on_progress is not None:
                on_progress(done + 1, len(groups))
        if not sides[False]:
            reasons = sorted({entry.reason for entry in bad})
            raise DataError(
                f"No row of the table is left to train on: {len(bad)} of {len(table.rows) + len(table.unreadable)} "
                f"cannot be used, {len(sides[True])} samples are kept out.",
                allowed=f"Reasons: {'; '.join(reasons[:4]) or 'all patients are kept out'}.",
                next_step="Mend the table, or keep out fewer patients.",
            )
        bad.sort(key=lambda entry: entry.line)
        return LocalScans(
            train=tuple(sides[False]),
            kept_out=tuple(sides[True]),
            unreadable=tuple(bad),
            contracts=tuple(sorted(contracts)),
        )

    def _scan(self, path: Path, *, rows: Sequence[LocalRow]) -> _Kept:
        """The samples of one scan, from their file if it was made from the same."""
        file = self.folder / f"{hashlib.sha256(str(path).encode()).hexdigest()[:24]}.safetensors"
        key = self._key(path, rows=rows)
        if file.is_file():
            found = read_safetensors(file)
            if found.metadata.get("key") == key:
                return _Kept.read(file, json.loads(found.metadata["about"]))
        try:
            study = open_study(path)
            made = _Making(keeper=self, study=study)
            made.add(rows)
        except OslerError as error:
            return _Kept(file=file, unreadable={row.line: error.problem for row in rows})
        about = {
            "lines": made.lines,
            "unreadable": made.unreadable,
            # A key, not a name: files hold nothing of the patient.
            "patient": hashlib.sha256(f"{study.patient or path}".encode()).hexdigest(),
            "contracts": sorted(made.contracts),
        }
        save_tensors(file, made.tensors(), metadata={"key": key, "about": json.dumps(about)})
        return _Kept.read(file, about)

    def _key(self, path: Path, *, rows: Sequence[LocalRow]) -> str:
        content = repr([(row.line, row.question, row.answer, row.label, row.box) for row in rows])
        parts = (_VERSION, self.checkpoint.key, self.method, self.slices, content, *_stamps(path))
        return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    file: Path
    lines: tuple[int, ...] = ()
    unreadable: Mapping[int, str] = dataclasses.field(default_factory=dict)
    patient: str = ""
    contracts: tuple[str, ...] = ()

    @classmethod
    def read(cls, file: Path, about: Mapping[str, object]) -> _Kept:
        """From the header of a file."""
        return cls(
            file=file,
            lines=tuple(about["lines"]),  # type: ignore[arg-type]
            unreadable={int(line): str(reason) for line, reason in about["unreadable"].items()},  # type: ignore[attr-defined]
            patient=str(about["patient"]),
            contracts=tuple(about["contracts"]),  # type: ignore[arg-type]
        )


class _Making:
    """Collects the samples of one scan."""

    def __init__(self, *, keeper: ScanKeeper, study: Study) -> None:
        self.keeper, self.study = keeper, study
        self.lines: list[int] = []
        self.unreadable: dict[int, str] = {}
        self.contracts: set[str] = set()
        self._samples: list[tuple[ModelInputs, list[int]]] = []
        self._images: list[Tensor] = []
        self._count = 0
        self._reading: Reading | None = None

    def add(self, rows: Sequence[LocalRow]) -> None:
        """Adds questions on the whole scan, then boxes image by image."""
        contract = self.keeper.checkpoint.preprocess
        questions = [row for row in rows if not row.label]
        if questions:
            prepared = prepare_images(self.study, preprocess=contract)
            places = self._take(prepared)
            self._reading = None if self.keeper.read is None else self.keeper.read(prepared)
            for row in questions:
                self._sample(row, prepared, question=row.question, answer=row.answer, contract=contract, places=places)
        boxes = [row for row in rows if row.label]
        if boxes and self.keeper.read is not None:
            self.unreadable |= {row.line: "parts of the network learn from questions, not from boxes" for row in boxes}
        elif boxes:
            # As `osler locate` asks: one image and one label at a time, padded to the square.
            square = dataclasses.replace(contract, aspect="pad-square")
            prepared = prepare_images(self.study, preprocess=square)
            lessons, outside = box_lessons(boxes, prepared=prepared, slices=self.keeper.slices)
            self.unreadable |= outside
            places_of: dict[int, list[int]] = {}
            for number in sorted({lesson.image for lesson in lessons}):
                (one,) = one_by_one(prepared, [number])
                places_of[number] = self._take(one)
            for lesson in lessons:
                (one,) = one_by_one(prepared, [lesson.image])
                self._sample(
                    lesson.row,
                    one,
                    question=lesson.question,
                    answer=lesson.answer,
                    contract=square,
                    places=places_of[lesson.image],
                )

    def tensors(self) -> dict[str, Tensor]:
        """What is written."""
        tensors = {"images": torch.cat(self._images)} if self._images else {}
        tensors |= {} if self._reading is None else self._reading.tensors()
        for index, (inputs, places) in enumerate(self._samples):
            tensors[f"ids.{index}"] = torch.from_numpy(np.asarray(inputs.token_ids, dtype=np.int64))
            tensors[f"mask.{index}"] = torch.from_numpy(np.asarray(inputs.answer_mask, dtype=bool))
            tensors[f"rows.{index}"] = torch.tensor(places, dtype=torch.int64)
        return tensors

    def _take(self, prepared: PreparedImages) -> list[int]:
        """Keeps the images and returns their rows."""
        if not prepared.images:
            return []
        kept = self.keeper.encode(prepared)
        if kept.is_floating_point():
            kept = kept.flatten(0, 1)[:, None]  # groups of slabs differ in size
        self._images.append(kept)
        self._count += len(kept)
        return list(range(self._count - len(kept), self._count))

    def _sample(
        self,
        row: LocalRow,
        prepared: PreparedImages,
        *,
        question: str,
        answer: str,
        contract: Preprocess,
        places: list[int],
    ) -> None:
        checkpoint = self.keeper.checkpoint
        try:
            inputs = assemble(
                prepared,
                question,
                preprocess=contract,
                tokenizer=checkpoint.tokenizer,
                tokens=checkpoint.model.config.tokens,
                study=self.study,
                answer=answer,
                context=checkpoint.model.config.decoder.max_positions,
            )
        except OslerError as error:
            self.unreadable[row.line] = error.problem
            return
        self.contracts.add(inputs.preprocess_hash)
        self.lines.append(row.line)
        self._samples.append((inputs, places))


def _stamps(path: Path) -> Iterable[str]:
    """Names, sizes and times of change of the files of a scan."""
    try:
        files = sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
        for entry in files:
            status = entry.stat()
            yield f"{entry} {status.st_size} {status.st_mtime_ns}"
    except OSError as error:
        yield f"{path} {error.errno}"
