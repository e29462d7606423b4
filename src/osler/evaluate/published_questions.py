"""Prompts of single benchmarks in MedGemma's reports.

The MedGemma 1.5 report (arXiv 2604.05081, appendix B) prints what changed and refers to the first one
(arXiv 2507.05201, tables A7 and A9) for the rest. `osler.evaluate.published` has the two prompts that
several benchmarks share. Words are kept as printed; runs of spaces, which stand where the printed
tables break lines, are line breaks here. Each has one slot, ``{question}``: for discharge notes it
takes the notes, the question and the choices.
"""

from __future__ import annotations

DIAGNOSIS = (
    '{question} You must choose the most likely diagnosis and respond with "The most likely diagnosis is:" followed '
    "by your choice letter."
)
"""Of DermMCQA (Table 9)."""

PATHOLOGY = "{question}"
"""Of PathMCQA (first report): the question itself names its choices."""

STEP_BY_STEP = (
    "{question} Think step by step through each of the multiple choice options. You MUST end your response with "
    "'Final Answer:' followed by only the letter corresponding to the correct answer enclosed in parentheses)."
)
"""Of MedXpertQA's questions on pictures (first report), which stand behind "Figure A", "Figure B"."""

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
"""Of EyePACS (Table 9); the question is always the same."""

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
"""Of EHRNoteQA (Table 10)."""

RECORD = (
    "You are a medical assistant specializing in answer questions about a patient electronic health records (EHR). You "
    "will be provided with a patient's full EHR data and a question for you to answer.\n"
    "======= Patient EHR Data =======\n{record}\n======= End Patient EHR Data =======\n"
    "Based on the data provided in the patient's EHR, please answer concisely with no explanation. If the question is "
    'a multiple choice question, answer with only the letter of the correct choice, such as "B". If the question is a '
    "free response question, answer with the correct data. In either case, remember to not provide an explanation.\n"
    "Question: {question}"
)
"""Of EHRQA (first report); it has a slot for the record, too."""

CHOICES_BEHIND_RECORD = "\nAnswer choices: {choices}"

LABORATORY_REPORT = (
    "You are a Clinical Data Extraction Specialist. Your job is to parse lab reports with high precision.\n"
    "From the given lab report, extract all lab tests into a JSON list.\n"
    "Each test object in the list must include: name, result, unit, range, panel, method, specimen, "
    "sample_collection_time (formatted as DD-MM-YYYY HH:MM:SS)"
)
"""Of laboratory reports (Table 11); it stands behind the pages."""
