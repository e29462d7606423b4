"""The multiple-choice benchmarks of MedGemma's report beside those of `osler.evaluate.sets.questions`."""

from __future__ import annotations

from osler.evaluate.published_questions import DIAGNOSIS, DIAGNOSIS_MARKER, DISCHARGE_NOTES, RETINOPATHY
from osler.evaluate.rows import Measure
from osler.evaluate.sets.choice_files import (
    read_afrimed,
    read_eyepacs,
    read_medxpertqa,
    read_mmlu_pro,
    read_pictured,
)
from osler.evaluate.sets.discharge_notes import NOTES, QUESTIONS, read_ehrnoteqa
from osler.evaluate.sets.questions import LIKELIEST, READABLE, Benchmark, MultipleChoice

_PARTS = tuple(Measure(name=name, field=name) for name in ("text", "MM", "text+MM"))
_LISTED = "How the report lists the choices is not printed; here as in MedQA's file."

TEXT_CHOICES = (
    Benchmark(
        name="medxpertqa",
        title="MedXpertQA, text and MM",
        files=("medxpertqa/Text/test.jsonl",),
        read=read_medxpertqa,
        measures=(*_PARTS, LIKELIEST, READABLE),
        notes=(
            "The report prints no prompt for MM: here that of other questions on pictures.",
            "The published figures do not add up: 16.4% of 2,450 text and 20.9% (model card) of 2,000 MM questions "
            "make 18.4%, not 26.4%.",
        ),
    ),
    Benchmark(
        name="afrimed-qa",
        title="AfriMed-QA, questions of experts",
        files=("afrimed-qa/*.csv",),
        read=read_afrimed,
        notes=(
            "The report does not say which questions it took: its figures for all models are multiples of 4%, as 25 "
            "questions would give.",
            _LISTED,
        ),
    ),
    Benchmark(
        name="mmlu-pro",
        title="MMLU Pro (up to 10 choices)",
        files=("mmlu-pro/test*",),
        read=read_mmlu_pro,
        thinking=False,
        notes=(
            "The report prints no prompt and no thinking for this one: here the prompt of MMLU, without thinking.",
            _LISTED,
        ),
    ),
    Benchmark(
        name="ehrnoteqa",
        title="EHRNoteQA (discharge notes)",
        files=(QUESTIONS, NOTES),
        read=read_ehrnoteqa,
        prompt=DISCHARGE_NOTES,
        notes=("Notes are joined as the publisher of the questions does it; the report does not say how.",),
    ),
)
PICTURE_CHOICES = (
    Benchmark(
        name="derm-mcqa",
        title="DermMCQA (photographs of skin)",
        files=("derm-mcqa/questions.jsonl", "derm-mcqa/images"),
        read=read_pictured("derm-mcqa"),
        prompt=DIAGNOSIS,
        marker=DIAGNOSIS_MARKER,
        batch=4,
        notes=(_LISTED, "The questions behind the published figure are internal to its authors."),
    ),
    Benchmark(
        name="path-mcqa",
        title="PathMCQA (histology patches)",
        files=("path-mcqa/questions.jsonl", "path-mcqa/images"),
        read=read_pictured("path-mcqa"),
        batch=4,
        notes=(
            "The report prints no prompt for this one: here that of other questions on pictures.",
            _LISTED,
            "The questions behind the published figure are internal to its authors.",
        ),
    ),
    Benchmark(
        name="eyepacs",
        title="EyePACS (5 grades of retinopathy)",
        files=("eyepacs/trainLabels.csv", "eyepacs/train"),
        read=read_eyepacs,
        prompt=RETINOPATHY,
        marker=DIAGNOSIS_MARKER,
        batch=4,
        notes=("Which 3,614 pictures the published figure is of is not printed.",),
    ),
)
PUBLISHED_CHOICES = tuple(MultipleChoice(one) for one in (*TEXT_CHOICES, *PICTURE_CHOICES))
