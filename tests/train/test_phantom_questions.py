"""What is asked of phantoms follows from their label maps, is balanced, and is worded apart for kept-out patients."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from osler.errors import RequestError
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.train.local_table import read_local_table
from osler.train.phantom_questions import (
    KINDS,
    OTHER_WORDINGS,
    WORDINGS,
    Fact,
    SeenFinding,
    SeenVolume,
    balanced,
    facts_of,
    limits_of,
    settled,
    wording,
)
from osler.train.phantom_scans import QUESTIONS_FILE, PhantomRequest, render_phantoms


def _seen(*, first: int, last: int, findings: tuple[SeenFinding, ...] = ()) -> SeenVolume:
    organs = np.zeros((30, 16, 16), dtype=np.uint8)
    organs[first:last, 4:12, 4:10] = ORGAN_CODES["liver"]
    return SeenVolume(
        body="trunk",
        organs=organs,
        findings=findings,
        absent=("ascites", "renal cyst"),
        spacing_mm=5.0,
        up_axis=0,
        up_mm=5.0,
    )


def _answers(volume: SeenVolume, *, kind: str) -> dict[str, str]:
    return {fact.about: fact.answer for fact in facts_of(volume) if fact.kind == kind}


@pytest.mark.parametrize(("first", "answer"), [(1, "First third."), (11, "Middle third."), (22, "Last third.")])
def test_an_organ_lies_in_its_third(first: int, answer: str) -> None:
    assert _answers(_seen(first=first, last=first + 7), kind="third") == {"liver": answer}


def test_what_lies_between_thirds_or_in_most_slices_is_not_asked() -> None:
    assert _answers(_seen(first=7, last=13), kind="third") == {}
    assert _answers(_seen(first=2, last=28), kind="third") == {}


def test_organs_are_there_or_not_and_lengths_are_whole() -> None:
    volume = _seen(first=3, last=13)
    organs = _answers(volume, kind="organ")
    assert organs["liver"] == "Yes."
    assert set(organs.values()) == {"Yes.", "No."}
    assert {f.about: f.value for f in facts_of(volume) if f.kind == "length"} == {"liver": 50.0}
    assert _answers(_seen(first=0, last=13), kind="length") == {}  # cut off
    assert [f.value for f in facts_of(volume) if f.kind == "reach"] == [150.0]


def test_findings_have_a_side_where_they_are_on_one() -> None:
    cyst, left = (SeenFinding(name="renal cyst", side=side, voxels=90) for side in ("right", "left"))
    one, both = _seen(first=3, last=9, findings=(cyst,)), _seen(first=3, last=9, findings=(cyst, left))
    assert _answers(one, kind="side") == {"renal cyst": "Right side."}
    assert _answers(both, kind="side") == {}
    assert _answers(one, kind="finding") == {"renal cyst": "Yes.", "ascites": "No."}


def test_lengths_are_asked_against_the_median_and_near_ones_not_at_all() -> None:
    facts = [Fact(kind="reach", about="", value=value) for value in (100.0, 200.0, 205.0, 300.0, 400.0)]
    limits = limits_of(facts)
    assert limits == {("reach",): 205}
    found = [settled(fact, limits=limits) for fact in facts]
    assert [None if fact is None else fact.answer for fact in found] == ["No.", None, None, "Yes.", "Yes."]


def test_every_answer_of_a_group_comes_equally_often() -> None:
    yes = [(n, Fact(kind="organ", about="liver", answer="Yes.")) for n in range(9)]
    no = [(n, Fact(kind="organ", about="liver", answer="No.")) for n in range(9, 13)]
    alone = [(n, Fact(kind="organ", about="heart", answer="Yes.")) for n in range(5)]
    thirds = [(n, Fact(kind="third", about="liver", answer=a)) for n, a in enumerate(["First third."] * 3)]
    taken = balanced([*yes, *no, *alone, *thirds], most=6, rng=np.random.default_rng(0))
    assert Counter((f.about, f.answer) for _, f in taken) == {("liver", "Yes."): 3, ("liver", "No."): 3}


def test_wordings_of_kept_out_patients_are_others() -> None:
    for kind in KINDS:
        assert not set(WORDINGS[kind]) & set(OTHER_WORDINGS[kind])
    fact = Fact(kind="length", about="liver", answer="Yes.", value=200.0)
    rng = np.random.default_rng(0)
    asked = {wording(fact, limits={fact.group: 150}, kept_out=out, rng=rng) for out in (True, False) for _ in range(20)}
    assert all("liver" in one and "150" in one and "{" not in one for one in asked)
    assert len(asked) == len(WORDINGS["length"]) + len(OTHER_WORDINGS["length"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms") / "small"
    render_phantoms(folder, request=PhantomRequest(seed=5, patients=14, kept_out=0.4))
    return folder


def test_the_table_is_one_that_fine_tuning_reads(folder: Path) -> None:
    table = read_local_table(folder / QUESTIONS_FILE)
    assert not table.unreadable
    assert {row.split for row in table.rows} == {"train", "kept-out"}
    sides = {split: {row.patient for row in table.rows if row.split == split} for split in ("train", "kept-out")}
    assert not sides["train"] & sides["kept-out"]
    with (folder / QUESTIONS_FILE).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for split in ("train", "kept-out"):
        thirds = Counter(row["answer"] for row in rows if row["split"] == split and row["kind"] == "third")
        assert len(set(thirds.values())) <= 1
    volumes = [nib.load(folder / name) for name in sorted({row["path"] for row in rows})]  # type: ignore[attr-defined]
    assert len({volume.shape[2] for volume in volumes}) > 1
    # Slices run both ways, so that the name of an organ does not tell where it lies.
    axes = {"".join(nib.aff2axcodes(volume.affine)) for volume in volumes}
    assert len(axes) > 1


def test_what_is_there_is_not_made_again(folder: Path) -> None:
    before = (folder / QUESTIONS_FILE).stat().st_mtime_ns
    render_phantoms(folder, request=PhantomRequest(seed=5, patients=14, kept_out=0.4))
    assert (folder / QUESTIONS_FILE).stat().st_mtime_ns == before
    with pytest.raises(RequestError, match=r"other phantoms \(patients differ\)"):
        render_phantoms(folder, request=PhantomRequest(seed=5, patients=15, kept_out=0.4))


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RequestError, match="holds other data"):
        render_phantoms(tmp_path, request=PhantomRequest(seed=5, patients=1, kept_out=0.4))
