"""Prompts of single benchmarks in the MedGemma 1.5 technical report (arXiv 2604.05081, appendix B).

`osler.evaluate.published` has the two that several benchmarks share. Words are kept as printed;
runs of spaces, which stand where the printed tables break lines, are line breaks here. Each has
one slot, ``{question}``: for discharge notes it takes the notes, the question and the choices.
"""

from __future__ import annotations

DIAGNOSIS = (
    '{question} You must choose the most likely diagnosis and respond with "The most likely diagnosis is:" followed '
    "by your choice letter."
)
"""Of DermMCQA."""

RETINOPATHY_QUESTION = """\
Given this fundus image, determine the most likely diabetic retinopathy (DR) stage present, even if you are unsure:
A: No DR
B: mild DR
C: moderate DR
D: severe DR
E: proliferative DR"""
RETINOPATHY = (
    '{question}\nYou must choose the most likely diagnosis and respond with "The most likely diagnosis is:" followed '
    "by your choice letter."
)
"""Of EyePACS; the question is always the same."""

DIAGNOSIS_MARKER = "most likely diagnosis is|final answer"
"""What stands before the letter in answers to the two above."""

DISCHARGE_NOTES = (
    "BEGIN_INSTRUCTIONS\nGiven the following discharge note for a patient, answer the question by only picking one of "
    'the A, B, C, D, E options. Each discharge note starts with "DISCHARGE?:", the question starts with "QUESTION:" '
    'and the choices with "CHOICE_?:" where? is a single character. To answer, describe your thought process for each '
    'choice; finish your answer with "Final Answer: (?)" where? is a single character indicating the correct choice.\n'
    "END_INSTRUCTIONS\n\n{question}\n"
    'Describe your thought process for each choice and end your answer with "Final Answer: (?)" where? is a single '
    'character indicating the correct answer. Use this exact format at the end "Final Answer: (?)".'
)
"""Of EHRNoteQA."""

RECORD = (
    "You are a medical assistant specializing in answer questions about a patient electronic health records (EHR)\n"
    "======= Patient EHR Data =======\n{record}\n======= End Patient EHR Data =======\n"
    "please answer concisely with no explanation\nQuestion: {question}"
)
"""Of EHRQA, after the MedGemma technical report (arXiv 2507.05201, appendix): the sentences that are known of it."""

CHOICES_BEHIND_RECORD = "\nAnswer choices: {choices}"

LABORATORY_REPORT = (
    "You are a Clinical Data Extraction Specialist. Your job is to parse lab reports with high precision. From the "
    "given lab report, extract all lab tests into a JSON list. Each test object in the list must include: name, "
    "result, unit, range, panel, method, specimen, sample_collection_time (formatted as DD-MM-YYYY HH:MM:SS)"
)
"""Of laboratory reports (Table 11); it stands behind the pages."""
