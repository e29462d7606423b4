"""Left stays left in every task on images, however they are stored; a mirrored patient gives the mirrored answer.

The words and heads here say on which side the bright block is shown, as
perfect weights would: what is tested is everything between the file and them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.engine.session import Session
from osler.prepare import PreparedImages
from osler.study import Study, TimePoint, Volume
from osler.tasks.chat import Chat
from osler.tasks.compare import compare
from osler.tasks.findings import findings
from osler.tasks.heads import HeadChange
from osler.tasks.locate import locate
from osler.tasks.report import report
from osler.weights import Checkpoint
from tests.tasks.scripted import Scripted, SilentHead
from tests.tasks.test_locate import looking
from tests.tasks.volumes import mirrored, restored, straight

_FINDING = "pleural effusion"
_MIDDLE = straight().affine.apply(np.array([[(straight().shape[2] - 1) / 2, 0, 0]]))[0, 0]


def side_shown(prepared: PreparedImages) -> str:
    """The patient's side on which the block is seen: his right is on the left of the picture."""
    bright = (prepared.pixels.rgb.max(axis=3) > 250).sum(axis=(0, 1))
    half = len(bright) // 2
    return "right" if bright[:half].sum() > bright[half:].sum() else "left"


def says_side(session: Session, study: Study, question: str) -> str:
    return f"A mass in the {side_shown(session.prepare(study))} lung."


@dataclasses.dataclass
class SideHead(SilentHead):
    """Sure of its finding where the block is on the left, sure of the contrary on the right."""

    findings: frozenset[str] = frozenset({_FINDING})

    def probabilities(self, session: Session, study: Study, *, findings: Sequence[str]) -> Mapping[str, float | None]:
        return {_FINDING: 0.9 if side_shown(session.prepare(study)) == "left" else 0.1}

    def changes(self, session: Session, study: Study, *, findings: Sequence[str]) -> Sequence[HeadChange]:
        now = Study(timepoints=study.timepoints[-1:])
        change = "worsened" if side_shown(session.prepare(now)) == "left" else "improved"
        return [HeadChange(finding=_FINDING, change=change, probability=0.9)]


def by_box(session: Session, study: Study) -> str:
    (box,) = locate(session, study, ["bright block"]).boxes
    return "left" if box.patient.low[0] > _MIDDLE else "right" if box.patient.high[0] < _MIDDLE else "middle"


def by_finding(session: Session, study: Study) -> str:
    (found,) = findings(session, study, names=[_FINDING]).findings
    return "left" if found.probability > 0.5 else "right"


def by_change(session: Session, study: Study) -> str:
    earlier = dataclasses.replace(study, timepoints=(TimePoint(series=(chest(straight()),), date=dt.date(2023, 1, 1)),))
    (entry,) = compare(session, study, [earlier], findings=[_FINDING]).progression
    return "left" if entry.change == "worsened" else "right"


def by_word(text: str) -> str:
    return "left" if "left" in text else "right"


_TASKS: dict[str, Callable[[Scripted, Study], str]] = {
    "ask": lambda session, study: by_word(session.ask(study, "Where is the mass?").text),
    "chat": lambda session, study: by_word(Chat(session=session, study=study).ask("Where is the mass?")[0].text),
    "report": lambda session, study: by_word(report(session, study).statements[0].text),
    "locate": lambda session, study: by_box(session, study),
    "findings and triage": lambda session, study: by_finding(session, study),
    "compare": lambda session, study: by_change(session, study),
    "search": lambda session, study: side_shown(session.prepare(study)),
}
_TRAINED = ("reports", "box_text", "findings", "progression")


def chest(volume: Volume) -> Volume:
    return dataclasses.replace(volume, body_part="CHEST")


@pytest.mark.parametrize("task", _TASKS)
@settings(max_examples=4)
@given(flips=st.tuples(st.booleans(), st.booleans(), st.booleans()), swapped=st.booleans(), mirror=st.booleans())
def test_the_side_is_that_of_the_patient(
    checkpoint: Checkpoint, task: str, flips: tuple[bool, bool, bool], swapped: bool, mirror: bool
) -> None:
    heads = {"findings": SideHead(), "progression": SideHead()}
    session = Scripted(checkpoint, writer=looking if task == "locate" else says_side, trained=_TRAINED, heads=heads)
    patient = mirrored(straight()) if mirror else straight()
    volume = chest(restored(patient, flips=flips, swapped=swapped))
    study = Study(timepoints=(TimePoint(series=(volume,), date=dt.date(2024, 1, 1)),), patient="one")
    assert _TASKS[task](session, study) == ("left" if mirror else "right")
