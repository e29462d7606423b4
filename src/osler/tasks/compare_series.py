"""Which series of two dates belong together: the same modality, and in MR the same sequence.

A lesion that is bright on FLAIR is dark on T1: a pair of unlike sequences shows a change that is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from osler.study import TimePoint
from osler.study.slide import Series

_SEQUENCES: tuple[tuple[str, str], ...] = (
    ("ADC", r"adc"),
    ("DWI", r"dwi|diff\w*|trace|b1000"),
    ("FLAIR", r"\w*flair\w*|darkfluid|dark fluid"),
    ("STIR", r"\w*stir|tirm"),
    ("SWI", r"swi|swan|t2star|t2 star|hemo"),
    ("T2", r"t2\w*"),
    ("T1", r"t1\w*|\w*mprage\w*|spgr|bravo|fspgr"),
    ("PD", r"pd\w?|proton density"),
)
"""What the names of MR series usually hold, the more telling first (a FLAIR is T2 weighted, too)."""
_CONTRAST = re.compile(r"\b(gd|gad\w*|post|ce|contrast|km)\b|\+c\b|t1c\b|t1gd|c\+")


def sequence_of(series: Series) -> str:
    """Names the MR sequence of a series by what its file says; empty if it says none, or is no MR.

    Example:
        >>> from osler.study import Volume  # doctest: +SKIP
        >>> sequence_of(volume)  # a file "study1_FLAIR.nii.gz"  # doctest: +SKIP
        'FLAIR'
    """
    if series.modality not in ("MR", ""):
        return ""
    words = re.sub(r"[^a-z0-9+*]+", " ", series.description.casefold().replace("t2*", "t2star"))
    name = next((name for name, pattern in _SEQUENCES if re.search(rf"\b(?:{pattern})\b", words)), "")
    return f"{name} with contrast" if name == "T1" and _CONTRAST.search(words) else name


def paired_series(prior: TimePoint, now: TimePoint) -> tuple[tuple[Series, Series], ...]:
    """Pairs series of an earlier time point with those of today: by modality and sequence, in order, each once."""
    left = list(prior.series)
    pairs = []
    for series in now.series:
        same = next((one for one in left if _kind(one) == _kind(series)), None)
        if same is not None:
            left.remove(same)
            pairs.append((same, series))
    return tuple(pairs)


def unlike_sequences(prior: TimePoint, now: TimePoint) -> Iterator[str]:
    """Says where no sequence of today was acquired at the earlier date."""
    names = [sorted({name for series in point.series if (name := sequence_of(series))}) for point in (now, prior)]
    if all(names) and not set(names[0]) & set(names[1]):
        yield (
            f"The study of today is {_all(names[0])}, a prior {_all(names[1])}: what differs may be the sequence and "
            "not the patient."
        )


def _kind(series: Series) -> tuple[str, str, str]:
    return type(series).__name__, series.modality, sequence_of(series)


def _all(names: Sequence[str]) -> str:
    return " and ".join(names)
