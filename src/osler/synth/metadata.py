"""Anonymous imaging metadata of each report: a DICOM-like header as JSON, without names or dates.

Keys are DICOM keywords; ``StudyDay`` (days since the patient's first exam) stands for the
date, ``ManufacturerModelName`` names no vendor, and UIDs are drawn under 2.25.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from osler.errors import FileFormatError
from osler.synth.fact_table import ACQUISITION_WORDS, FactTable
from osler.synth.facts import Acquisition
from osler.synth.ontology import load_ontology

METADATA_SCHEMA = "1.0"
_WHOLE = {
    "kvp": "KVP",
    "mas": "Exposure",
    "flip_deg": "FlipAngle",
    "magnification": "ObjectiveLensPower",
}
_REAL = {
    "slice_mm": "SliceThickness",
    "spacing_mm": "SpacingBetweenSlices",
    "field_t": "MagneticFieldStrength",
    "te_ms": "EchoTime",
    "tr_ms": "RepetitionTime",
    "ti_ms": "InversionTime",
}
_WORD = {
    "kernel": "ConvolutionKernel",
    "contrast": "ContrastBolusAgent",
    "sequence": "SequenceName",
    "view": "ViewPosition",
    "stain": "SpecimenStain",
}
_ALWAYS = {"rows": "Rows", "columns": "Columns", "slices": "ImagesInAcquisition"}


def metadata_json(table: FactTable) -> pa.StringArray:
    """Writes the metadata of every exam of a table as JSON objects."""
    e = table.exams
    number = table.patients.number[e.patient]
    pixel = _text(e.pixel_mm)
    pieces: list[Any] = [
        _protocols().take(pa.array(e.protocol)),
        _device_words().take(pa.array(e.device)),
    ]
    for column, keyword in _ALWAYS.items():
        pieces += [f',"{keyword}":', _text(getattr(e, column))]
    pieces += [',"PixelSpacing":[', pixel, ",", pixel, "]"]
    for column, keyword in _REAL.items():
        values = getattr(e, column)
        pieces.append(_keyed(keyword, values=values, there=~np.isnan(values)))
    for column, keyword in _WHOLE.items():
        values = getattr(e, column)
        pieces.append(_keyed(keyword, values=values, there=values != 0))
    pieces += [_words(keyword).take(pa.array(getattr(e, column))) for column, keyword in _WORD.items()]
    pieces += [
        _ages().take(pa.array(e.sex.astype(np.int32) * _AGES + e.age)),
        f',"PatientID":"OSLER-{table.seed}-',
        _text(number),
        '","StudyDay":',
        _text(e.day),
        ',"StudyInstanceUID":"2.25.',
        _text(e.study_uid),
        '","SeriesInstanceUID":"2.25.',
        _text(e.series_uid),
        '"}',
    ]
    return pc.binary_join_element_wise(*pieces, "", null_handling="skip")


def read_acquisition(metadata: str) -> Acquisition:
    """Reads the acquisition of a metadata object.

    Raises:
        FileFormatError: If it is of another version.
    """
    row = json.loads(metadata)
    if row["schema"] != METADATA_SCHEMA:
        raise FileFormatError(
            f"Metadata of version {row['schema']!r}.",
            allowed=f"This Osler reads version {METADATA_SCHEMA}.",
            next_step="Use the version of Osler that wrote them.",
        )
    optional = {field: float(row[keyword]) if keyword in row else None for field, keyword in _REAL.items()}
    optional |= {field: row.get(keyword) for field, keyword in (_WHOLE | _WORD).items()}
    return Acquisition(
        device=row["ManufacturerModelName"],
        pixel_mm=float(row["PixelSpacing"][0]),
        study_uid=row["StudyInstanceUID"],
        series_uid=row["SeriesInstanceUID"],
        **{field: row[keyword] for field, keyword in _ALWAYS.items()},
        **optional,
    )


def _text(values: np.ndarray) -> pa.StringArray:
    return pc.cast(pa.array(values), pa.string())


def _keyed(keyword: str, *, values: np.ndarray, there: np.ndarray) -> pa.StringArray | str:
    """``,"keyword":value``, null where it is unset."""
    if not there.any():
        return ""
    texts = pc.cast(pa.array(values, mask=~there), pa.string())
    return pc.binary_join_element_wise(f',"{keyword}":', texts, "")


@cache
def _protocols() -> pa.StringArray:
    return pa.array(
        f'{{"schema":"{METADATA_SCHEMA}","Modality":"{entry.modality}","ProtocolName":"{entry.key}"'
        f',"BodyPartExamined":"{entry.body_part}"'
        for entry in load_ontology().protocols
    )


@cache
def _device_words() -> pa.StringArray:
    return pa.array(f',"ManufacturerModelName":"{word}"' for word in ACQUISITION_WORDS)


@cache
def _words(keyword: str) -> pa.StringArray:
    return pa.array(f',"{keyword}":"{word}"' if word else "" for word in ACQUISITION_WORDS)


_AGES = 130


@cache
def _ages() -> pa.StringArray:
    from osler.synth.fact_table import SEXES

    return pa.array(
        f',"PatientSex":"{sex[0].upper()}","PatientAge":"{age:03d}Y"' for sex in SEXES for age in range(_AGES)
    )
