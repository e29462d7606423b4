"""Reads modality, region and orientation out of a generated answer.

Written apart from the templates of training: it looks for words of each class,
and an answer that names two classes of one kind is unreadable, which counts as
wrong.
"""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["modality", "region", "plane", "view"]

_WORDS: dict[Kind, dict[str, str]] = {
    "modality": {
        "ct": r"\bct\b|computed tomograph|computerized tomograph|\bcat scan",
        "mr": r"\bmri?\b|magnetic resonance",
        "xray": r"\bx-?\s?rays?\b|radiograph|\bcxr\b|roentgen",
        "pathology": r"patholog|histolog|microscop|\bslide\b|stained|biops",
        "ultrasound": r"ultraso|sonogra",
    },
    "region": {
        "head": r"\bheads?\b|\bbrain|\bskull|cranial|hippocamp",
        "neck": r"\bneck\b|cervical",
        "chest": r"\bchest|thora|\blungs?\b",
        "abdomen": r"abdom|\bbelly\b|\bpelvi",
        "limb": r"\bknees?\b|\bhands?\b|\bfoot\b|\bshoulder",
        "tissue": r"\btissue",
    },
    "plane": {
        "axial": r"\baxial|transvers|transaxial",
        "coronal": r"\bcoronal",
        "sagittal": r"\bsagittal",
        "frontal": r"\bfrontal|\bap\b|\bpa\b|anteroposterior|posteroanterior",
        "lateral": r"\blateral",
    },
    "view": {"pa": r"\bpa\b|posteroanterior|postero-anterior", "ap": r"\bap\b|anteroposterior|antero-posterior"},
}
_REFUSAL = re.compile(r"cannot tell|can't tell|see nothing|shows nothing|is blank|no image", re.IGNORECASE)


def read_answer(text: str, *, kind: Kind) -> str | None:
    """Returns the class that an answer names.

    Args:
        text: The generated answer.
        kind: What to look for; the pelvis counts as the abdomen, as in VQA-RAD.

    Returns:
        The class, or ``None`` if it names none, several, or says that it cannot tell.

    Example:
        >>> read_answer("This is a CT scan of the chest, an axial slice.", kind="region")
        'chest'
        >>> read_answer("It is CT or MRI.", kind="modality") is None
        True
    """
    lowered = text.lower()
    if _REFUSAL.search(lowered) and kind != "modality":
        return None
    if re.search(r"\bno\b,", lowered):
        lowered = lowered.split("no,", 1)[1]
    found = [name for name, pattern in _WORDS[kind].items() if re.search(pattern, lowered)]
    return found[0] if len(found) == 1 else None


def is_echo(answer: str, *, question: str) -> bool:
    """Whether an answer mostly repeats the question."""
    said, asked = _words(answer), _words(question)
    if not said:
        return True
    if " ".join(asked) and " ".join(asked) in " ".join(said):
        return True
    # "Why is bone bright?" - "Bone is bright.": turned round, but nothing new. A choice may be answered in its words.
    if len(said) >= 3 and set(said) <= set(asked) and "or" not in asked:
        return True
    longest = _longest_common_run(said, asked)
    return longest >= 5 and longest >= 0.7 * len(said)


def is_loop(answer: str) -> bool:
    """Whether a run of one to eight words comes three times in a row."""
    words = _words(answer)
    for size in range(1, 9):
        for start in range(len(words) - 3 * size + 1):
            run = words[start : start + size]
            if words[start + size : start + 2 * size] == run == words[start + 2 * size : start + 3 * size]:
                return True
    return False


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _longest_common_run(first: list[str], second: list[str]) -> int:
    best = 0
    lengths = [0] * (len(second) + 1)
    for word in first:
        row = [0] * (len(second) + 1)
        for place, other in enumerate(second, start=1):
            if word == other:
                row[place] = lengths[place - 1] + 1
                best = max(best, row[place])
        lengths = row
    return best
