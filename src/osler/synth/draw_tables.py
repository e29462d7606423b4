"""The ontology as arrays, indexed by codes: what the vectorised drawing looks up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import get_args

import numpy as np

from osler.synth.facts import Side
from osler.synth.mirror import mirror_site
from osler.synth.ontology import AGE_BANDS, Activity, Course, Finding, Ontology, load_ontology

COURSES: tuple[Course, ...] = get_args(Course)
ACTIVITIES: tuple[Activity, ...] = get_args(Activity)
LATERALITIES = ("none", "site", "paired", "exam")
CERTAIN = 0.9
"""A pathway's condition from this chance on is its cause: it holds at any age."""
FACTOR_STEPS = 8  # odds factors are whole powers of 2 ** (1 / 8), so that their sums are exact
LATER_SHARE = 0.35
"""Lesions that appear after the first exam, for each that is there; a tenth of it for a stable course."""
NORMAL = np.array([NormalDist().inv_cdf((i + 0.5) / 65536) for i in range(65536)])


def normal(bits: np.ndarray, *, part: int) -> np.ndarray:
    """Standard normal values from 16 of 64 bits (``part`` 0 to 3 says which)."""
    return NORMAL[(bits >> np.uint64(16 * part)) & np.uint64(0xFFFF)]


def uniform16(bits: np.ndarray, *, part: int) -> np.ndarray:
    """Uniform values in (0, 1) from 16 of 64 bits, in steps of 1/65536."""
    return ((bits >> np.uint64(16 * part)) & np.uint64(0xFFFF)).astype(np.float64) * 2.0**-16 + 2.0**-17


def age_band(age: np.ndarray) -> np.ndarray:
    """Age band (0 to 3) of ages in years."""
    return np.searchsorted(np.array(AGE_BANDS), age, side="right")


def padded(lists: list[list[int]], *, fill: int = -1) -> np.ndarray:
    """Lists of codes as the rows of one array."""
    width = max(1, *(len(row) for row in lists))
    return np.array([row + [fill] * (width - len(row)) for row in lists], dtype=np.int64)


def cumulative(weights: np.ndarray) -> np.ndarray:
    """Rows of weights as rising shares; the last with weight is above 1: a draw always falls below it."""
    shares = np.cumsum(weights, axis=-1) / np.sum(weights, axis=-1, keepdims=True)
    shares[shares > 1 - 1e-9] = 2.0
    return shares


def choose(shares: np.ndarray, *, u: np.ndarray) -> np.ndarray:
    """Index of the first share above ``u``, row by row.

    Args:
        shares: (K,) or (N, K) from `cumulative`.
        u: (N,) in [0, 1).
    """
    return (u[:, None] >= shares).sum(axis=1)


def sum_of_rows(table: np.ndarray, *, chosen: np.ndarray) -> np.ndarray:
    """Sums the rows of a table that each owner has: ``chosen @ table`` without BLAS and its threads.

    Args:
        table: (C, K).
        chosen: (N, C) bool, few of them true.

    Returns:
        (N, K).
    """
    owner, code = np.nonzero(chosen)
    total = np.zeros((len(chosen), table.shape[1]), dtype=table.dtype)
    if len(owner):
        start = np.nonzero(np.concatenate([[True], owner[1:] != owner[:-1]]))[0]
        total[owner[start]] = np.add.reduceat(table[code], start, axis=0)
    return total


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tables:
    """Arrays over findings (F), groups (G), sites (S), pathways (W), protocols (R)."""

    groups: tuple[str, ...]
    odds: np.ndarray  # (G, bands, sexes, F)
    most_odds: np.ndarray  # (W, bands, sexes, F): greatest over the groups of the pathway
    factor_steps: np.ndarray  # (conditions, F) int16
    site_choices: np.ndarray  # (F, most sites)
    site_count: np.ndarray  # (F,)
    site_partner: np.ndarray  # (S,) the site on the other side
    site_center: np.ndarray  # (S, 3)
    site_half: np.ndarray  # (S, 3)
    site_room: np.ndarray  # (S,)
    site_side: np.ndarray  # (S,) codes of sides
    site_region: np.ndarray  # (S,) 0 trunk, 1 head, 2 knee
    laterality: np.ndarray  # (F,)
    both: np.ndarray
    measured: np.ndarray  # (F,) bool
    median: np.ndarray
    spread: np.ndarray
    least: np.ndarray
    most: np.ndarray
    graded: np.ndarray  # (F,) bool
    severity: np.ndarray  # (F, 3) rising shares
    course: np.ndarray  # (F, courses) rising shares
    doubling: np.ndarray
    resolves: np.ndarray
    later: np.ndarray  # share of lesions that appear after the first exam
    lesions: np.ndarray
    uncertain: np.ndarray
    excludes: np.ndarray  # (F,) 0: none
    undeniable: np.ndarray  # (F, most) codes, F: none: itself, broader findings, what it was taken from
    needs: np.ndarray  # (F, most) codes, F: none
    taken_from: np.ndarray  # (F, most) codes, F: none
    negative_finding: np.ndarray  # (G, K) codes, F: none
    negative_chance: np.ndarray  # (G, K)
    allowed_sex: np.ndarray  # (2, F + 1) bool
    diagnosis: np.ndarray  # (F,) condition, -1: none
    activity: np.ndarray  # (F, activities)
    protocol_group: np.ndarray  # (R,)
    protocol_family: np.ndarray  # (R,): exams of one family are compared
    first_protocol: np.ndarray  # (W, R) rising shares
    later_protocol: np.ndarray
    condition: np.ndarray  # (W, bands, sexes, conditions): chance of the chronic ones


@cache
def tables() -> Tables:
    """The arrays of the installed ontology."""
    ontology = load_ontology()
    groups = tuple(dict.fromkeys(protocol.group for protocol in ontology.protocols))
    protocol_group = np.array([groups.index(protocol.group) for protocol in ontology.protocols])
    first = np.array([[p.first.get(r.key, 0.0) for r in ontology.protocols] for p in ontology.pathways])
    later = np.array([[p.later.get(r.key, 0.0) for r in ontology.protocols] for p in ontology.pathways])
    condition = _condition_chances(ontology)
    steps = _factor_steps(ontology)
    share = np.array([p.weight for p in ontology.pathways])[:, None] * (first / first.sum(axis=1, keepdims=True))
    seen = np.stack([share[:, protocol_group == g].sum(axis=1) for g in range(len(groups))])
    odds = _odds(ontology, groups=groups) / _usual_factor(condition, steps=steps, seen=seen)
    most = np.stack([odds[np.unique(protocol_group[(first[i] + later[i]) > 0])].max(axis=0) for i in range(len(first))])
    families = [f"{p.modality}{p.region}{p.group if p.modality == 'SM' else ''}" for p in ontology.protocols]
    negatives = _negatives(ontology, groups=groups)
    keys = [finding.key for finding in ontology.findings]
    conditions = [condition.key for condition in ontology.conditions]
    return Tables(
        groups=groups,
        odds=odds,
        most_odds=most,
        factor_steps=steps,
        **_site_columns(ontology),
        **_finding_columns(ontology.findings),
        undeniable=_codes([[*_above(f, ontology=ontology), *f.taken_from] for f in ontology.findings], keys=keys),
        needs=_codes([f.needs for f in ontology.findings], keys=keys),
        taken_from=_codes([f.taken_from for f in ontology.findings], keys=keys),
        negative_finding=negatives[0],
        negative_chance=negatives[1],
        diagnosis=np.array([conditions.index(f.diagnosis) if f.diagnosis else -1 for f in ontology.findings]),
        protocol_group=protocol_group,
        protocol_family=np.array([sorted(set(families)).index(name) for name in families]),
        first_protocol=cumulative(first),
        later_protocol=cumulative(later),
        condition=condition,
    )


def _condition_chances(ontology: Ontology) -> np.ndarray:
    """Chance of each chronic condition (pathways, bands, sexes, conditions)."""
    conditions = ontology.conditions
    percent = np.array([c.percent for c in conditions]).T / 100
    factor = np.array([[c.female for c in conditions], [c.male for c in conditions]])
    chance = np.minimum(percent[None, :, None, :] * factor[None, None], 0.95)
    boost = np.array([[p.conditions.get(c.key, 0.0) for c in conditions] for p in ontology.pathways])
    by_age = np.minimum(1.0, percent / np.maximum(percent.mean(axis=0), 1e-12))
    fitting = np.where(boost[:, None, :] < CERTAIN, by_age[None], 1.0)[:, :, None, :] * np.minimum(1.0, factor)
    return np.maximum(chance, boost[:, None, None, :] * fitting)


def _usual_factor(condition: np.ndarray, *, steps: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Mean odds factor (G, bands, sexes, F) of those who get a protocol: tables give prevalence over all of them."""
    weight = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1e-12)
    chance = np.einsum("gw,wbsc->gbsc", weight, condition)
    usual = np.ones((*chance.shape[:3], steps.shape[1]))
    for c, f in zip(*np.nonzero(steps), strict=True):
        usual[..., f] *= 1 + chance[..., c] * (2.0 ** (steps[c, f] / FACTOR_STEPS) - 1)
    return usual


def _odds(ontology: Ontology, *, groups: tuple[str, ...]) -> np.ndarray:
    odds = np.zeros((len(groups), 4, 2, len(ontology.findings)))
    for f, finding in enumerate(ontology.findings):
        for group, entry in finding.prevalence.items():
            share = np.array(entry.percent) / 100
            for sex, (name, factor) in enumerate((("female", entry.female), ("male", entry.male))):
                if name in finding.sexes:
                    odds[groups.index(group), :, sex, f] = share / (1 - share) * factor
    return odds


def _factor_steps(ontology: Ontology) -> np.ndarray:
    steps = np.zeros((len(ontology.conditions), len(ontology.findings)), dtype=np.int16)
    names = [condition.key for condition in ontology.conditions]
    for f, finding in enumerate(ontology.findings):
        for condition, factor in finding.raised_by.items():
            steps[names.index(condition), f] = round(np.log2(factor) * FACTOR_STEPS)
    return steps


def _codes(names: list[Sequence[str]], *, keys: list[str]) -> np.ndarray:
    """Rows of codes, filled with the number of keys."""
    return padded([[keys.index(name) for name in row] for row in names], fill=len(keys))


def _above(finding: Finding, *, ontology: Ontology) -> list[str]:
    """The finding's key and those of all broader findings."""
    named = {entry.key: entry for entry in ontology.findings}
    found = [finding.key]
    for key in found:
        found.extend(name for name in named[key].is_a if name not in found)
    return found


def _site_columns(ontology: Ontology) -> dict[str, np.ndarray]:
    sides: tuple[str, ...] = get_args(Side)
    keys = {site.key: i for i, site in enumerate(ontology.sites)}
    choices = [[keys[name] for name in finding.sites] for finding in ontology.findings]
    return {
        "site_choices": padded(choices),
        "site_count": np.array([len(row) for row in choices]),
        "site_center": np.array([site.center for site in ontology.sites]),
        "site_half": np.array([site.half for site in ontology.sites]),
        "site_room": np.array([site.room_mm for site in ontology.sites]),
        "site_partner": np.array([keys[mirror_site(site.key)] for site in ontology.sites]),
        "site_side": np.array([sides.index(site.side) for site in ontology.sites]),
        "site_region": np.array(
            [("head", "knee").index(s.region) + 1 if s.region in ("head", "knee") else 0 for s in ontology.sites]
        ),
    }


def _finding_columns(findings: tuple[Finding, ...]) -> dict[str, np.ndarray]:
    groups = sorted({finding.excludes for finding in findings} - {""})
    measures = [finding.measure for finding in findings]
    return {
        "laterality": np.array([LATERALITIES.index(f.laterality) for f in findings]),
        "both": np.array([f.both for f in findings]),
        "measured": np.array([m is not None for m in measures]),
        "median": np.array([m.median_mm if m else 1.0 for m in measures]),
        "spread": np.array([m.spread if m else 0.0 for m in measures]),
        "least": np.array([m.least_mm if m else 1.0 for m in measures]),
        "most": np.array([m.most_mm if m else 1.0 for m in measures]),
        "graded": np.array([f.severities is not None for f in findings]),
        "severity": cumulative(np.array([f.severities or (1.0, 1.0, 1.0) for f in findings])),
        "course": cumulative(np.array([[f.courses.get(name, 0.0) for name in COURSES] for f in findings])),
        "doubling": np.array([f.doubling_days for f in findings]),
        "resolves": np.array([f.resolves_days for f in findings]),
        "later": np.array(
            [LATER_SHARE * (1 - 0.9 * f.courses.get("stable", 0) / sum(f.courses.values())) for f in findings]
        ),
        "lesions": np.array([f.lesions for f in findings]),
        "uncertain": np.array([f.uncertain for f in findings]),
        "excludes": np.array([groups.index(f.excludes) + 1 if f.excludes else 0 for f in findings]),
        "allowed_sex": np.array([[sex in f.sexes for f in findings] + [False] for sex in ("female", "male")]),
        "activity": np.array([[f.activity.get(name, 0.0) for name in ACTIVITIES] for f in findings]),
    }


def _negatives(ontology: Ontology, *, groups: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    lists = [
        [(f, finding.negative[group]) for f, finding in enumerate(ontology.findings) if group in finding.negative]
        for group in groups
    ]
    codes = padded([[f for f, _ in row] for row in lists], fill=len(ontology.findings))
    chances = np.zeros(codes.shape)
    for g, row in enumerate(lists):
        chances[g, : len(row)] = [chance for _, chance in row]
    return codes, chances
