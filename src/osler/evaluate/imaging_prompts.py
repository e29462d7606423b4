"""How questions on scans and slides are asked, as MedGemma's report prints them.

Source: MedGemma 1.5 technical report (arXiv 2604.05081), Tables 8, 9 and 13, and for reports the first one (arXiv
2507.05201, Table A7), to which it refers. Images come before each of these texts.
Where the report prints no words, as for change between two films, the words are Osler's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from osler.evaluate.published import FINDING, PLAIN, PUBLISHED, YES_NO
from osler.tasks.report import report_question


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagingPrompts:
    """How a model is asked about images.

    Args:
        yes_no: Around a yes/no question on an X-ray, ``{question}``.
        ct_rate: Asks for a ``{finding}`` on a chest CT.
        ct: Asks for a ``{finding}`` on CT, ``{history}`` known. mr: The same on MR.
        slide: Asks for the diagnosis of a slide, ``{specimen}`` and ``{question}`` known.
        change: Asks what became of a ``{finding}`` between two films.
        report: Asks for the report on an X-ray, ``{indication}`` known.
        argument_tokens: Of an answer that may argue first, at most. report_tokens: Of a report.
    """

    yes_no: str
    ct_rate: str
    ct: str
    mr: str
    slide: str
    change: str
    report: str
    argument_tokens: int
    report_tokens: int


_CHANGE = "What became of {finding}: (A) improved, (B) stable or (C) worsened?"
_ARGUE = 'You may write out your argument before stating your final answer "Final Answer: yes" or "Final Answer: no".'

IMAGING: dict[Literal["published", "plain"], ImagingPrompts] = {
    "published": ImagingPrompts(
        yes_no=YES_NO,
        ct_rate=(
            "You are an expert radiologist for chest CT. Looking at these CT slices, is there {finding}? "
            "Answer with 'Final Answer: yes' or 'Final Answer: no'"
        ),
        # The three points are the report's own.
        ct=(
            'After looking at the indication and patient history "{history}"... Is there "{finding}" in the CT volume? '
            + _ARGUE
        ),
        # Printed with a quote too many at the start and two for each one, as spreadsheets write them.
        mr=(
            'After looking at the patient history "{history}", Is there {finding} in the MRI volume? '
            + _ARGUE.removesuffix(".")
        ),
        slide=(
            "Provide a brief diagnostic text for the set of pathology patches extracted from a pathology slide. "
            "Consider the tissue type and procedure (below) when deciding what to include in the diagnostic text. "
            "{specimen} {question}"
        ),
        change=PUBLISHED.vqa.format(
            question=f"The first image is the prior chest X-ray, the second one is the current one. {_CHANGE}"
        ),
        report="{indication} findings:",
        argument_tokens=2000,
        report_tokens=1024,
    ),
    "plain": ImagingPrompts(
        yes_no="{question} Answer with yes or no.",
        ct_rate=PLAIN.finding,
        ct=PLAIN.finding,
        mr=PLAIN.finding,
        slide="What is the diagnosis on this slide ({specimen})? {question}",
        change=_CHANGE,
        report=report_question("{indication}"),
        argument_tokens=PLAIN.vqa_tokens,
        report_tokens=512,
    ),
}
"""By the name of a `osler.evaluate.published.PromptStyle`."""

XRAY_QUESTIONS: dict[str, str] = {"fracture": "Are there any fractures in the image?"}
"""Findings whose question is not that of the others (first report, arXiv 2507.05201, Table A7)."""


def finding_question(finding: str) -> str:
    """The question for a finding on an X-ray, without what stands around it."""
    return XRAY_QUESTIONS.get(finding, FINDING.format(finding=finding))
