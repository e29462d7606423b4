"""Yes against no: the probability that a model gives to one of two answers."""

from __future__ import annotations

import math

from osler.evaluate.responder import Inquiry, Responder
from osler.study import Study

_ANSWERS = ("Yes", "No")


def yes_share(responder: Responder, study: Study | None, question: str, *, record: str = "") -> float:
    """Returns the probability of "Yes" among "Yes" and "No"; it is not calibrated."""
    yes, no = responder.score(Inquiry(study=study, question=question, record=record), _ANSWERS)
    return 1 / (1 + math.exp(min(no - yes, 700.0)))
