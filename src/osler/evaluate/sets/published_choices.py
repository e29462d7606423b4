"""The multiple-choice benchmarks of MedGemma's report beside those of `osler.evaluate.sets.questions`."""

from __future__ import annotations

from osler.evaluate.published_questions import (
    DIAGNOSIS,
    DIAGNOSIS_MARKER,
    DISCHARGE_NOTES,
    PATHOLOGY,
    RETINOPATHY,
    STEP_BY_STEP,
)
from osler.evaluate.rows import Measure
from osler.evaluate.sets.choice_files import (
    DERMATOLOGY_CHOICES,
    PATHOLOGY_CHOICES,
    read_afrimed,
    read_eyepacs,
    read_medxpertqa,
    read_mmlu_pro,
    read_pictured,
)
from osler.evaluate.sets.discharge_notes import NOTES, QUESTIONS, read_ehrnoteqa
from osler.evaluate.sets.questions import LIKELIEST, READABLE, Benchmark

_PARTS = tuple(Measure(name=name, field=name) for name in ("text", "MM", "text+MM"))
_LISTED = "How the report lists the choices is not printed; here as in MedQA's file."
_INTERNAL = "The questions behind the published figure are internal to its authors."

TEXT_CHOICES = (
    Benchmark(
        name="medxpertqa",
        title="MedXpertQA, text and MM",
        files=("medxpertqa/Text/test.jsonl",),
        read=read_medxpertqa,
        picture_prompt=STEP_BY_STEP,
        captions=True,
        argues=True,
        measures=(*_PARTS, LIKELIEST, READABLE),
        notes=(
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
            "The published figure is of 25 questions, not listed (arXiv 2507.05201, Table 2): it has steps of 4%.",
            _LISTED,
        ),
    ),
    Benchmark(
        name="mmlu-pro",
        title="MMLU Pro (up to 10 choices)",
        files=("mmlu-pro/test*",),
        read=read_mmlu_pro,
        thinking=False,
        notes=("The report prints no prompt for this one: here that of MMLU, without thinking.", _LISTED),
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
        read=read_pictured("derm-mcqa", form=DERMATOLOGY_CHOICES),
        picture_prompt=DIAGNOSIS,
        marker=DIAGNOSIS_MARKER,
        batch=4,
        notes=(_INTERNAL,),
    ),
    Benchmark(
        name="path-mcqa",
        title="PathMCQA (histology patches)",
        files=("path-mcqa/questions.jsonl", "path-mcqa/images"),
        read=read_pictured("path-mcqa", form=PATHOLOGY_CHOICES),
        picture_prompt=PATHOLOGY,
        batch=4,
        notes=(_INTERNAL,),
    ),
    Benchmark(
        name="eyepacs",
        title="EyePACS (5 grades of retinopathy)",
        files=("eyepacs/trainLabels.csv", "eyepacs/train"),
        read=read_eyepacs,
        picture_prompt=RETINOPATHY,
        marker=DIAGNOSIS_MARKER,
        batch=4,
        notes=(
            "The published figure is of 3,614 pictures, each of another patient, that are not listed; the public set "
            "has two eyes of a patient.",
        ),
    ),
)
