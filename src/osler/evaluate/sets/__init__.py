"""The evaluation sets, in the order in which they run: cheap ones first."""

from __future__ import annotations

from osler.evaluate.sets.chest_imagenome import ChestImagenome
from osler.evaluate.sets.ehr_imaging import EhrImaging
from osler.evaluate.sets.laboratory_reports import LABORATORY_REPORT_SETS
from osler.evaluate.sets.language import Perplexity
from osler.evaluate.sets.lung_boxes import LungBoxes
from osler.evaluate.sets.mimic_reports import MimicReports
from osler.evaluate.sets.ms_cxr_t import MsCxrT
from osler.evaluate.sets.perception import Perception
from osler.evaluate.sets.picture_questions import SLAKE, VQA_RAD, PictureQuestions
from osler.evaluate.sets.progression import HannoverProgression, NihProgression, SyntheticProgression
from osler.evaluate.sets.published_choices import PICTURE_CHOICES, TEXT_CHOICES
from osler.evaluate.sets.questions import QUESTION_SETS, MultipleChoice
from osler.evaluate.sets.record_answers import RecordAnswers
from osler.evaluate.sets.records import RecordQuestions
from osler.evaluate.sets.report_facts import ReportFacts
from osler.evaluate.sets.retrieval import RealRetrieval, SyntheticRetrieval
from osler.evaluate.sets.slide_diagnoses import SlideDiagnoses
from osler.evaluate.sets.slides import Slides
from osler.evaluate.sets.types import EvaluationSet
from osler.evaluate.sets.volume_boxes import VOLUME_BOX_SETS
from osler.evaluate.sets.volume_conditions import VOLUME_CONDITION_SETS
from osler.evaluate.sets.xray_findings import NihFindings
from osler.evaluate.sets.xray_labels import XRAY_LABEL_SETS

PUBLISHED_IMAGING: tuple[str, ...] = (
    *(one.name for one in (*XRAY_LABEL_SETS, *VOLUME_CONDITION_SETS)),
    ChestImagenome.name,
    MsCxrT.name,
    SlideDiagnoses.name,
    MimicReports.name,
)
"""Sets of MedGemma's report on X-rays, volumes and slides."""

PUBLISHED_QUESTIONS: tuple[str, ...] = (
    SLAKE.name,
    *(one.name for one in (*TEXT_CHOICES, *PICTURE_CHOICES)),
    RecordAnswers.name,
    *(one.name for one in LABORATORY_REPORT_SETS),
)
"""Sets of MedGemma's report that ask questions, beside the old public ones."""

GROUPS: dict[str, tuple[str, ...]] = {
    "published": ("medqa", "medmcqa", "mmlu-medical", "pubmedqa", "vqa-rad", *PUBLISHED_QUESTIONS, *PUBLISHED_IMAGING),
    "published-imaging": PUBLISHED_IMAGING,
    "images": ("perception", "vqa-rad", "nih-findings", "lung-boxes", "hippocampus-boxes", "organ-boxes"),
    "text": ("perplexity", "medqa", "medmcqa", "mmlu-medical", "pubmedqa"),
    "boxes": ("lung-boxes", "hippocampus-boxes", "organ-boxes", "lesion-boxes"),
    "progression": ("progression-synthetic", "progression-nih", "progression-hannover"),
    "retrieval": ("retrieval-synthetic", "retrieval-real"),
}
"""Names for several sets; ``published`` are those of MedGemma's report."""


def all_sets() -> tuple[EvaluationSet, ...]:
    """Builds every set."""
    return (
        Perplexity(),
        RecordQuestions(),
        Slides(),
        NihFindings(),
        LungBoxes(),
        *VOLUME_BOX_SETS,
        SyntheticProgression(),
        NihProgression(),
        HannoverProgression(),
        RealRetrieval(),
        SyntheticRetrieval(),
        EhrImaging(),
        ReportFacts(),
        Perception(),
        PictureQuestions(VQA_RAD),
        *QUESTION_SETS,
        *XRAY_LABEL_SETS,
        ChestImagenome(),
        MsCxrT(),
        SlideDiagnoses(),
        MimicReports(),
        *VOLUME_CONDITION_SETS,
        PictureQuestions(SLAKE),
        *(MultipleChoice(one) for one in (*TEXT_CHOICES, *PICTURE_CHOICES)),
        RecordAnswers(),
        *LABORATORY_REPORT_SETS,
    )
