"""What became of findings between dates: measured, from the record, by the model; refused where it makes no sense."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from osler.engine.session import Session
from osler.errors import PatientMixError, RequestError
from osler.study import ArrayPixels, ClinicalEvent, Image, Study, TimePoint
from osler.tasks.compare import CompareRequest, compare, run_compare
from osler.tasks.heads import HeadChange
from osler.weights import Checkpoint
from osler.writers import load_schema
from tests.tasks.scripted import Scripted
from tests.tasks.volumes import straight


def study(
    *, date: dt.date | None, name: str = "a.png", modality: str = "DX", part: str = "CHEST", patient: str = "one",
    events: tuple[ClinicalEvent, ...] = (),
) -> Study:  # fmt: skip
    pixels = np.random.default_rng(len(name)).integers(0, 255, (50, 60)).astype(np.uint8)
    image = Image(series=name, pixels=ArrayPixels(pixels), modality=modality, body_part=part)
    return Study(timepoints=(TimePoint(series=(image,), date=date),), patient=patient, events=events, source=name)


_NOW, _MIDDLE, _OLD = dt.date(2020, 3, 1), dt.date(2020, 2, 1), dt.date(2020, 1, 1)


def three() -> tuple[Study, list[Study]]:
    return study(date=_NOW), [study(date=_OLD, name="old.png"), study(date=_MIDDLE, name="middle.png")]


@pytest.fixture
def session(checkpoint: Checkpoint) -> Scripted:
    return Scripted(checkpoint, trained={"answers"}, writer=lambda *_: "The chest.")


def drawn(folder: Path, name: str, **widths: float) -> Path:
    boxes = [
        {"label": label.replace("_", " "), "x0": 0, "y0": 0, "x1": width, "y1": 1} for label, width in widths.items()
    ]
    (folder / name).write_text(json.dumps(boxes))
    return folder / name


def test_drawn_boxes_are_followed_over_two_priors(session: Scripted, tmp_path: Path) -> None:
    now, priors = three()
    files = [
        drawn(tmp_path, "now.json", nodule=30, mass=9),
        drawn(tmp_path, "old.json", nodule=20, cyst=5),
        drawn(tmp_path, "middle.json", nodule=29, mass=20),
    ]
    answer = compare(session, now, priors, drawn=files)
    told = [(p.finding, p.change, p.before, p.now, p.days, p.earlier) for p in answer.progression]
    assert told == [
        ("nodule", "worsened", 20, 30, 60, _OLD),
        ("cyst", "resolved", 5, None, 60, _OLD),
        ("mass", "new", None, 9, 60, _OLD),
        ("nodule", "stable", 29, 30, 29, _MIDDLE),
        ("mass", "improved", 20, 9, 29, _MIDDLE),
    ]
    assert all(entry.evidence for entry in answer.statements)
    assert answer.statements[0].text == (
        "nodule: worsened, longest edge 20 -> 30 pixels, 60 days apart (2020-01-01 to 2020-03-01)."
    )
    assert answer.untrained == ("progression",)
    jsonschema.validate(answer.to_dict(), load_schema("answer"))


def crp(value: float, date: dt.date) -> ClinicalEvent:
    return ClinicalEvent(
        kind="observation", name="CRP", code="1988-5", value=value, unit="mg/L", date=date, source="b.json#1"
    )


def test_laboratory_values_near_the_dates_are_compared(session: Scripted) -> None:
    events = (crp(12, dt.date(2020, 1, 2)), crp(50, dt.date(2020, 2, 10)), crp(80, dt.date(2020, 3, 1)))
    now, priors = study(date=_NOW, events=events), three()[1]
    (entry,) = compare(session, now, priors).progression  # on 10 February no image was taken
    assert (entry.finding, entry.change, entry.before, entry.now, entry.unit) == ("CRP", "worsened", 12, 80, "mg/L")
    assert (entry.days, entry.earlier) == (59, dt.date(2020, 1, 2))


def test_what_only_a_model_could_say_is_cannot_tell(session: Scripted) -> None:
    now, priors = three()
    answer = compare(session, now, priors, findings=["pneumonia"])
    assert [(p.finding, p.change, p.days) for p in answer.progression] == [
        ("pneumonia", "cannot tell", 60),
        ("pneumonia", "cannot tell", 29),
    ]
    assert session.asked == []
    assert any("debug is not trained for: progression" in text for text in answer.warnings)


def test_weights_with_change_text_are_asked_as_published(checkpoint: Checkpoint) -> None:
    shown: list[tuple[str, ...]] = []

    def writer(session: Session, two: Study, question: str) -> str:
        shown.append(tuple(series.series for series in two.series()))
        return "The opacity has cleared."

    session = Scripted(checkpoint, trained={"change_text"}, writer=writer)
    now, priors = three()
    answer = compare(session, now, priors, findings=["pneumonia"])
    assert shown == [("old.png", "a.png"), ("middle.png", "a.png")]  # the prior first
    assert session.asked[0].startswith("Provide a comparison of these two images")
    assert [p.finding for p in answer.progression] == ["pneumonia", "pneumonia"]
    assert all(0 < p.probability <= 1 for p in answer.progression)
    assert any("not calibrated" in text for text in answer.warnings)
    assert answer.untrained == ()
    prior, current = answer.statements[0].evidence
    assert (prior.kind, prior.date, current.date) == ("prior", _OLD, _NOW)


def test_a_progression_head_is_used_where_listed(checkpoint: Checkpoint) -> None:
    @dataclasses.dataclass
    class Head:
        findings: frozenset[str] = frozenset({"pneumonia"})

        def changes(self, session: Session, two: Study, *, findings: Sequence[str]) -> Sequence[HeadChange]:
            assert len(two.timepoints) == 2
            return [HeadChange(finding=name, change="improved", probability=0.7) for name in findings]

    session = Scripted(checkpoint, trained={"progression"}, heads={"progression": Head()})
    now, priors = three()
    answer = compare(session, now, priors[:1], findings=["pneumonia", "cardiomegaly"])
    assert [(p.finding, p.change, p.probability) for p in answer.progression] == [
        ("pneumonia", "improved", 0.7),
        ("cardiomegaly", "cannot tell", None),
    ]


def test_what_cannot_be_compared_is_refused(session: Scripted) -> None:
    now, priors = three()
    with pytest.raises(RequestError, match="nothing to compare with"):
        compare(session, now, [])
    with pytest.raises(PatientMixError, match="different patients"):
        compare(session, now, [study(date=_OLD, patient="two")])
    with pytest.raises(RequestError, match="A prior of 2020-03-01 is later than the study of 2020-01-01"):
        compare(session, study(date=_OLD), [study(date=_NOW)])
    with pytest.raises(RequestError, match="today shows the chest, a prior the knee"):
        compare(session, now, [study(date=_OLD, modality="MR", part="KNEE")])
    with pytest.raises(RequestError, match=r"today is X-ray, a prior MR, and the files do not say"):
        compare(session, now, [study(date=_OLD, modality="MR", part="")])
    with pytest.raises(RequestError, match="1 files of boxes for 3 studies"):
        compare(session, now, priors, drawn=["a.json"])
    with pytest.raises(RequestError, match="2 dates for 3 studies"):
        compare(session, now, priors, dates=[_NOW, _OLD])
    with pytest.raises(RequestError, match="give another date than 2020-02-01"):
        compare(session, now, priors[:1], dates=[_MIDDLE, _OLD])


def test_what_is_doubtful_is_said(session: Scripted) -> None:
    now = study(date=_NOW)
    same_day = [study(date=_OLD, name="b.png"), study(date=_OLD, name="c.png")]
    assert "Two priors are of 2020-01-01" in " ".join(compare(session, now, same_day).warnings)
    assert "A prior is of the same day" in " ".join(compare(session, now, [study(date=_NOW, name="b.png")]).warnings)
    undated = compare(session, now, [study(date=None, name="b.png", patient="")], findings=["pneumonia"])
    assert "A study has no date" in " ".join(undated.warnings)
    assert "Not every file names its patient" in " ".join(undated.warnings)
    assert undated.progression[0].days is None
    mixed = Study(timepoints=(TimePoint(series=(dataclasses.replace(straight(), body_part="CHEST"),), date=_OLD),))
    assert "today is X-ray, a prior CT: sizes may differ" in " ".join(compare(session, now, [mixed]).warnings)


def test_where_files_name_no_region_the_model_is_asked(checkpoint: Checkpoint) -> None:
    def writer(session: Session, seen: Study, question: str) -> str:
        return "The knee." if seen.source == "old.png" else "The chest."

    session = Scripted(checkpoint, trained={"answers"}, writer=writer)
    answer = compare(session, study(date=_NOW, part=""), [study(date=_OLD, name="old.png", part="")])
    assert "debug sees the chest in the study of today and the knee in a prior: do they belong together?" in (
        answer.warnings
    )


def test_dates_may_come_from_the_user(session: Scripted) -> None:
    answer = compare(
        session,
        study(date=None),
        [study(date=None, name="b.png")],
        dates=[_NOW, _OLD],
        findings=["pneumonia"],
    )
    assert answer.progression[0].days == 60


def test_sizes_are_the_same_for_mirrored_studies(session: Scripted, tmp_path: Path) -> None:
    now, priors = three()
    told = []
    for mirror in (False, True):
        files = []
        for name, width in (("now.json", 30), ("old.json", 20)):
            x0, x1 = (60 - 5 - width, 60 - 5) if mirror else (5, 5 + width)
            (tmp_path / name).write_text(json.dumps([{"label": "left nodule", "x0": x0, "y0": 0, "x1": x1, "y1": 9}]))
            files.append(tmp_path / name)
        told.append(compare(session, now, priors[:1], drawn=files).progression)
    assert told[0] == told[1]


def test_requests_at_fault_are_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Unknown finding 'gout'"):
        run_compare(CompareRequest(now=tmp_path / "absent", priors=(tmp_path / "b",), findings=("gout",)))
    with pytest.raises(RequestError, match="nothing to compare with"):
        run_compare(CompareRequest(now=tmp_path / "absent", priors=()))
