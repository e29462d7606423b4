"""Answers are true to the labels, by the word of the independent reader."""

from __future__ import annotations

import numpy as np
import pytest

from osler.evaluate.answer_reader import is_loop, read_answer
from osler.evaluate.wordings import CORES
from osler.train.answers import ask_about, open_answer
from osler.train.pictures import Labels
from osler.train.questions import ASK

CASES = [
    Labels(modality="ct", region="abdomen", plane="axial"),
    Labels(modality="ct", region="pelvis", plane="axial"),
    Labels(modality="mr", region="head", plane="sagittal", sequence="flair"),
    Labels(modality="mr", region="head", plane="coronal", detail="hippocampus"),
    Labels(modality="xray", region="chest", plane="frontal", view="ap"),
    Labels(modality="xray", region="chest", plane="lateral"),
]
REGION = {"pelvis": "abdomen"}


@pytest.mark.parametrize("labels", CASES, ids=lambda x: f"{x.modality}-{x.region}-{x.plane}")
@pytest.mark.parametrize("form", ["picture", "volume"])
def test_full_answers_name_modality_region_and_plane(labels: Labels, form: str) -> None:
    for seed in range(20):
        text = open_answer(labels, kind="all", form=form, rng=np.random.default_rng(seed))
        assert read_answer(text, kind="modality") == labels.modality
        assert read_answer(text, kind="region") == REGION.get(labels.region, labels.region)
        assert read_answer(text, kind="plane") == labels.plane
        if labels.view != "none":
            assert read_answer(text, kind="view") == labels.view


def test_yes_and_no_come_equally_often() -> None:
    rng = np.random.default_rng(0)
    answers = [ask_about(CASES[0], form="picture", rng=rng).answer for _ in range(3000)]
    yes, no = (sum(answer.startswith(word) for answer in answers) for word in ("Yes", "No"))
    assert yes > 100
    assert 0.8 < yes / no < 1.25


def test_tissue_and_blank_pictures_claim_no_plane() -> None:
    rng = np.random.default_rng(0)
    tissue = Labels(modality="pathology", region="tissue", plane="none")
    blank = Labels(modality="blank", region="none", plane="none")
    for _ in range(200):
        assert read_answer(ask_about(tissue, form="picture", rng=rng).answer, kind="plane") is None
        assert read_answer(ask_about(blank, form="picture", rng=rng).answer, kind="modality") is None


def test_a_picture_without_content_is_called_nothing_whatever_is_asked() -> None:
    rng = np.random.default_rng(2)
    blank = Labels(modality="blank", region="none", plane="none")
    exchanges = [ask_about(blank, form="picture", rng=rng) for _ in range(300)]
    assert len({exchange.question for exchange in exchanges}) > 150
    for exchange in exchanges:
        assert all(read_answer(exchange.answer, kind=kind) is None for kind in ("modality", "region", "plane", "view"))
        assert "{" not in exchange.question


def test_answers_are_short_and_whole() -> None:
    rng = np.random.default_rng(1)
    for _ in range(500):
        exchange = ask_about(CASES[int(rng.integers(len(CASES)))], form="picture", rng=rng)
        assert "{" not in exchange.question + exchange.answer
        assert exchange.answer.endswith(".")
        assert len(exchange.answer.split()) < 30
        assert not is_loop(exchange.answer)


def test_training_never_meets_the_unseen_wordings() -> None:
    trained = {text.replace("{n}", "").lower() for texts in ASK.values() for text in texts}
    unseen = {core.lower() for cores in CORES.values() for core in cores}
    assert not trained & unseen
    assert sum(len(texts) for texts in ASK.values()) > 150
