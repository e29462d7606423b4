"""Probabilities by a head, by answers (marked uncalibrated), or "cannot tell"."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from osler.engine.session import Session
from osler.errors import RequestError
from osler.study import ArrayPixels, Image, Study, TimePoint
from osler.tasks.findings import FindingsRequest, findings, run_findings
from osler.weights import Checkpoint
from osler.writers import format_answer, load_schema
from tests.tasks.scripted import Scripted, SilentHead
from tests.tasks.volumes import straight, study_of


def chest(*, body_part: str = "CHEST", modality: str = "DX") -> Study:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30)).astype(np.uint8)
    image = Image(series="x", pixels=ArrayPixels(pixels), modality=modality, body_part=body_part)
    return Study(timepoints=(TimePoint(series=(image,)),))


def test_without_a_head_every_finding_is_cannot_tell(checkpoint: Checkpoint) -> None:
    session = Scripted(checkpoint, trained={"answers"})
    answer = findings(session, chest())
    names = {entry.name for entry in answer.findings}
    assert {"pneumothorax", "cardiomegaly"} <= names
    assert "medial meniscal tear" not in names  # all that fit the modality and the region, no more
    assert all(entry.probability is None for entry in answer.findings)
    assert answer.untrained == ("findings",)
    assert session.asked == []
    record = answer.to_dict()
    jsonschema.validate(record, load_schema("answer"))
    assert all("probability" not in entry for entry in record["findings"])
    assert "cannot tell: " in format_answer(answer)


def test_answers_are_asked_for_only_on_wish_and_marked_uncalibrated(checkpoint: Checkpoint) -> None:
    session = Scripted(checkpoint, trained={"answers"})
    answer = findings(session, chest(), names=["pneumothorax", "cardiomegaly"], source="answers")
    assert [entry.name for entry in answer.findings] == ["pneumothorax", "cardiomegaly"]
    assert all(0 < entry.probability < 1 for entry in answer.findings)
    assert answer.untrained == ("findings",)
    assert any("not calibrated" in text for text in answer.warnings)
    # The shares are those of plain scores of yes and no.
    scoring = session.score(chest(), "Is there pneumothorax in this study? Answer with yes or no.", ["Yes", "No"])
    assert answer.findings[0].probability == pytest.approx(scoring.shares()[0], abs=1e-4)
    assert answer.findings[0].code == "36118008"


def test_what_the_study_cannot_show_is_cannot_tell(checkpoint: Checkpoint) -> None:
    session = Scripted(checkpoint, trained={"answers"})
    answer = findings(session, chest(), names=["medial meniscal tear", "pneumothorax"], source="answers")
    knee, lung = answer.findings
    assert knee.probability is None
    assert lung.probability is not None
    assert "medial meniscal tear is not read from DX: cannot tell." in answer.warnings
    assert "The question speaks of the knee, but the data shows the chest." in answer.warnings


def test_where_files_name_no_region_the_model_is_asked_once(checkpoint: Checkpoint) -> None:
    session = Scripted(checkpoint, trained={"answers"}, writer=lambda *_: "The body region is the knee.")
    answer = findings(session, chest(body_part="", modality=""), names=["pneumothorax", "pleural effusion"])
    assert session.asked == ["What part of the body is shown?"]
    assert "The question speaks of the lungs, but the image, as debug sees it, shows the knee." in answer.warnings


@dataclasses.dataclass
class HeadOfATest(SilentHead):
    """A findings head, as the protocol has it."""

    calibrated: bool = True
    findings: frozenset[str] = frozenset({"pneumothorax", "cardiomegaly"})

    def probabilities(self, session: Session, study: Study, *, findings: Sequence[str]) -> Mapping[str, float | None]:
        assert set(findings) <= self.findings
        return {"pneumothorax": 0.9, "cardiomegaly": None}


def test_a_head_gives_all_in_one_pass_and_may_abstain(checkpoint: Checkpoint) -> None:
    session = Scripted(checkpoint, trained={"findings"}, heads={"findings": HeadOfATest()})
    answer = findings(session, chest(), names=["cardiomegaly", "pneumothorax", "atelectasis"])
    assert [(entry.name, entry.probability) for entry in answer.findings] == [
        ("cardiomegaly", None),
        ("pneumothorax", 0.9),
        ("atelectasis", None),
    ]
    assert answer.untrained == ()
    assert "The findings head was not trained on 1 of 3: cannot tell." in answer.warnings
    assert not any("not calibrated" in text for text in answer.warnings)
    rough = Scripted(checkpoint, trained={"findings"}, heads={"findings": HeadOfATest(calibrated=False)})
    assert any("not calibrated" in text for text in findings(rough, chest(), names=["pneumothorax"]).warnings)


def test_a_volume_takes_the_findings_of_its_modality(checkpoint: Checkpoint) -> None:
    answer = findings(Scripted(checkpoint), study_of(straight()))
    names = {entry.name for entry in answer.findings}
    assert {"pulmonary nodule", "nephrolithiasis", "subdural hematoma"} & names
    assert "medial meniscal tear" not in names  # MR alone


def test_requests_at_fault_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="Unknown finding 'gout'"):
        run_findings(FindingsRequest(path=tmp_path / "absent", findings=("gout",)))
    with pytest.raises(RequestError, match="Unknown source 'guess'"):
        run_findings(FindingsRequest(path=tmp_path / "absent", source="guess"))  # type: ignore[arg-type]
