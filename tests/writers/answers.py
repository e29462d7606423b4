"""Answers for the tests of the writers: one with everything, one with the least."""

from __future__ import annotations

import datetime as dt

from osler.study import (
    Answer,
    Box2D,
    Box3D,
    ClinicalEvent,
    Evidence,
    Finding,
    FoundBox,
    LeftOut,
    Match,
    ModelStamp,
    Progression,
    ReferenceRange,
    Statement,
    Step,
    UsedSeries,
)

STAMP = ModelStamp(name="osler-mini", weights="0123456789abcdef", bits=16, backend="torch", device="cpu")


def least_answer() -> Answer:
    """What a question without an image gives."""
    return Answer(text="Hounsfield units measure density.", model=STAMP, preprocess="a" * 64)


def full_answer() -> Answer:
    """Every field that any task may fill."""
    crp = ClinicalEvent(
        kind="observation",
        name="C reactive protein",
        date=dt.date(2021, 9, 5),
        code="1988-5",
        system="LOINC",
        value=12.0,
        unit="mg/L",
        reference=ReferenceRange(high=5.0),
        source="record.json#3",
    )
    return Answer(
        task="report",
        text="A nodule in the left lung.",
        stopped="max_tokens",
        model=ModelStamp(name="osler-mini", weights="0123456789abcdef", bits=4, backend="jax", device="cuda:0", seed=7),
        preprocess="b" * 64,
        boxes=_boxes(),
        findings=(Finding(name="effusion", probability=0.25, code="RID34539"), Finding(name="edema", probability=None)),
        progression=(
            Progression(
                finding="nodule",
                change="worsened",
                days=90,
                probability=0.5,
                measure="longest diameter",
                before=8.0,
                now=12.5,
                unit="mm",
                earlier=dt.date(2021, 6, 7),
                later=dt.date(2021, 9, 5),
            ),
        ),
        evidence=(
            Evidence(
                kind="slice", series="1.2.3", slice=0, file="ct/1.dcm", sop_uid="1.2.3.4", frame=3, note="interpolated"
            ),
            Evidence(kind="event", note="CRP", date=dt.date(2021, 9, 5), code="1988-5", value=12.0, unit="mg/L"),
            Evidence(
                kind="box",
                series="1.2.3",
                slice=0,
                pixel=Box2D(x0=1, y0=2, x1=3, y1=4.5),
                patient=Box3D(low=(-1.0, -2.0, -3.0), high=(1.0, 2.0, 3.0)),
            ),
        ),
        untrained=("findings",),
        statements=(
            Statement(
                section="findings", text="A nodule.", evidence=(Evidence(kind="slice", series="1.2.3", slice=0),)
            ),
            Statement(section="impression", text="Likely benign."),
        ),
        steps=(Step(tool="search_events", arguments={"code": "1988-5"}, result="1 event"),),
        observations=(crp,),
        matches=(Match(study="ct/7", score=0.5, series="1.2.3", slice=4, text="a nodule"),),
        used=(
            UsedSeries(
                series="1.2.3",
                modality="CT",
                description="thorax",
                slices=(0, 2, 4, 6, 7),
                of=64,
                view="CT windows",
                tokens=320,
            ),
            UsedSeries(series="cxr.png", modality="", tokens=64),
        ),
        left_out=(LeftOut(what="scout.dcm", why="a localizer", count=2),),
        warnings=("Three slices are missing.",),
        tokens={"prompt": 400, "answer": 12},
        timings={"read": 0.25, "answer": 1.5},
    )


def _boxes() -> tuple[FoundBox, ...]:
    return (
        FoundBox(
            label="nodule",
            series="1.2.3",
            score=0.75,
            slice=0,
            pixel=Box2D(x0=1, y0=2, x1=3, y1=4.5),
            patient=Box3D(low=(-1.0, -2.0, -3.0), high=(1.0, 2.0, 3.0)),
        ),
        FoundBox(label="heart", series="cxr.png", score=1.0, pixel=Box2D(x0=0, y0=0, x1=9, y1=9)),
    )
