"""The answer reader knows words, and gives nothing the benefit of the doubt."""

from __future__ import annotations

import pytest

from osler.evaluate.answer_reader import is_echo, is_loop, read_answer


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("This is a CT scan of the chest, an axial slice.", "modality", "ct"),
        ("magnetic resonance image", "modality", "mr"),
        ("Chest radiograph.", "modality", "xray"),
        ("Histology with H&E", "modality", "pathology"),
        ("CT or MRI", "modality", None),
        ("I do not know.", "modality", None),
        ("No, this is an MRI scan.", "modality", "mr"),
        ("The brain, near the hippocampus.", "region", "head"),
        ("the pelvis, in the lower abdomen", "region", "abdomen"),
        ("head and chest", "region", None),
        ("I see nothing in this image; the chest maybe.", "region", None),
        ("axial slices", "plane", "axial"),
        ("a frontal (PA) view", "plane", "frontal"),
        ("a frontal (PA) view", "view", "pa"),
        ("frontal or lateral", "plane", None),
        ("AP or PA", "view", None),
    ],
)
def test_reads(text: str, kind: str, expected: str | None) -> None:
    assert read_answer(text, kind=kind) == expected  # type: ignore[arg-type]


def test_echo_is_the_question_again() -> None:
    question = "What imaging modality was used to make this picture?"
    assert is_echo("What imaging modality was used to make this picture?", question=question)
    assert is_echo("imaging modality was used to make this", question=question)
    assert is_echo("", question=question)
    assert not is_echo("This is a CT scan.", question=question)
    assert is_echo("Bone is bright on radiographs.", question="Why is bone bright on radiographs?")
    assert not is_echo("It is a chest.", question="Is it a head or a chest?")


def test_loop_is_three_times_the_same() -> None:
    assert is_loop("the chest the chest the chest")
    assert is_loop("no no no")
    assert not is_loop("the chest and the abdomen and the pelvis")
