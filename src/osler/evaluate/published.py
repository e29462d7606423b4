"""Prompts and figures of the MedGemma 1.5 technical report (arXiv 2604.05081), as printed there.

Appendix B gives the prompts, Tables 3 to 5 the figures; the model card gives the closed
VQA-RAD accuracy. Words are kept as they are, the slips of the pen too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from osler.evaluate.radgraph import VARIANTS
from osler.prepare.chat import THINK_SILENTLY, THOUGHT_END

_TEXT = (
    "{question}\nYou may write out your argument before stating your final, very short, definitive, and concise "
    "answer (no more than a few words or the letter corresponding to your answer choice if the question is multiple "
    'choice) X in the format "Final Answer: X":'
)
_VQA = (
    "{question} You may write out your argument before stating your final, very short, definitive, and concise answer "
    "X (no more than a few words or the letter corresponding to your answer choice if the question is multiple choice)"
    ' in the format "Final Answer: X":'
)
YES_NO = '{question} You MUST end your responce with either "Final Answer: yes" or "Final Answer: no'
"""Around a yes/no question on an X-ray (Table 8)."""
FINDING = "Is there {finding} in this image?"
"""The question itself, which the first report prints (arXiv 2507.05201, Table A7)."""
_BEHIND = r"(?:{marker})\s*:?\s*\**\s*(.+?)\s*(?:\n|$)"
_PRONOUN = re.compile(r"\bI(?=['’]| (?:am|ca|can|do|have|need|see|think|believe|would|will|was|choose|cannot|don't)\b)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStyle:
    """How a model is asked.

    Args:
        name: In the report.
        text: Around a text question. vqa: Around a question on a picture. finding: Asks for a finding.
        thinking: System text of text questions.
        text_tokens: Of the answer to a text question, at most. vqa_tokens: Of one on a picture.
    """

    name: Literal["published", "plain"]
    text: str
    vqa: str
    finding: str
    thinking: str
    text_tokens: int
    vqa_tokens: int


PUBLISHED = PromptStyle(
    name="published",
    text=_TEXT,
    vqa=_VQA,
    finding=YES_NO.format(question=FINDING),
    thinking=THINK_SILENTLY,
    text_tokens=3072,
    vqa_tokens=512,
)
PLAIN = PromptStyle(
    name="plain",
    text="{question}",
    vqa="{question}",
    finding="Is there {finding} in this study? Answer with yes or no.",
    thinking="",
    text_tokens=24,
    vqa_tokens=32,
)
"""For models that were not trained on long instructions: the question alone."""

MEDGEMMA_15_4B: dict[tuple[str, str], float] = {
    ("cxr14", "macro F1"): 0.484,
    ("chexpert", "macro F1"): 0.482,
    ("mimic-cxr", "macro F1"): 0.415,
    ("mimic-cxr-med-gemini", "macro F1"): 0.895,
    ("chest-imagenome", "mean IoU"): 0.380,
    ("ms-cxr-t", "macro accuracy"): 0.657,
    ("ct-rate", "macro F1"): 0.269,
    ("ct-conditions", "macro accuracy"): 0.611,
    ("mr-conditions", "macro accuracy"): 0.647,
    ("slide-diagnoses", "ROUGE-L"): 0.494,
    # Which RadGraph F1 it is, the report does not say: the likeliest.
    ("mimic-cxr-reports", VARIANTS[0].name): 0.272,
    ("medqa", "generated"): 0.691,
    ("medmcqa", "generated"): 0.598,
    ("pubmedqa", "generated"): 0.676,
    ("mmlu-medical", "generated"): 0.697,
    # Tables 3, 4 and 6; the model card for MM alone and for closed SLAKE.
    ("medxpertqa", "text"): 0.164,
    ("medxpertqa", "MM"): 0.209,
    ("medxpertqa", "text+MM"): 0.264,
    ("afrimed-qa", "generated"): 0.56,
    ("mmlu-pro", "generated"): 0.338,
    ("ehrnoteqa", "generated"): 0.804,
    ("ehrqa", "accuracy"): 0.896,
    ("derm-mcqa", "generated"): 0.735,
    ("path-mcqa", "generated"): 0.70,
    ("eyepacs", "generated"): 0.768,
    ("slake", "token F1"): 0.598,
    ("slake", "closed accuracy"): 0.828,
    ("lab-reports-ehr2", "macro F1"): 0.91,
    ("lab-reports-ehr3", "macro F1"): 0.71,
    ("lab-reports-ehr4", "macro F1"): 0.64,
    ("lab-reports-mendeley", "macro F1"): 0.85,
    ("vqa-rad", "token F1"): 0.481,
    ("vqa-rad", "closed accuracy"): 0.702,
}
"""Set and measure to the published figure; whole test sets, so intervals of a part may miss them."""


def final_answer(text: str, *, marker: str = "final answer") -> str:
    """What a model gives as its answer: behind the last marker, else the whole text; thoughts are cut off.

    Args:
        text: What it wrote.
        marker: Words that the prompt asks for before the answer, as a pattern in any case.
    """
    said = text.rsplit(THOUGHT_END, 1)[-1]
    found = re.findall(_BEHIND.format(marker=marker), said, re.IGNORECASE)
    return (found[-1] if found else said).strip().strip("*\"'. ")


def letter_of(text: str, *, letters: str) -> str | None:
    """The letter that an answer chooses; ``None`` if it chooses none or several.

    Args:
        text: Of `final_answer`.
        letters: Those that may be chosen, such as ``"ABCD"``.
    """
    text = _PRONOUN.sub("", text)  # of ten choices one is "I"
    for pattern in (rf"^\(?([{letters}])\b", rf"\(([{letters}])\)", rf"\b([{letters}])\b"):
        found = set(re.findall(pattern, text if "^" not in pattern else text.strip()))
        if len(found) == 1:
            return found.pop()
    return None


def yes_or_no(text: str) -> str | None:
    """``"yes"`` or ``"no"`` where a text says one of both, else ``None``."""
    found = re.findall(r"\b(yes|no)\b", text.lower())
    return found[0] if found and len(set(found)) == 1 else None
