"""Questions that the record alone answers, asked beside images.

Beside images a wrong guess is worse than a slow answer: an exact answer is given
only where the question names a laboratory or vital value, or medications,
allergies, vaccinations or visits, in words that belong to records, says nothing
of what a picture shows, and the record has the entry. Everything else is the
model's, which sees the images.
"""

from __future__ import annotations

import dataclasses
import re

from osler.prepare.clinical_terms import plain
from osler.study import Answer, Study
from osler.tasks.ehr import answer_from_events
from osler.tasks.ehr_answer import NOT_SAID
from osler.tasks.ehr_question import Query, plan_question
from osler.tasks.ehr_search import codes_of

UNSEEN = "The images were not looked at: the question is about the record alone."

_RECORD_KINDS = frozenset({"medication", "immunization", "allergy", "encounter"})
# "How much calcium is there?" may mean the arteries of this scan: a value must be asked for as a record's.
_OF_A_RECORD = re.compile(
    r"\b(?:last|latest|newest|(?:most )?recent(?:ly)?|first|earliest|highest|lowest|peak|trends?|over time|since|before"
    r"|after|between|ever|levels?|values?|labs?|laboratory|tests?|results?|measured|readings?|serum|plasma"
    r"|records?|charts?|(?:in|on) \d{4}(?:-\d\d){0,2}|when|how often|how many)\b"
)
_OF_AN_IMAGE = re.compile(
    r"\b(?:images?|imaging|imaged|pictures?|photos?|scans?|scanned|films?|x-?rays?|radiographs?|ct|mri?|pet|ultrasound"
    r"|slices?|slides?|tiles?|planes?|views?|frames?|show(?:s|n|ed|ing)?|see|seen|visible|visuali[sz]\w*|look\w*"
    r"|appear\w*|depict\w*|here|above image|box(?:es)?|regions?|areas?|left|right|upper|lower|lobes?|sizes?|diameters?"
    r"|volumes?|density|densities|hounsfield|hu|signal|intensit\w+|enhanc\w+|opacit\w+|lesions?|nodules?|mass(?:es)?"
    r"|calcifi\w+|stud(?:y|ies)|findings?|scores?)\b"
)
_SENTENCES = re.compile(r"[.?!;]\s+\S")


def answer_from_record(study: Study, question: str) -> Answer | None:
    """Answers a question from the record where it is about the record alone.

    Args:
        study: With or without images.
        question: In words.

    Returns:
        The answer with its events and `osler.study.NO_MODEL` as its model, or ``None`` for a question for the model.

    Example:
        >>> answer = answer_from_record(study, "What was the last creatinine?")  # doctest: +SKIP
        >>> answer.text  # doctest: +SKIP
        'Creatinine: 1.4 mg/dL, 2021-03-05.'
    """
    if not study.events and not study.documents:
        return None
    has_images = any(study.series())
    if has_images and not about_record_alone(question):
        return None
    answer = answer_from_events(study, question)
    if answer is None or (has_images and answer.text.startswith(NOT_SAID)):
        return None
    said = (UNSEEN,) if has_images else ()
    return dataclasses.replace(
        answer,
        task="ask",
        left_out=study.left_out,
        warnings=tuple(dict.fromkeys((*study.problems, *said, *answer.warnings))),
    )


def about_record_alone(question: str) -> bool:
    """Whether a question that stands beside images can only mean the record.

    Example:
        >>> about_record_alone("What was the last calcium level?")
        True
        >>> about_record_alone("Is there calcium in the aorta?")
        False
    """
    text = plain(question)
    if _OF_AN_IMAGE.search(text) or _SENTENCES.search(question.strip()):
        return False
    query = plan_question(question)
    if query.intent == "open":
        return False
    return _names_value(query, text=text) or bool(query.kinds and set(query.kinds) <= _RECORD_KINDS)


def _names_value(query: Query, *, text: str) -> bool:
    """Whether a known laboratory or vital value is asked for in the words of a record."""
    return bool(codes_of(query)) and set(query.kinds) <= {"observation"} and bool(_OF_A_RECORD.search(text))
