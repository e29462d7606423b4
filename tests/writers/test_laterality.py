"""Left stays left through every writer, however the images are stored; a mirrored patient gives the mirror."""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.readers import open_study
from osler.readers.dicom_annotations import read_annotations
from osler.study import Affine, Answer, Box2D, Box3D, FoundBox, Study
from osler.writers import format_answer
from osler.writers.dicom_capture import write_gsps
from osler.writers.dicom_seg import write_segs
from osler.writers.dicom_sr import write_sr
from osler.writers.fhir_report import fhir_bundle, format_fhir
from osler.writers.markdown import format_markdown
from osler.writers.nifti_mask import write_label_map
from tests.readers.make_dicom import ramp, write_series
from tests.writers.imaging import answer_about

Edges = tuple[float, float]
"""From and to along the patient's left, mm."""

_LEFT: Edges = (8.0, 14.0)
_RIGHT: Edges = (-14.0, -8.0)
_SPACING = (2.0, 1.0, 4.0)
_SHAPE = (6, 20, 16)  # slice, row, column
_ORIGIN = (-15.0, -9.5, -4.0)  # the middle lies at 0 along the patient's left


def stored(folder: Path, *, flips: tuple[bool, bool, bool]) -> Study:
    """A CT whose columns, rows and slices run either way through the same places of the patient."""
    origin = np.array(_ORIGIN)
    direction = np.diag([-1.0 if flip else 1.0 for flip in flips])
    lengths = np.array(_SPACING) * (np.array(_SHAPE[::-1]) - 1)
    affine = Affine.from_parts(spacing=_SPACING, direction=direction, origin=origin + lengths * np.array(flips))
    write_series(folder, volume=ramp(*_SHAPE), affine=affine)
    return open_study(folder)


def answer_with(edges: Edges, study: Study) -> Answer:
    """An answer with one box: in the pixels of its slice, and in the patient."""
    (volume,) = study.volumes()
    patient = Box3D(low=(edges[0], -3.0, 2.0), high=(edges[1], 5.0, 6.0))
    voxel = patient.to_voxel(volume.affine)
    (x0, y0, z0), (x1, y1, _) = voxel.low, voxel.high
    box = FoundBox(
        label="nodule", series=volume.series, score=0.5, slice=round(z0), pixel=Box2D(x0=x0, y0=y0, x1=x1, y1=y1),
        patient=patient,
    )  # fmt: skip
    return answer_about(study, boxes=(box,))


def by_annotations(data: bytes, study: Study) -> Edges:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.dcm").write_bytes(data)
        (box,) = read_annotations(Path(folder, "a.dcm"), study=study).boxes
    assert box.patient is not None
    return box.patient.low[0], box.patient.high[0]


def by_nibabel(data: bytes) -> Edges:
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
    columns, *_ = np.nonzero(np.asarray(image.dataobj))
    edges = [image.affine @ (column, 0, 0, 1) for column in (columns.min() - 0.5, columns.max() + 0.5)]
    x0, x1 = sorted(-edge[0] for edge in edges)  # NIfTI counts toward the right
    return x0, x1


def by_fhir(bundle: dict[str, Any]) -> Edges:
    (nodule,) = (one["resource"] for one in bundle["entry"] if one["resource"].get("code", {}).get("text") == "nodule")
    edges = {part["code"]["text"]: part["valueQuantity"]["value"] for part in nodule["component"]}
    return edges["lowest edge toward left (LPS)"], edges["highest edge toward left (LPS)"]


def by_reader(text: str) -> Edges:
    """As `open_study` reads the bundle: each edge is an entry of the record."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.json").write_text(text, encoding="utf-8")
        values = {event.name: event.value for event in open_study(Path(folder, "a.json")).events}
    low, high = values["lowest edge toward left (LPS)"], values["highest edge toward left (LPS)"]
    assert isinstance(low, float)
    assert isinstance(high, float)
    return low, high


def by_json(answer: Answer) -> Edges:
    (box,) = json.loads(json.dumps(answer.to_dict()))["boxes"]
    return box["mm"]["low"][0], box["mm"]["high"][0]


def by_words(text: str) -> Edges:
    (found,) = set(re.findall(r"(-?\d+\.\d) -3\.0 2\.0 to (-?\d+\.\d) 5\.0 6\.0", text.replace("\\", "")))
    return float(found[0]), float(found[1])


_WRITERS: dict[str, Callable[[Answer, Study], Edges]] = {
    "sr": lambda answer, study: by_annotations(write_sr(answer, study=study), study),
    "seg": lambda answer, study: by_annotations(write_segs(answer, study=study)[0], study),
    "gsps": lambda answer, study: by_annotations(write_gsps(answer, study=study)[0], study),
    "nifti": lambda answer, study: by_nibabel(write_label_map(answer, study=study)),
    "fhir": lambda answer, study: by_fhir(fhir_bundle(answer, study=study)),
    "fhir, by the reader": lambda answer, study: by_reader(format_fhir(answer, study=study)),
    "json": lambda answer, study: by_json(answer),
    "text": lambda answer, study: by_words(format_answer(answer)),
    "markdown": lambda answer, study: by_words(format_markdown(answer)),
}
"""Each writes a box and reads it back from what was written."""


@settings(max_examples=8)
@given(flips=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_left_is_left_however_the_images_are_stored(flips: tuple[bool, bool, bool]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        study = stored(Path(folder), flips=flips)
        for edges in (_LEFT, _RIGHT):
            answer = answer_with(edges, study)
            found = {name: writer(answer, study) for name, writer in _WRITERS.items()}
            assert found == {name: pytest.approx(edges, abs=1e-3) for name in _WRITERS}
