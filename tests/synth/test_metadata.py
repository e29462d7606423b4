"""Imaging metadata: plausible keys, nothing that identifies."""

from __future__ import annotations

import json
import re

import numpy as np

from osler.synth.draw import draw_facts
from osler.synth.metadata import metadata_json

_ALWAYS = {
    "schema", "Modality", "ProtocolName", "BodyPartExamined", "ManufacturerModelName", "Rows", "Columns",
    "ImagesInAcquisition", "PixelSpacing", "PatientSex", "PatientAge", "PatientID", "StudyDay",
    "StudyInstanceUID", "SeriesInstanceUID",
}  # fmt: skip
_BY_MODALITY = {
    "CT": {"KVP", "Exposure", "ConvolutionKernel", "SliceThickness", "SpacingBetweenSlices"},
    "MR": {"MagneticFieldStrength", "EchoTime", "RepetitionTime", "SequenceName", "SliceThickness"},
    "DX": {"KVP", "Exposure", "ViewPosition"},
    "SM": {"ObjectiveLensPower", "SpecimenStain"},
}


def rows() -> list[dict[str, object]]:
    return [json.loads(text) for text in metadata_json(draw_facts(seed=5, patients=np.arange(400))).to_pylist()]


def test_each_modality_has_its_keys_and_not_the_others() -> None:
    seen = set()
    for row in rows():
        modality = str(row["Modality"])
        seen.add(modality)
        assert set(row) >= _ALWAYS | _BY_MODALITY[modality]
        strange = {key for other, keys in _BY_MODALITY.items() if other != modality for key in keys}
        assert not set(row) & (strange - _BY_MODALITY[modality] - {"SliceThickness", "SpacingBetweenSlices"})
    assert seen == set(_BY_MODALITY)


def test_nothing_identifies() -> None:
    uids = set()
    for row in rows():
        for key in ("StudyInstanceUID", "SeriesInstanceUID"):
            uid = str(row[key])
            assert re.fullmatch(r"2\.25\.(?:0|[1-9]\d{0,38})", uid)
            uids.add(uid)
        assert re.fullmatch(r"OSLER-5-\d+", str(row["PatientID"]))
        assert re.fullmatch(r"\d{3}Y", str(row["PatientAge"]))
        assert not {"PatientName", "StudyDate", "InstitutionName", "Manufacturer"} & set(row)
    assert len(uids) == 2 * len(rows())
