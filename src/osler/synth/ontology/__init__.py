"""What a synthetic patient may have: findings, conditions, labs, drugs, protocols, indications."""

from osler.synth.ontology.load import load_ontology, problems
from osler.synth.ontology.types import (
    AGE_BANDS,
    Activity,
    ConditionEntry,
    Course,
    Finding,
    Indication,
    LabEntry,
    Laterality,
    Measure,
    MedicationEntry,
    Ontology,
    Panel,
    Pathway,
    Prevalence,
    Protocol,
)

__all__ = [
    "AGE_BANDS",
    "Activity",
    "ConditionEntry",
    "Course",
    "Finding",
    "Indication",
    "LabEntry",
    "Laterality",
    "Measure",
    "MedicationEntry",
    "Ontology",
    "Panel",
    "Pathway",
    "Prevalence",
    "Protocol",
    "load_ontology",
    "problems",
]
