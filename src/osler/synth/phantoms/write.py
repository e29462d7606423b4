"""Writes phantoms as NIfTI or NPZ with label maps and boxes; each volume whole or not at all."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

import osler
from osler.errors import RequestError
from osler.study import Box3D
from osler.synth.draw import draw_patient
from osler.synth.phantoms.organs import ORGANS
from osler.synth.phantoms.render import Phantom, render_volume
from osler.writers.atomic import write_atomic

Format = Literal["nifti", "npz"]
MOST_VOLUMES = 100_000_000
_SET = "volumes.json"
_GZIP_LEVEL = 1  # noise does not compress: higher levels cost time and gain little


def write_volumes(*, count: int, out: Path, seed: int, spacing: float, form: Format) -> Iterator[dict[str, Any]]:
    """Writes the first ``count`` CT and MR exams of a collection, in order of patient.

    Volumes that an earlier run of the same set finished stay as they are; damaged ones are drawn again.

    Args:
        count: How many. out: Folder: new, empty, or of the same set.
        seed: Of the collection. spacing: mm between voxels. form: "nifti" or "npz".

    Yields:
        The record of each volume: its name, files, lesions with boxes.

    Raises:
        RequestError: If a number is out of range, or the folder holds other data or cannot be written.
    """
    if not 1 <= count <= MOST_VOLUMES:
        raise RequestError(f"A count of {count!r} volumes.", allowed=f"1 to {MOST_VOLUMES:,}.")
    if not 0.3 <= spacing <= 20:
        raise RequestError(f"A spacing of {spacing!r} mm.", allowed="0.3 to 20 mm.")
    plan = {
        "osler": osler.__version__,
        "what": "synthetic volumes",
        "seed": seed,
        "spacing_mm": spacing,
        "format": form,
    }
    draw_patient(seed=seed, number=0)  # refuses a bad seed before anything is written
    try:
        _prepare(out, plan=plan)
        yield from _written(count, out=out, seed=seed, spacing=spacing, form=form)
    except OSError as error:
        raise RequestError(
            f"Cannot write {str(out)!r}: {error.strerror or type(error).__name__}.",
            allowed="The folder must be writable and the disk must have room.",
            next_step="Free some space or name another folder; volumes that are there already stay.",
        ) from error


def _prepare(out: Path, *, plan: dict[str, Any]) -> None:
    """Makes the folder, or checks that it is of this very set."""
    manifest = out / _SET
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not manifest.is_file())):
        raise RequestError(
            f"{str(out)!r} holds other data.",
            allowed="A new or empty folder, or one of an earlier run.",
            next_step="Name another folder.",
        )
    if manifest.is_file():
        try:
            found = json.loads(manifest.read_text(encoding="utf-8"))
        except ValueError as error:
            raise RequestError(f"{str(manifest)!r} is damaged.", next_step="Name another folder.") from error
        differ = sorted(key for key in plan if not isinstance(found, dict) or found.get(key) != plan[key])
        if differ:
            raise RequestError(
                f"{str(out)!r} holds another set of volumes ({', '.join(differ)} differ).",
                allowed="The same seed, spacing, format and version go on.",
                next_step="Name another folder.",
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    write_atomic(manifest, data=json.dumps(plan, indent=2).encode())


def _written(count: int, *, out: Path, seed: int, spacing: float, form: Format) -> Iterator[dict[str, Any]]:
    made, number = 0, 0
    while made < count:
        patient = draw_patient(seed=seed, number=number)
        for exam in patient.exams:
            if made == count or exam.modality not in ("CT", "MR"):
                continue
            made += 1
            name = f"{seed}-{number}-{exam.number}-{exam.protocol}"
            boxes = out / f"{name}.json"
            done = _finished(boxes)
            if done is not None:
                yield done
                continue
            phantom = render_volume(patient, exam=exam.number, spacing_mm=(spacing,) * 3)
            sums = _save(phantom, out=out, name=name, form=form)
            record = {"name": name, **_record(phantom), "files": list(sums), "sha256": list(sums.values())}
            # Last: its being there says that the volume is whole.
            write_atomic(boxes, data=json.dumps(record, indent=1).encode())
            yield record
        number += 1


def _finished(boxes: Path) -> dict[str, Any] | None:
    """The record of a volume that is whole, byte for byte; ``None`` if it must be drawn (again): the same comes out."""
    try:
        record = json.loads(boxes.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("lesions"), list):
        return None
    files, sums = record.get("files"), record.get("sha256")
    if not files or not isinstance(files, list) or not isinstance(sums, list) or len(files) != len(sums):
        return None
    try:
        found = [sha256((boxes.parent / str(name)).read_bytes()).hexdigest() for name in files]
    except (FileNotFoundError, IsADirectoryError):
        return None
    return record if found == sums else None


def _box(box: Box3D) -> dict[str, list[float]]:
    return {"low": [round(v, 3) for v in box.low], "high": [round(v, 3) for v in box.high]}


def _record(phantom: Phantom) -> dict[str, Any]:
    return {
        "modality": phantom.modality,
        "shape": list(phantom.array.shape),
        "affine_lps": phantom.affine.matrix.round(6).tolist(),
        "boxes": "LPS mm",
        "lesions": [
            {"finding": lesion.key, "lesion": lesion.lesion, "voxels": lesion.voxels, **_box(lesion.box)}
            for lesion in phantom.lesions
        ],
        "organs": {name: _box(box) | {"label": ORGANS.index(name)} for name, box in phantom.organ_boxes().items()},
        "not_drawn": list(phantom.not_drawn),
    }


def _save(phantom: Phantom, *, out: Path, name: str, form: Format) -> dict[str, str]:
    """Writes a volume's files; returns their SHA-256 by name."""
    if form == "npz":
        buffer = BytesIO()
        np.savez_compressed(
            buffer,
            volume=phantom.array,
            organs=phantom.organs,
            lesions=phantom.lesions_map,
            affine_lps=phantom.affine.matrix,
        )
        write_atomic(out / f"{name}.npz", data=buffer.getvalue())
        return {f"{name}.npz": sha256(buffer.getvalue()).hexdigest()}
    import nibabel as nib

    sums = {}
    for suffix, array in (("", phantom.array), ("-organs", phantom.organs), ("-lesions", phantom.lesions_map)):
        # a NIfTI array is (column, row, slice)
        image = nib.Nifti1Image(array.transpose(2, 1, 0), phantom.affine.to_ras())
        image.header.set_xyzt_units("mm")
        data = gzip.compress(image.to_bytes(), compresslevel=_GZIP_LEVEL, mtime=0)  # no time: the same bytes each run
        write_atomic(out / f"{name}{suffix}.nii.gz", data=data)
        sums[f"{name}{suffix}.nii.gz"] = sha256(data).hexdigest()
    return sums
