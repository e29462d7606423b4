"""Lesions lie in their sites, as often as the tables say."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.anatomy import sites
from osler.synth.draw import draw_facts
from osler.synth.draw_lesions import one_of_each
from osler.synth.draw_tables import age_band, tables
from osler.synth.fact_table import SIDES
from osler.synth.ontology import load_ontology


@pytest.fixture(scope="module")
def table():
    return draw_facts(seed=21, patients=np.arange(30_000))


def test_every_finding_is_drawn(table):
    visible = (table.findings.certainty != 3) & (table.findings.change != 5)
    drawn = set(np.unique(table.findings.finding[visible]).tolist())
    assert drawn == set(range(len(load_ontology().findings)))


def _expected(finding, *, group, band, sex):
    entry = finding.prevalence[group]
    share = np.array(entry.percent)[band] / 100
    odds = share / (1 - share) * np.where(sex == 0, entry.female, entry.male)
    allowed = np.array([name in finding.sexes for name in ("female", "male")])[sex]
    return odds / (1 + odds) * allowed


@pytest.mark.parametrize("group", ["chest-ct", "chest-xr", "abdomen-ct", "head-ct", "brain-mr", "knee-mr", "liver-mr"])
def test_prevalence_on_first_exams_is_that_of_the_table(table, group):
    ontology, e, f = load_ontology(), table.exams, table.findings
    first = (e.number == 0) & (tables().protocol_group[e.protocol] == tables().groups.index(group))
    band, sex = age_band(table.patients.age[e.patient[first]]), e.sex[first]
    visible = first[f.exam] & (f.certainty != 3)
    pairs = np.unique(f.exam[visible].astype(np.int64) * 1000 + f.finding[visible])
    counts = np.bincount(pairs % 1000, minlength=len(ontology.findings))
    checked = 0
    for code, finding in enumerate(ontology.findings):
        if group not in finding.prevalence or finding.needs or finding.excludes:
            continue
        expected = _expected(finding, group=group, band=band, sex=sex).sum()
        assert abs(counts[code] - expected) < 0.25 * expected + 4 * np.sqrt(expected), finding.key
        checked += 1
    assert checked >= 14


def test_centers_lie_inside_their_site(table):
    f, e, p = table.findings, table.exams, table.patients
    every = sites()
    rows = np.nonzero(~np.isnan(f.center_mm[:, 0]))[0][:20_000]
    patient = e.patient[f.exam[rows]]
    center = np.array([site.center for site in every])[f.site[rows]]
    half = np.array([site.half for site in every])[f.site[rows]]
    region = np.array([site.region for site in every])[f.site[rows]]
    trunk = np.stack([p.half_width_mm, p.half_depth_mm, p.trunk_mm], axis=1)[patient]
    knee = np.repeat(p.knee_mm[patient][:, None], 3, axis=1)
    unit = np.where((region == "head")[:, None], p.head_mm[patient], np.where((region == "knee")[:, None], knee, trunk))
    place = f.center_mm[rows].copy()
    place[(region == "knee") & (f.side[rows] == SIDES.index("left")), 0] *= -1
    inside = (((place - center * unit) / (half * unit + 0.15)) ** 2).sum(axis=1)
    assert inside.max() <= 1.0


def test_sides_are_those_of_sites_or_of_the_knee_shown(table):
    ontology, f, e = load_ontology(), table.findings, table.exams
    kind = np.array([finding.laterality for finding in ontology.findings])[f.finding]
    stated = f.certainty != 3
    site_side = np.array([SIDES.index(site.side) for site in ontology.sites])
    of_site = stated & (kind == "site")
    assert (f.side[of_site] == site_side[f.site[of_site]]).all()
    of_exam = stated & (kind == "exam")
    assert (f.side[of_exam] == e.side[f.exam[of_exam]]).all()
    paired = np.unique(f.side[stated & (kind == "paired")])
    assert {SIDES[side] for side in paired} == {"left", "right", "both"}
    assert (f.side[stated & (kind == "none")] == SIDES.index("none")).all()


def test_sites_are_those_the_ontology_allows(table):
    ontology, f = load_ontology(), table.findings
    keys = [site.key for site in ontology.sites]
    for code, finding in enumerate(ontology.findings):
        used = {keys[site] for site in np.unique(f.site[(f.finding == code) & (f.site >= 0)])}
        assert used <= set(finding.sites)


def test_excluding_findings_never_meet(table):
    groups = np.array([finding.excludes for finding in load_ontology().findings])
    f = table.findings
    for name in set(groups.tolist()) - {""}:
        rows = (f.certainty != 3) & (groups[f.finding] == name)
        pairs = np.unique(np.stack([f.exam[rows], f.finding[rows]], axis=1), axis=0)
        assert len(pairs) > 20
        assert len(np.unique(pairs[:, 0])) == len(pairs)


def test_the_least_rank_of_a_group_stays():
    keep = one_of_each(
        np.array([1, 1, 0, 0, 2, 1]), patient=np.array([0, 0, 0, 0, 0, 1]), rank=np.array([0.5, 0.2, 9, 8, 7, 6])
    )
    assert keep.tolist() == [False, True, True, True, True, True]


def test_conditions_raise_the_odds(table):
    ontology = load_ontology()
    conditions, findings = [[entry.key for entry in part] for part in (ontology.conditions, ontology.findings)]
    has = np.zeros(len(table.patients.age), dtype=bool)
    rows = table.conditions.condition == conditions.index("heart-failure")
    has[table.conditions.patient[rows]] = True
    f, e = table.findings, table.exams
    edema = np.zeros(len(e.day), dtype=bool)
    edema[f.exam[(f.finding == findings.index("pulmonary-edema")) & (f.certainty != 3)]] = True
    shown = (e.number == 0) & (tables().protocol_group[e.protocol] == tables().groups.index("chest-xr"))
    with_it, without = (edema[shown & (has[e.patient] == value)].mean() for value in (True, False))
    assert with_it > 2.5 * without
