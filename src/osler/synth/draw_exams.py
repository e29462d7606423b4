"""Draws the exams: days, protocols, what each is compared with, why it was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from osler.synth.draw_patients import People
from osler.synth.draw_tables import choose, cumulative, normal, tables
from osler.synth.draws import Draws
from osler.synth.ontology import load_ontology

MOST_EXAMS = 6
_SIDE = {"left": 0, "right": 1, "none": 4}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exams:
    """One row an exam, in order of patient and time."""

    draws: Draws
    start: np.ndarray  # (P + 1,)
    patient: np.ndarray
    number: np.ndarray
    day: np.ndarray
    protocol: np.ndarray
    group: np.ndarray
    compared: np.ndarray  # row, -1: none
    compared_day: np.ndarray
    age: np.ndarray
    sex: np.ndarray
    band: np.ndarray  # age band on day 0
    side: np.ndarray
    indication: np.ndarray


@cache
def _gaps() -> tuple[np.ndarray, np.ndarray]:
    pathways = load_ontology().pathways
    return np.array([p.gap_days for p in pathways]), np.array([p.gap_spread for p in pathways])


def draw_exams(people: People) -> Exams:
    """Draws the exams of all patients."""
    t = tables()
    start = np.concatenate([[0], np.cumsum(people.exams)])
    patient = np.repeat(np.arange(len(people.exams)), people.exams)
    number = np.arange(start[-1]) - start[patient]
    draws = people.draws.rows(patient)
    pathway = people.pathway[patient]
    bits = draws.bits("exam", number)
    day = _days(people, patient=patient, number=number, start=start, bits=bits)
    u = (bits >> np.uint64(40)) * 2.0**-24
    shares = np.where((number == 0)[:, None], t.first_protocol[pathway], t.later_protocol[pathway])
    protocol = choose(shares, u=u)
    compared = _compared(t.protocol_family[protocol], number=number)
    side = np.where(people.draws.bits("side") >> np.uint64(63) > 0, _SIDE["left"], _SIDE["right"])[patient]
    return Exams(
        draws=draws,
        start=start,
        patient=patient,
        number=number,
        day=day,
        protocol=protocol,
        group=t.protocol_group[protocol],
        compared=compared,
        compared_day=np.where(compared >= 0, day[compared], 0),
        age=people.age[patient] + (day + 365 - people.birthday[patient]) // 365,
        sex=people.sex[patient],
        band=people.band[patient],
        side=np.where(_one_sided()[protocol], side, _SIDE["none"]),
        indication=_indications(people, patient=patient, number=number, protocol=protocol, draws=draws),
    )


def _days(
    people: People, *, patient: np.ndarray, number: np.ndarray, start: np.ndarray, bits: np.ndarray
) -> np.ndarray:
    """Days since the first exam; gaps are log-normal, one day at least."""
    median, spread = _gaps()
    pathway = people.pathway[patient]
    gap = np.rint(median[pathway] * np.exp(spread[pathway] * np.clip(normal(bits, part=0), -2.5, 2.5)))
    gap = np.where(number == 0, 0, np.maximum(gap, 1)).astype(np.int64)
    total = np.cumsum(gap)
    return total - total[start[patient]]


def _compared(family: np.ndarray, *, number: np.ndarray) -> np.ndarray:
    """Row of the latest earlier exam of the same family and patient, -1 if none."""
    row = np.arange(len(number))
    compared = np.full(len(number), -1)
    for back in range(MOST_EXAMS - 1, 0, -1):
        earlier = np.maximum(row - back, 0)
        same = (number >= back) & (family[earlier] == family)
        compared[same] = earlier[same]
    return compared


@cache
def _one_sided() -> np.ndarray:
    return np.array([p.region == "knee" or p.group == "breast-he" for p in load_ontology().protocols])


@cache
def _indication_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes (G, K), weights first and later (2, G, K), needed condition (G, K; -1: none)."""
    ontology, groups = load_ontology(), tables().groups
    conditions = [condition.key for condition in ontology.conditions]
    lists = [[i for i, entry in enumerate(ontology.indications) if group in entry.groups] for group in groups]
    width = max(len(row) for row in lists)
    codes = np.zeros((len(groups), width), dtype=np.int64)
    weights, needed = np.zeros((2, len(groups), width)), np.full((len(groups), width), -1)
    for g, row in enumerate(lists):
        for k, i in enumerate(row):
            entry = ontology.indications[i]
            codes[g, k] = i
            weights[0, g, k] = entry.weight if entry.when != "later" else 0.0
            weights[1, g, k] = entry.weight if entry.when != "first" else 0.0
            if entry.condition:
                needed[g, k] = conditions.index(entry.condition)
    return codes, weights, needed


def _indications(
    people: People, *, patient: np.ndarray, number: np.ndarray, protocol: np.ndarray, draws: Draws
) -> np.ndarray:
    codes, weights, needed = _indication_tables()
    group = tables().protocol_group[protocol]
    need = needed[group]
    may = (need < 0) | people.has[patient[:, None], need]
    shares = cumulative(weights[np.minimum(number, 1), group] * may)
    return codes[group, choose(shares, u=draws.uniform("indication", number))]
