"""Draws what each exam shows of the lesions, how that changed, and what is denied.

Change is taken from the whole millimeters (or grades) of the two exams, so it agrees
with them by construction: a size is stable unless it differs by `STABLE_MM` or more
and by `STABLE_PERCENT` or more, or by `ALWAYS_MM` or more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.draw_exams import Exams
from osler.synth.draw_lesions import NONE, Lesions
from osler.synth.draw_tables import normal, tables
from osler.synth.fact_table import FindingColumns

STABLE_MM = 2
STABLE_PERCENT = 20
ALWAYS_MM = 5
GONE = 0.15
"""Extent below which a treated lesion is no longer there."""

FIRST, NEW, LARGER, SMALLER, STABLE, RESOLVED = range(6)
ABSENT = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sightings:
    """One row for each exam and lesion of its patient (X), in order of exam and lesion."""

    lesion: np.ndarray  # row of Lesions
    exam: np.ndarray  # row of Exams
    there: np.ndarray  # bool: in the body
    seen: np.ndarray  # bool: on the exam
    extent: np.ndarray  # relative to the onset; 0 where it is not there
    size: np.ndarray  # whole mm, 0: none
    level: np.ndarray  # severity, 0: none
    prior: np.ndarray  # row of the same lesion on the compared exam, -1: none


def follow_lesions(lesions: Lesions, *, exams: Exams) -> Sightings:
    """Works out every lesion on every exam of its patient."""
    t = tables()
    first_lesion = np.searchsorted(lesions.patient, np.arange(len(exams.start)))
    count = np.diff(first_lesion)[exams.patient]
    exam = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(exam))
    lesion = row - (np.cumsum(count) - count)[exam] + first_lesion[exams.patient[exam]]
    finding = lesions.finding[lesion]
    since = exams.day[exam] - lesions.onset[lesion]
    extent = _extent(lesions, lesion=lesion, since=since)
    noise = 1 + 0.02 * normal(lesions.draws.rows(lesion).bits("measure", finding * 512 + exams.number[exam]), part=0)
    measured = t.measured[finding]
    size = np.minimum(np.rint(lesions.size[lesion] * extent * noise), lesions.room[lesion])
    there = (extent > 0) & ~(measured & (size < 0.6 * t.least[finding]))
    origin = np.where(lesions.origin[lesion] < 0, row, row - lesion + lesions.origin[lesion])  # on the same exam
    there &= there[origin]
    size = np.where(there & measured, np.maximum(np.minimum(size, size[origin]), 1), 0).astype(np.int64)
    odds = t.odds[exams.group[exam], exams.band[exam], exams.sex[exam], finding] * lesions.factor[lesion]
    seen = there & (lesions.chance[lesion] * (1 + odds) < odds)
    compared = exams.compared[exam]
    return Sightings(
        lesion=lesion,
        exam=exam,
        there=there,
        seen=_with_needed(seen, exam=exam, finding=finding, exams=exams),
        extent=np.where(there, extent, 0.0),
        size=size,
        level=_level(lesions.level[lesion], extent=extent, there=there),
        prior=np.where(compared >= 0, row - (exam - compared) * count[exam], -1),
    )


def _with_needed(seen: np.ndarray, *, exam: np.ndarray, finding: np.ndarray, exams: Exams) -> np.ndarray:
    """Hides findings that need another one on the exam (an infarct's diffusion, a tumor's necrosis)."""
    needs = tables().needs
    nothing = len(needs)
    rows = np.nonzero(seen & (needs[finding, 0] < nothing))[0]
    shown = np.zeros((len(exams.day), nothing + 1), dtype=bool)
    shown[exam[seen], finding[seen]] = True
    seen = seen.copy()
    seen[rows] = shown[exam[rows][:, None], needs[finding[rows]]].any(axis=1)
    return seen


def _extent(lesions: Lesions, *, lesion: np.ndarray, since: np.ndarray) -> np.ndarray:
    """Size relative to the onset: 1 if stable, growing, shrinking after treatment, or gone (0)."""
    course = lesions.course[lesion]
    growth = np.exp2(np.clip(since, 0, None) / (3 * lesions.doubling[lesion]))
    after = since - lesions.turn[lesion]
    left = lesions.response[lesion]
    treated = np.where(after < 0, growth, left + (1 - left) * np.exp(-np.maximum(after, 0) / 60))
    healing = since / lesions.resolves[lesion]
    acute = np.where(healing < 1, np.exp(-1.2 * np.clip(healing, 0, 1)), 0.0)
    extent = np.choose(course, [np.ones(len(course)), growth, np.where(treated < GONE, 0.0, treated), acute])
    return np.where(since < 0, 0.0, extent)


def _level(level: np.ndarray, *, extent: np.ndarray, there: np.ndarray) -> np.ndarray:
    moved = np.rint(level + np.log2(np.where(there, extent, 1.0)))
    return np.where(there & (level > 0), np.clip(moved, 1, 3), 0).astype(np.int64)


def report_findings(
    sightings: Sightings, *, lesions: Lesions, exams: Exams
) -> tuple[FindingColumns, np.ndarray, np.ndarray]:
    """Writes the rows that exams state.

    Returns:
        The columns, ``finding_start`` (E + 1,) and ``negative_start`` (E,).
    """
    s = sightings
    before = np.maximum(s.prior, 0)
    seen_before = (s.prior >= 0) & s.seen[before]
    gone = seen_before & ~s.there
    denied_exam, denied = _denied(exams, exam=s.exam, finding=lesions.finding[s.lesion], there=s.there | gone)
    rows = np.nonzero(s.seen | gone)[0]
    exam = s.exam[rows]
    stated, negatives = (np.bincount(column, minlength=len(exams.day)) for column in (exam, denied_exam))
    start = np.concatenate([[0], np.cumsum(stated + negatives)])
    to = np.arange(len(rows)) + (np.cumsum(negatives) - negatives)[exam]
    denied_to = np.arange(len(denied)) + np.cumsum(stated)[denied_exam]
    columns = _stated(s, rows=rows, seen_before=seen_before[rows], lesions=lesions)
    return (
        _merge(columns, exam=exam, to=to, denied=denied, denied_exam=denied_exam, denied_to=denied_to),
        start,
        start[:-1] + stated,
    )


def _stated(s: Sightings, *, rows: np.ndarray, seen_before: np.ndarray, lesions: Lesions) -> dict[str, np.ndarray]:
    """Columns of the findings that are seen or resolved."""
    lesion, prior = s.lesion[rows], s.prior[rows]
    here = s.seen[rows]
    size, level = s.size[rows] * here, s.level[rows] * here
    before = np.maximum(prior, 0)
    prior_size = np.where(seen_before, s.size[before], 0)
    change, percent = _changes(
        size=size,
        prior_size=prior_size,
        step=level - s.level[before],
        compared=prior >= 0,
        seen_before=seen_before,
        there_before=(prior >= 0) & s.there[before],
        here=here,
    )
    drawn = here & (lesions.site[lesion] >= 0) & (size > 0)
    axes = np.round(lesions.shape[lesion] * size[:, None], 1)
    placed = here & (lesions.site[lesion] >= 0)
    return {
        "finding": lesions.finding[lesion],
        "lesion": lesions.number[lesion],
        "certainty": np.where(here, lesions.certainty[lesion], 0),
        "side": lesions.side[lesion],
        "site": lesions.site[lesion],
        "severity": level,
        "size_mm": size,
        "axes_mm": np.where(drawn[:, None], axes, np.nan),
        "center_mm": np.where(placed[:, None], lesions.center[lesion], np.nan),
        "change": change,
        "change_percent": percent,
        "prior_size_mm": prior_size,
    }


def _changes(
    *,
    size: np.ndarray,
    prior_size: np.ndarray,
    step: np.ndarray,
    compared: np.ndarray,
    seen_before: np.ndarray,
    there_before: np.ndarray,
    here: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Change codes and whole percents (0: none)."""
    difference = size - prior_size
    percent = np.rint(100 * difference / np.maximum(prior_size, 1)).astype(np.int64)
    large = np.abs(difference) >= STABLE_MM
    moved = large & ((np.abs(percent) >= STABLE_PERCENT) | (np.abs(difference) >= ALWAYS_MM))
    trend = np.where(size > 0, np.sign(difference) * moved, np.sign(step))
    change = np.select(
        [~here, ~compared, ~there_before, ~seen_before, trend > 0, trend < 0],
        [RESOLVED, FIRST, NEW, FIRST, LARGER, SMALLER],
        default=STABLE,
    )
    told = (size > 0) & ((change == LARGER) | (change == SMALLER))
    return change, np.where(told, percent, 0)


def _denied(exams: Exams, *, exam: np.ndarray, finding: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exam and finding of the explicit negatives: never of what is there, a broader word for it, or its origin."""
    t = tables()
    taken = np.zeros((len(exams.day), t.allowed_sex.shape[1]), dtype=bool)
    taken[exam[there][:, None], t.undeniable[finding[there]]] = True
    codes = t.negative_finding[exams.group]
    each = np.arange(codes.shape[1], dtype=np.uint64)[None]
    index = exams.number.astype(np.uint64)[:, None] * np.uint64(64) + each
    u = exams.draws.rows((slice(None), None)).uniform("negative", index)
    row = np.arange(len(codes))[:, None]
    stated = (u < t.negative_chance[exams.group]) & ~taken[row, codes] & t.allowed_sex[exams.sex[:, None], codes]
    denied_exam, column = np.nonzero(stated)
    return denied_exam, codes[denied_exam, column]


_KINDS = {
    "finding": np.int16,
    "lesion": np.int16,
    "certainty": np.int8,
    "side": np.int8,
    "site": np.int16,
    "severity": np.int8,
    "size_mm": np.int16,
    "change": np.int8,
    "change_percent": np.int16,
    "prior_size_mm": np.int16,
}
_OF_NEGATIVES = {"certainty": ABSENT, "side": NONE, "site": -1}


def _merge(
    stated: dict[str, np.ndarray],
    *,
    exam: np.ndarray,
    to: np.ndarray,
    denied: np.ndarray,
    denied_exam: np.ndarray,
    denied_to: np.ndarray,
) -> FindingColumns:
    total = len(to) + len(denied_to)
    merged: dict[str, np.ndarray] = {}
    for name, kind in _KINDS.items():
        column = np.full(total, _OF_NEGATIVES.get(name, 0), dtype=kind)
        column[to] = stated[name]
        merged[name] = column
    merged["finding"][denied_to] = denied
    for name in ("axes_mm", "center_mm"):
        column = np.full((total, 3), np.nan)
        column[to] = stated[name]
        merged[name] = column
    rows = np.empty(total, dtype=np.int32)
    rows[to], rows[denied_to] = exam, denied_exam
    return FindingColumns(exam=rows, **merged)
