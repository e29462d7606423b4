"""Studies on disk and answers about them, for the tests of what is written as DICOM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation

from osler.readers import open_study
from osler.study import (
    Affine,
    Answer,
    Box2D,
    Box3D,
    Evidence,
    Finding,
    FoundBox,
    Progression,
    Statement,
    Study,
    UsedSeries,
    Volume,
)
from tests.readers.make_dicom import base_dataset, ramp, save, write_series
from tests.writers.answers import STAMP

PIXEL = Box2D(x0=2, y0=3, x1=8, y1=12)


def ct_study(folder: Path, *, affine: Affine | None = None, slices: int = 6, **elements: Any) -> Study:
    """A CT of 16 rows and 20 columns, opened."""
    write_series(folder, volume=ramp(slices, 16, 20), affine=affine, **elements)
    return open_study(folder)


def dx_study(folder: Path) -> Study:
    """A chest X-ray without a place in the patient, opened."""
    elements = {"PixelSpacing": None, "ImagerPixelSpacing": ["0.2", "0.2"], "FrameOfReferenceUID": None}
    ds = base_dataset(
        ramp(1, 40, 30, "uint16")[0], modality="DX", ViewPosition="PA", BodyPartExamined="CHEST", **elements
    )
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    save(ds, folder / "dx.dcm")
    return open_study(folder)


def boxes_on(series: Any, *, label: str = "nodule") -> tuple[FoundBox, ...]:
    """A box on one slice, and one over several slices in mm; on an image, only a box in pixels."""
    if not isinstance(series, Volume):
        return (FoundBox(label=label, series=series.series, score=0.75, pixel=PIXEL),)
    affine = series.affine
    voxel = Box3D(low=(4, 5, 1), high=(10, 11, 4), frame="voxel")
    patient = PIXEL.to_box3d(affine=affine, slice_index=2)
    return (
        FoundBox(label=label, series=series.series, score=0.75, slice=2, pixel=PIXEL, patient=patient),
        FoundBox(label="large mass", series=series.series, score=0.5, patient=voxel.to_patient(affine)),
    )


def answer_about(study: Study, *, boxes: tuple[FoundBox, ...] | None = None, **fields: Any) -> Answer:
    """An answer with everything that DICOM objects carry, about the first series."""
    series = next(iter(study.series()))
    index = 1 if isinstance(series, Volume) else None
    values: dict[str, Any] = {
        "text": "A nodule in the left lung.\nNo effusion.",
        "model": STAMP,
        "preprocess": "a" * 64,
        "task": "report",
        "boxes": boxes_on(series) if boxes is None else boxes,
        "findings": (Finding(name="pleural effusion", probability=0.25), Finding(name="edema", probability=None)),
        "progression": (
            Progression(
                finding="nodule",
                change="worsened",
                days=90,
                probability=0.5,
                measure="longest diameter",
                before=8.0,
                now=12.5,
                unit="mm",
            ),
        ),
        "statements": (
            Statement(
                section="findings",
                text="A nodule.",
                evidence=(Evidence(kind="slice", series=series.series, slice=index),),
            ),
            Statement(section="impression", text="Likely benign."),
        ),
        "used": (UsedSeries(series=series.series, modality=series.modality),),
        "untrained": ("boxes",),
        "warnings": ("Three slices are missing.",),
    }
    return Answer(**(values | fields))


def read_back(data: bytes, path: Path) -> Dataset:
    """Puts the bytes of a file on disk and reads them."""
    path.write_bytes(data)
    return dcmread(path)


def require_close(found: Box3D | None, wanted: Box3D | None, *, mm: float | np.ndarray = 1e-3) -> None:
    """Checks that two boxes agree to within ``mm`` at every edge (one number, or one an axis)."""
    assert found is not None
    assert wanted is not None
    assert (np.abs(np.asarray(found.low) - wanted.low) <= mm).all(), (found, wanted)
    assert (np.abs(np.asarray(found.high) - wanted.high) <= mm).all(), (found, wanted)


def oblique(*, angles: tuple[float, float, float], spacing: tuple[float, float, float], flip: bool = False) -> Affine:
    """An affine turned by three angles (radians); ``flip`` mirrors the slice axis."""
    turns: list[Callable[[float, float], list[list[float]]]] = [
        lambda c, s: [[1, 0, 0], [0, c, -s], [0, s, c]],
        lambda c, s: [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        lambda c, s: [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    ]
    direction = np.eye(3)
    for turn, angle in zip(turns, angles, strict=True):
        direction = direction @ np.array(turn(float(np.cos(angle)), float(np.sin(angle))))
    if flip:
        direction = direction @ np.diag([-1.0, -1.0, 1.0])
    return Affine.from_parts(spacing=spacing, direction=direction, origin=(-31.0, 17.0, 45.5))


@dataclass(frozen=True, kw_only=True)
class DrawnBox:
    """An affine and a box on one slice, as a property test draws them; ``corner`` ends in the slice."""

    angles: tuple[float, float, float]
    spacing: tuple[float, float, float]
    corner: tuple[float, float, int]
    size: tuple[float, float]

    def on_ct(self, folder: Path) -> tuple[Study, FoundBox]:
        """Writes a CT under the affine and puts the box on it."""
        study = ct_study(folder, affine=oblique(angles=self.angles, spacing=self.spacing), slices=4)
        volume = study.volumes()[0]
        x, y, place = self.corner
        pixel = Box2D(x0=x, y0=y, x1=x + self.size[0], y1=y + self.size[1])
        patient = pixel.to_box3d(affine=volume.affine, slice_index=place)
        return study, FoundBox(
            label="nodule", series=volume.series, score=0.5, slice=place, pixel=pixel, patient=patient
        )


def drawn_boxes(*, least: float) -> st.SearchStrategy[DrawnBox]:
    """Boxes of any affine, ``least`` px a side or more."""
    return st.builds(
        DrawnBox,
        angles=st.tuples(*[st.floats(-3, 3)] * 3),
        spacing=st.tuples(st.floats(0.3, 4), st.floats(0.3, 4), st.floats(0.5, 6)),
        corner=st.tuples(st.floats(0, 8), st.floats(0, 8), st.integers(0, 3)),
        size=st.tuples(st.floats(least, 8), st.floats(least, 7)),
    )
