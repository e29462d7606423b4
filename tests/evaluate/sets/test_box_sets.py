"""Boxes are compared in the file's pixels and in patient mm, on the right side, with baselines beside them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from osler.engine.session import Session
from osler.evaluate.responder import OslerResponder
from osler.evaluate.rows import MODEL, measured
from osler.evaluate.runner import SetResult, run_set
from osler.evaluate.sets.lung_boxes import LungBoxes, lungs_of
from osler.evaluate.sets.types import Setting
from osler.evaluate.sets.volume_boxes import VOLUME_BOX_SETS, Boxed, VolumeBoxes, hippocampi
from osler.evaluate.worst import draw_worst, worst_rows
from osler.study import Box2D, Box3D, Study, TimePoint
from osler.tasks.heads import HeadBox
from osler.tasks.locate import locate
from osler.train.pictures import split_of
from osler.weights import Checkpoint
from tests.engine.conftest import checkpoint, config, model, tokenizer
from tests.evaluate.sets.folders import write_hippocampi, write_lungs
from tests.shared_data import SHARED_DATA, needs_shared_data
from tests.tasks.scripted import Scripted

__all__ = ["checkpoint", "config", "model", "tokenizer"]
HIPPOCAMPUS, _, LESIONS = VOLUME_BOX_SETS


class Threshold:
    """A box head that finds what is bright: right of the picture's middle is the patient's left."""

    labels: frozenset[str] = frozenset()
    scope: str = ""
    taught: frozenset[str] = frozenset()

    def scope_of(self, labels: Sequence[str]) -> str:
        return "" if self.taught & set(labels) else self.scope

    def __init__(self, *, mirrored: bool = False) -> None:
        self.mirrored = mirrored

    def everywhere(self) -> Threshold:
        other = Threshold(mirrored=self.mirrored)
        other.scope = self.scope
        return other

    def locate(self, session: Session, study: Study, *, labels: Sequence[str]) -> list[HeadBox]:
        prepared = session.prepare(study)
        found = []
        for label in labels:
            if study.volumes():
                volume = study.volumes()[0]
                bright = np.argwhere(volume.read() > 500)[:, ::-1]
                if len(bright):
                    low, high = (tuple(map(float, edge)) for edge in (bright.min(0), bright.max(0) + 1))
                    box = Box3D(low=low, high=high, frame="voxel").to_patient(volume.affine)
                    found.append(HeadBox(label=label, series=volume.series, score=0.9, patient=box))
                continue
            bright = prepared.pixels.rgb[0].max(axis=2) > 200
            middle = bright.shape[1] // 2
            half = np.arange(bright.shape[1]) < middle
            wanted = half if (label == "right lung") != self.mirrored else ~half
            rows, columns = np.nonzero(bright & wanted)
            if 0 < len(rows) < bright.size / 2:
                box = Box2D(x0=columns.min(), y0=rows.min(), x1=columns.max() + 1, y1=rows.max() + 1)
                series = next(iter(study.series())).series
                found.append(HeadBox(label=label, series=series, score=0.9, image=0, box=box))
        return found


def evaluated(checkpoint: Checkpoint, one: object, root: Path, head: Threshold, **options: object) -> SetResult:
    session = Scripted(checkpoint, trained={"boxes"}, heads={"boxes": head})
    setting = Setting(root=root, responder=OslerResponder(session), **options)  # type: ignore[arg-type]
    return run_set(one, setting)  # type: ignore[arg-type]


def values(result: SetResult, one: object) -> dict[str, float]:
    (found,) = [
        entry
        for entry in measured(result.rows, one.measures, draws=50)  # type: ignore[attr-defined]
        if (entry.measure, entry.group, entry.part) == ("mean IoU", "all", "")
    ]
    return {system: estimate.value for system, estimate in found.systems.items()}


def test_lungs_are_found_on_their_side(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_lungs(tmp_path, count=8)
    good = evaluated(checkpoint, LungBoxes(), tmp_path, Threshold(), split="all")
    assert good.failed == []
    assert len(good.rows) == 16
    scores = values(good, LungBoxes())
    assert scores[MODEL] > 0.85  # 64 px are shown as 32
    assert scores["blanked"] == 0.0
    assert 0.6 < scores["mean box"] < 1.0
    swapped = evaluated(checkpoint, LungBoxes(), tmp_path, Threshold(mirrored=True), split="all")
    assert values(swapped, LungBoxes())[MODEL] < 0.05


def test_only_held_out_patients_are_asked_and_only_others_make_the_mean(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_lungs(tmp_path, count=24)
    result = evaluated(checkpoint, LungBoxes(), tmp_path, Threshold())
    kept = {f"lung-boxes:p{n}" for n in range(24) if split_of("lung-boxes", patient=f"p{n}") == "held-out"}
    assert {row.patient for row in result.rows} == kept
    assert 0 < len(kept) < 12


def test_a_broken_picture_is_counted(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_lungs(tmp_path, count=3)
    (tmp_path / "cxr" / "lung-boxes" / "images" / "1.png").write_bytes(b"no picture")
    result = evaluated(checkpoint, LungBoxes(), tmp_path, Threshold(), split="all")
    assert [entry.case for entry in result.failed] == ["lung-boxes/1.png"]
    assert len(result.rows) == 4
    assert values(result, LungBoxes())["mean box"] > 0.6  # boxes of the broken one have no fractions to average


@pytest.mark.parametrize("edge", ["8 px", "", "nan", "99"])
def test_a_damaged_row_of_boxes_costs_one_picture(checkpoint: Checkpoint, tmp_path: Path, edge: str) -> None:
    write_lungs(tmp_path, count=3)
    table = tmp_path / "cxr" / "lung-boxes" / "boxes.csv"
    text = table.read_text()
    assert text.count("1.png,p1,PA,right lung,9,") == 1
    table.write_text(text.replace("1.png,p1,PA,right lung,9,", f"1.png,p1,PA,right lung,{edge},"))
    result = evaluated(checkpoint, LungBoxes(), tmp_path, Threshold(), split="all")
    (failed,) = result.failed
    assert failed.case == "lung-boxes/1.png"
    assert f"The box of right lung on 1.png has the edges {edge or 'nothing'}, " in failed.why
    assert "boxes.csv" in failed.why
    assert len(result.rows) == 4


def test_hippocampi_are_compared_in_millimeters_however_they_are_stored(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_hippocampi(tmp_path, count=4)
    result = evaluated(checkpoint, HIPPOCAMPUS, tmp_path, Threshold(), split="all")
    assert result.failed == []
    scores = values(result, HIPPOCAMPUS)
    assert scores[MODEL] == pytest.approx(1.0)
    assert scores["blanked"] == 0.0
    assert scores["mean box"] == pytest.approx(1.0)  # all blocks lie in the same place of their crop


def test_a_head_that_is_not_offered_for_volumes_is_said(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_hippocampi(tmp_path, count=2)
    head = Threshold()
    assert not any("NOT TRAINED" in note for note in evaluated(checkpoint, HIPPOCAMPUS, tmp_path, head).notes)
    head.scope = "frontal X-rays"
    (told,) = [n for n in evaluated(checkpoint, HIPPOCAMPUS, tmp_path, head).notes if n.startswith("NOT TRAINED")]
    assert "frontal X-rays only" in told
    assert told.endswith(": hippocampus.")


def test_labels_that_a_user_taught_are_offered_for_volumes(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_hippocampi(tmp_path, count=2)
    head = Threshold()
    head.scope, head.taught = "frontal X-rays", frozenset({"hippocampus"})
    assert not any("NOT TRAINED" in note for note in evaluated(checkpoint, HIPPOCAMPUS, tmp_path, head).notes)
    session = Scripted(checkpoint, trained={"boxes"}, heads={"boxes": head})
    head.taught = frozenset({"tumor"})
    setting = Setting(root=tmp_path, responder=OslerResponder(session))
    (told,) = [note for note in LESIONS.plan(setting).notes if note.startswith("NOT TRAINED")]
    assert told.endswith(": nodule.")  # and the tumor is none of them
    head.labels = frozenset({"tumor"})
    session = Scripted(checkpoint, trained={"boxes", "box_text"}, heads={"boxes": head})
    setting = Setting(root=tmp_path, responder=OslerResponder(session))
    assert not any("NOT TRAINED" in note for note in LESIONS.plan(setting).notes)  # the decoder writes the nodule's


def test_a_head_that_is_asked_untrained_draws_what_the_decoder_would_be_asked_for(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    write_hippocampi(tmp_path, count=2)
    head = Threshold()
    head.scope, head.labels = "frontal X-rays", frozenset({"right lung"})
    session = Scripted(checkpoint, trained={"boxes"}, heads={"boxes": head})
    responder = OslerResponder(session, untrained="ask")
    result = run_set(HIPPOCAMPUS, Setting(root=tmp_path, responder=responder, split="all", untrained="ask"))
    assert result.failed == []
    assert values(result, HIPPOCAMPUS)[MODEL] == pytest.approx(1.0)
    assert session.asked == []  # nor is each slice asked about twice in words
    (told,) = [note for note in result.notes if note.startswith("NOT TRAINED")]
    assert "frontal X-rays only" in told
    assert told.endswith("they were asked for all the same: hippocampus.")
    assert head.labels  # the head itself stays as it was


def test_a_decoder_that_was_taught_boxes_is_asked_as_before(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_hippocampi(tmp_path, count=2)
    head = Threshold()
    head.labels = frozenset({"right lung"})
    asked = {}
    for untrained in ("list", "ask"):
        session = Scripted(checkpoint, trained={"boxes", "box_text"}, heads={"boxes": head})
        responder = OslerResponder(session, untrained=untrained)  # type: ignore[arg-type]
        setting = Setting(root=tmp_path, responder=responder, split="all", untrained=untrained)  # type: ignore[arg-type]
        result = run_set(HIPPOCAMPUS, setting)
        assert not any("all the same" in note for note in result.notes)
        asked[untrained] = len(session.asked)
    assert asked["ask"] == asked["list"] > 0


def test_the_decoder_is_not_asked_which_region_a_volume_shows(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_hippocampi(tmp_path, count=2)
    (crop, *_), _ = hippocampi(tmp_path)
    named, truth = crop.open()
    unnamed = dataclasses.replace(named.volumes()[0], series="scan", description="", body_part="")
    study = Study(timepoints=(TimePoint(series=(unnamed,)),))
    boxed = Boxed(open=lambda: (study, {"liver": truth["hippocampus"]}), source="torso", patient="p")
    livers = VolumeBoxes("livers", title="Livers", labels=("liver",), find=lambda root: ([boxed], ""))
    session = Scripted(checkpoint, trained={"boxes", "answers"}, heads={"boxes": Threshold()})
    result = run_set(livers, Setting(root=tmp_path, responder=OslerResponder(session), split="all"))
    assert values(result, livers)[MODEL] == pytest.approx(1.0)
    assert session.asked == []  # the answer would be a warning, which no row keeps
    locate(session, study, ["liver"])
    assert len(session.asked) == 1  # people are warned


def test_the_worst_are_drawn(checkpoint: Checkpoint, tmp_path: Path) -> None:
    write_lungs(tmp_path, count=3)
    write_hippocampi(tmp_path, count=2)
    lungs = LungBoxes()
    result = evaluated(checkpoint, lungs, tmp_path, Threshold(mirrored=True), split="all")
    worst = worst_rows(result.rows, measure=lungs.measures[0])
    assert len(worst) == 3  # one a case
    drawn = draw_worst(lungs, worst)
    assert drawn is not None
    assert drawn.startswith(b"\x89PNG")
    result = evaluated(checkpoint, HIPPOCAMPUS, tmp_path, Threshold(), split="all")
    assert HIPPOCAMPUS.gray(result.rows[0]).shape == (24, 20)
    assert worst_rows(result.rows, measure=HIPPOCAMPUS.measures[0]) == []


@needs_shared_data
def test_real_masks_give_the_right_lung_on_the_left_of_the_picture() -> None:
    assert SHARED_DATA is not None
    mask = next(iter(sorted((SHARED_DATA / "cxr" / "montgomery" / "lung_masks").glob("*.png"))))
    boxes = lungs_of(mask, size=(512, 512))
    assert set(boxes) == {"right lung", "left lung"}
    assert boxes["right lung"].x1 <= 256 <= boxes["left lung"].x0


@needs_shared_data
def test_real_organs_and_the_nodule_lie_where_they_should() -> None:
    assert SHARED_DATA is not None
    organs = next(one for one in VOLUME_BOX_SETS if one.name == "organ-boxes")
    boxed = organs._find(SHARED_DATA)[0][-1]
    _, boxes = boxed.open()
    # LPS: the patient's left has the greater x, the head the greater z.
    assert boxes["right kidney"].high[0] < boxes["left kidney"].low[0]
    assert boxes["liver"].low[0] < boxes["spleen"].low[0]
    lesion = next(one for one in VOLUME_BOX_SETS if one.name == "lesion-boxes")._find(SHARED_DATA)[0][0]
    study, nodule = lesion.open()
    volume = study.volumes()[0]
    voxel = nodule["nodule"].to_voxel(volume.affine)
    x, y, z = ((low + high) / 2 for low, high in zip(voxel.low, voxel.high, strict=True))
    values = volume.read(slices=[int(z)])[0]
    assert values[int(y), int(x)] > -300  # solid, in a lung of about -850 HU
