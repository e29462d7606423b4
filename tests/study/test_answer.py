from __future__ import annotations

import json

import numpy as np

from osler.study import (
    ANSWER_SCHEMA_VERSION,
    Answer,
    Box2D,
    Box3D,
    Evidence,
    Finding,
    FoundBox,
    LeftOut,
    ModelStamp,
    Progression,
    UsedSeries,
)

STAMP = ModelStamp(name="osler-mini", weights="0123", bits=16, backend="torch", device="cpu", seed=0)


def record_of(**fields) -> dict:
    return json.loads(Answer(text="A lung.", model=STAMP, preprocess="abcd", **fields).to_json())


def test_least_answer_has_no_nulls_and_no_later_fields():
    record = record_of()
    assert record == {
        "schema": ANSWER_SCHEMA_VERSION,
        "task": "ask",
        "text": "A lung.",
        "stopped": "end",
        "evidence": [],
        "used": [],
        "left_out": [],
        "warnings": [],
        "model": {
            "name": "osler-mini", "weights": "0123", "bits": 16, "backend": "torch", "device": "cpu", "seed": 0,
        },
        "preprocess": "abcd",
        "timings": {},
    }  # fmt: skip


def test_box_has_file_pixels_and_patient_mm():
    box = FoundBox(
        label="nodule",
        series="1.2",
        score=0.5,
        slice=7,
        pixel=Box2D(x0=1, y0=2, x1=3, y1=4),
        patient=Box3D(low=(0, 1, 2), high=(3, 4, 5)),
    )
    assert record_of(boxes=(box,))["boxes"] == [
        {
            "label": "nodule",
            "series": "1.2",
            "score": 0.5,
            "slice": 7,
            "pixel": {"x0": 1, "y0": 2, "x1": 3, "y1": 4},
            "mm": {"low": [0, 1, 2], "high": [3, 4, 5]},
        }
    ]


def test_box_of_an_image_without_a_frame_has_no_mm():
    box = FoundBox(label="heart", series="x", score=1.0, pixel=Box2D(x0=0, y0=0, x1=1, y1=1))
    assert set(record_of(boxes=(box,))["boxes"][0]) == {"label", "series", "score", "pixel"}


def test_slice_zero_and_probability_zero_are_kept():
    record = record_of(
        evidence=(Evidence(kind="slice", series="1.2", slice=0, file="a.dcm"),),
        findings=(Finding(name="edema", probability=0.0),),
        progression=(Progression(finding="edema", change="stable", days=0),),
    )
    assert record["evidence"] == [{"kind": "slice", "series": "1.2", "slice": 0, "file": "a.dcm"}]
    assert record["findings"] == [{"name": "edema", "probability": 0.0}]
    assert record["progression"] == [{"finding": "edema", "change": "stable", "days": 0}]


def test_what_was_used_and_left_out_is_said():
    record = record_of(
        used=(UsedSeries(series="1.2", modality="CT", slices=(0, 5), of=9, view="CT windows", tokens=128),),
        left_out=(LeftOut(what="b.txt", why="not an image", count=2),),
        warnings=("Slice 4 is missing.",),
        timings={"read": 0.123456},
        tokens={"prompt": 12},
    )
    assert record["used"] == [
        {"series": "1.2", "modality": "CT", "slices": [0, 5], "of": 9, "view": "CT windows", "tokens": 128}
    ]
    assert record["left_out"] == [{"what": "b.txt", "why": "not an image", "count": 2}]
    assert record["warnings"] == ["Slice 4 is missing."]
    assert record["timings"] == {"read": 0.1235}
    assert record["tokens"] == {"prompt": 12}


def test_text_is_kept_as_it_is():
    text = 'Röntgen: "clear" \n\u2264 5 mm \U0001fac1'
    answer = Answer(text=text, model=STAMP, preprocess="abcd")
    assert json.loads(answer.to_json(indent=None))["text"] == text
    assert "Röntgen" in answer.to_json()


def test_numpy_numbers_become_plain():
    edge = np.float32(0.5)
    found = FoundBox(
        label="a",
        series="s",
        score=edge,
        slice=np.int64(3),
        pixel=Box2D(x0=edge, y0=edge, x1=edge, y1=edge),
        patient=Box3D(low=(edge, edge, edge), high=(edge, edge, edge)),
    )
    used = UsedSeries(series="s", modality="CT", slices=(np.int64(1),))
    record = record_of(boxes=(found,), used=(used,))
    assert record["boxes"][0]["slice"] == 3
    assert record["boxes"][0]["mm"]["low"] == [0.5, 0.5, 0.5]
    assert record["used"][0]["slices"] == [1]
