"""Draws which findings a patient has over all exams: where, how large, and their course.

A finding of prevalence p in a protocol is there on the first exam for patients whose
draw u lies below p. The same u is held against the prevalence of each protocol, so a
nodule seen on a radiograph is also seen on CT, not the other way round. Some
more (`draw_tables.LATER_SHARE`) appear after the first exam.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.synth.draw_exams import Exams
from osler.synth.draw_patients import People
from osler.synth.draw_tables import FACTOR_STEPS, LATERALITIES, choose, normal, sum_of_rows, tables, uniform16
from osler.synth.draws import Draws

NEXT_LESION = 0.4
"""Chance that one more lesion follows, up to the finding's most."""

LEFT, RIGHT, BOTH, MIDLINE, NONE = range(5)
_EXP2 = 2.0 ** (np.arange(-256, 257) / FACTOR_STEPS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesions:
    """One row a lesion (M), in order of patient."""

    draws: Draws
    patient: np.ndarray
    finding: np.ndarray
    number: np.ndarray  # 1, 2, ... within the patient
    chance: np.ndarray  # (M,) u, to be held against the prevalence
    factor: np.ndarray  # (M,) odds factor of the patient's conditions
    onset: np.ndarray  # days; 0: there on the first exam
    course: np.ndarray
    side: np.ndarray
    site: np.ndarray  # -1: none
    origin: np.ndarray  # row of the lesion that it is a sample of, -1: none
    size: np.ndarray  # mm at onset (or day 0)
    room: np.ndarray  # greatest size
    shape: np.ndarray  # (M, 3) axes of size 1
    center: np.ndarray  # (M, 3) mm
    level: np.ndarray  # severity 1 to 3 at onset, 0: not graded
    certainty: np.ndarray
    doubling: np.ndarray
    resolves: np.ndarray
    turn: np.ndarray  # days from onset until treatment works
    response: np.ndarray  # share that treatment leaves


def draw_lesions(people: People, *, exams: Exams, bodies: dict[str, np.ndarray]) -> Lesions:
    """Draws all lesions of all patients."""
    patient, finding, instance, chance, factor, later = _which(people)
    draws = people.draws.rows(patient)
    index = finding * 16 + instance
    t = tables()
    last = exams.day[exams.start[patient + 1] - 1]
    time = draws.bits("lesion-time", index)
    onset = np.where(later, 1 + np.floor(uniform16(time, part=0) * last).astype(np.int64), 0)
    kind = draws.bits("lesion-kind", index)
    course = choose(t.course[finding], u=uniform16(kind, part=0))
    level = np.where(t.graded[finding], choose(t.severity[finding], u=uniform16(kind, part=1)) + 1, 0)
    sure = uniform16(kind, part=2)
    certainty = np.where(sure < t.uncertain[finding] * 0.5, 2, np.where(sure < t.uncertain[finding], 1, 0))
    place = draws.bits("lesion-place", finding)
    site, side = _places(place, finding=finding, instance=instance, shown=_exam_sides(people)[patient])
    origin = _origins(patient, finding=finding)
    site, side = _beside(origin, site=site, side=side)
    size = draws.bits("lesion-size", index)
    millimeters, room = _sizes(size, finding=finding, site=site)
    turn_bits = uniform16(time, part=1)
    return Lesions(
        draws=draws,
        patient=patient,
        finding=finding,
        number=_numbers(patient, count=len(people.exams)),
        chance=chance,
        factor=factor,
        onset=onset,
        course=course,
        side=side,
        site=site,
        origin=origin,
        size=millimeters,
        room=room,
        shape=_shapes(size),
        center=_centers(draws.bits("lesion-center", index), site=site, side=side, patient=patient, bodies=bodies),
        level=level,
        certainty=certainty,
        doubling=t.doubling[finding] * np.exp(0.5 * normal(time, part=2)),
        resolves=np.maximum(3, np.rint(t.resolves[finding] * np.exp(0.4 * normal(time, part=3)))).astype(np.int64),
        turn=10 + np.floor(turn_bits * 90).astype(np.int64),
        response=np.where(uniform16(kind, part=3) < 0.25, 0.0, 0.2 + 0.6 * uniform16(kind, part=3)),
    )


def _exam_sides(people: People) -> np.ndarray:
    return np.where(people.draws.bits("side") >> np.uint64(63) > 0, LEFT, RIGHT)


def _which(people: People) -> tuple[np.ndarray, ...]:
    """Patient, finding, instance, u, odds factor and "later" of every lesion."""
    t = tables()
    most = t.most_odds[people.pathway, people.band, people.sex]
    steps = sum_of_rows(t.factor_steps, chosen=people.has)
    factor = _EXP2[np.clip(steps, -256, 256) + 256]
    odds = most * factor
    share = odds / (1 + odds)
    codes = np.arange(share.shape[1], dtype=np.uint64)[None]
    u = people.draws.rows((slice(None), None)).uniform("finding", codes)
    patient, finding = np.nonzero(u < share * (1 + t.later))
    u, share, factor = u[patient, finding], share[patient, finding], factor[patient, finding]
    later = u >= share
    chance = np.where(later, (u - share) / t.later[finding], u)
    keep = one_of_each(t.excludes[finding], patient=patient, rank=chance / share)
    patient, finding, chance, factor, share, later = (
        column[keep] for column in (patient, finding, chance, factor, share, later)
    )
    return _repeat_lesions(
        people, patient=patient, finding=finding, chance=chance, factor=factor, share=share, later=later
    )


def one_of_each(group: np.ndarray, *, patient: np.ndarray, rank: np.ndarray) -> np.ndarray:
    """Marks, for each patient and group above 0, the row of least rank; rows of group 0 all stay."""
    keep = np.ones(len(group), dtype=bool)
    rows = np.nonzero(group)[0]
    key = patient[rows] * (int(group.max(initial=0)) + 1) + group[rows]
    order = np.lexsort((rank[rows], key))
    key = key[order]
    again = np.concatenate([[False], key[1:] == key[:-1]]) if len(key) else np.zeros(0, dtype=bool)
    keep[rows[order[again]]] = False
    return keep


def _repeat_lesions(
    people: People,
    *,
    patient: np.ndarray,
    finding: np.ndarray,
    chance: np.ndarray,
    factor: np.ndarray,
    share: np.ndarray,
    later: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Adds further lesions of the same finding: each with its own u and time."""
    bits = people.draws.rows(patient).bits("lesion-count", finding)
    more = np.zeros(len(patient), dtype=np.int64)
    u = uniform16(bits, part=0)
    for k in range(1, 5):
        more += (u < NEXT_LESION**k) & (tables().lesions[finding] > k)
    row = np.repeat(np.arange(len(patient)), more + 1)
    instance = np.arange(len(row)) - np.repeat(np.cumsum(more + 1) - more - 1, more + 1)
    own = people.draws.rows(patient[row]).bits("lesion-more", finding[row] * 16 + instance)
    first = instance == 0
    chance = np.where(first, chance[row], uniform16(own, part=0) * share[row])
    later = np.where(first, later[row], later[row] | (uniform16(own, part=1) < 0.25))
    return patient[row], finding[row], instance, chance, factor[row], later


def _numbers(patient: np.ndarray, *, count: int) -> np.ndarray:
    first = np.searchsorted(patient, np.arange(count))
    return np.arange(len(patient)) - first[patient] + 1 if len(patient) else np.zeros(0, dtype=np.int64)


def _places(
    bits: np.ndarray, *, finding: np.ndarray, instance: np.ndarray, shown: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Site and side; lesions of one finding lie in different sites while there are enough."""
    t = tables()
    count = t.site_count[finding]
    first = np.floor(uniform16(bits, part=0) * count).astype(np.int64)
    step = np.where(uniform16(bits, part=2) < 0.5, instance, -instance)
    pick = (first + step) % np.maximum(count, 1)
    site = np.where(count > 0, t.site_choices[finding, np.minimum(pick, t.site_choices.shape[1] - 1)], -1)
    u = uniform16(bits, part=1)
    both = t.both[finding]
    paired = np.where(u < both, BOTH, np.where(u < both + (1 - both) / 2, RIGHT, LEFT))
    kind = t.laterality[finding]
    side = np.where(kind == LATERALITIES.index("site"), t.site_side[site], NONE)
    side = np.where(kind == LATERALITIES.index("paired"), paired, side)
    of_exam = kind == LATERALITIES.index("exam")
    elsewhere = of_exam & np.isin(t.site_side[site], (LEFT, RIGHT)) & (t.site_side[site] != shown)
    return np.where(elsewhere, t.site_partner[site], site), np.where(of_exam, shown, side)


def _origins(patient: np.ndarray, *, finding: np.ndarray) -> np.ndarray:
    """Row of the lesion that each sample was taken from (M,), -1 for none and for what is no sample.

    Args:
        patient, finding: ``(M,)``, in order of patient, finding and lesion, so that the first row of a
            patient and finding is its first lesion.
    """
    t = tables()
    nothing = len(t.taken_from)
    row = np.nonzero(t.taken_from[finding, 0] < nothing)[0]
    key = patient * (nothing + 1) + finding
    origin = np.full(len(finding), -1)
    for choice in range(t.taken_from.shape[1]):
        wanted = patient[row] * (nothing + 1) + t.taken_from[finding[row], choice]
        at = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        found = key[at] == wanted
        origin[row[found]] = at[found]
        row = row[~found]
    return origin


def _beside(origin: np.ndarray, *, site: np.ndarray, side: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sites and sides, those of samples moved to the side of their origin, if it has one."""
    of_origin = side[origin]
    moved = (origin >= 0) & np.isin(of_origin, (LEFT, RIGHT)) & (side != of_origin)
    return np.where(moved, tables().site_partner[site], site), np.where(moved, of_origin, side)


def _sizes(bits: np.ndarray, *, finding: np.ndarray, site: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    t = tables()
    room = np.where(site >= 0, np.minimum(t.most[finding], t.site_room[site]), t.most[finding])
    size = t.median[finding] * np.exp(t.spread[finding] * normal(bits, part=0))
    return np.clip(size, t.least[finding], room), room


def _shapes(bits: np.ndarray) -> np.ndarray:
    """Axes of an ellipsoid whose greatest is 1."""
    longest = np.floor(uniform16(bits, part=1) * 3).astype(np.int64)
    axes = np.stack([0.65 + 0.35 * uniform16(bits, part=part) for part in (2, 3, 2)], axis=1)
    axes[:, 2] = 0.65 + 0.35 * np.abs(axes[:, 0] - axes[:, 1]) / 0.35
    axes[np.arange(len(axes)), longest] = 1.0
    return axes


def _centers(
    bits: np.ndarray, *, site: np.ndarray, side: np.ndarray, patient: np.ndarray, bodies: dict[str, np.ndarray]
) -> np.ndarray:
    """Centers in the body frame: uniform in angle, inside the ellipsoid of the site."""
    t = tables()
    angle = 2 * np.pi * uniform16(bits, part=0)
    height = 2 * uniform16(bits, part=1) - 1
    radius = np.cbrt(uniform16(bits, part=2))
    flat = np.sqrt(1 - height * height) * radius
    ball = np.stack([np.cos(angle) * flat, np.sin(angle) * flat, height * radius], axis=1)
    unit = t.site_center[site] + t.site_half[site] * ball
    trunk = np.stack([bodies["half_width_mm"], bodies["half_depth_mm"], bodies["trunk_mm"]], axis=1)[patient]
    knee = np.repeat(bodies["knee_mm"][patient][:, None], 3, axis=1)
    region = t.site_region[site][:, None]
    scale = np.where(region == 1, bodies["head_mm"][patient], np.where(region == 2, knee, trunk))
    center = np.round(unit * scale, 1)
    center[:, 0] *= np.where((t.site_region[site] == 2) & (side == LEFT), -1.0, 1.0)
    return center
