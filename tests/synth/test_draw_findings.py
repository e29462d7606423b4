"""What findings of one exam say agrees with the exam before it, whatever the seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.synth.draw import draw_facts
from osler.synth.draw_exams import draw_exams
from osler.synth.draw_findings import ALWAYS_MM, STABLE_MM, STABLE_PERCENT, _changes, follow_lesions
from osler.synth.draw_lesions import draw_lesions
from osler.synth.draw_patients import draw_bodies, draw_people
from osler.synth.draws import Draws
from osler.synth.ontology import load_ontology


@pytest.fixture(scope="module")
def patients():
    table = draw_facts(seed=11, patients=np.arange(2000))
    return [table.patient(row) for row in range(2000)]


def _stated(exam):
    return [finding for finding in exam.findings if finding.certainty != "absent"]


def test_explicit_negatives_carry_nothing_else_and_come_last(patients):
    for exam in (exam for patient in patients for exam in patient.exams):
        absent = [finding.certainty == "absent" for finding in exam.findings]
        assert absent == sorted(absent)
        for finding in exam.findings[len(absent) - sum(absent) :]:
            assert (finding.lesion, finding.side, finding.site, finding.severity) == (0, "none", "", "none")
            assert (finding.size_mm, finding.axes_mm, finding.center_mm) == (None, None, None)
            assert (finding.change, finding.change_percent, finding.prior_size_mm) == ("first", None, None)


def test_nothing_that_is_there_is_denied(patients):
    broader = {finding.key: finding.is_a for finding in load_ontology().findings}
    for exam in (exam for patient in patients for exam in patient.exams):
        stated = {finding.key for finding in _stated(exam)}
        stated |= {above for key in stated for above in broader[key]}
        denied = [finding.key for finding in exam.findings if finding.certainty == "absent"]
        assert not stated & set(denied)
        assert len(denied) == len(set(denied))


@pytest.fixture(scope="module")
def samples():
    """Patients with a tumor on a slide that a mass or nodule can be the origin of."""
    table = draw_facts(seed=12, patients=np.arange(30_000))
    tumors = [i for i, finding in enumerate(load_ontology().findings) if finding.taken_from]
    f = table.findings
    rows = np.isin(f.finding, tumors) & (f.certainty != 3)
    return [table.patient(row) for row in np.unique(table.exams.patient[f.exam[rows]])]


ORIGINS = {finding.key: finding.taken_from for finding in load_ontology().findings}


def _tumors(patient, *, origin):
    """Day and finding of what is on slides and may come from an origin, while it is there."""
    stated = [(exam.day, finding) for exam in patient.exams for finding in _stated(exam)]
    return [(day, f) for day, f in stated if origin in ORIGINS[f.key] and f.change != "resolved"]


def test_a_sample_lies_on_the_side_of_what_it_was_taken_from(samples):
    compared = {"left": 0, "right": 0}
    for patient in samples:
        masses = {f.side for exam in patient.exams for f in _stated(exam) if f.key == "lung-mass"}
        tumors = {finding.side for _, finding in _tumors(patient, origin="lung-mass")}
        assert len(tumors) <= 1
        if masses and tumors:
            assert tumors == masses
            compared[tumors.pop()] += 1
    assert min(compared.values()) > 30


@pytest.mark.parametrize("origin", ["lung-mass", "colonic-mass"])
def test_no_scan_denies_the_origin_of_a_tumor_while_a_slide_shows_it(samples, origin):
    scans = 0
    for patient in samples:
        days = [day for day, _ in _tumors(patient, origin=origin)]
        for exam in patient.exams:
            if days and min(days) <= exam.day <= max(days):
                denied = {finding.key for finding in exam.findings if finding.certainty == "absent"}
                scans += bool(denied)
                assert origin not in denied
                assert origin != "lung-mass" or "pulmonary-nodule" not in denied
    assert scans > 50


def test_a_sample_is_there_only_while_its_origin_is_and_no_larger():
    people = draw_people(Draws(seed=13, patients=np.arange(30_000)))
    exams = draw_exams(people)
    lesions = draw_lesions(people, exams=exams, bodies=draw_bodies(people))
    sightings = follow_lesions(lesions, exams=exams)
    keys = [finding.key for finding in load_ontology().findings]
    lesion = sightings.lesion
    place = {pair: row for row, pair in enumerate(zip(sightings.exam.tolist(), lesion.tolist(), strict=True))}
    samples = np.nonzero(lesions.origin[lesion] >= 0)[0].tolist()
    met = {"lung-mass": [0, 0], "pulmonary-nodule": [0, 0], "colonic-mass": [0, 0]}
    for row in samples:
        origin = int(lesions.origin[lesion[row]])
        beside = place[int(sightings.exam[row]), origin]
        assert lesions.patient[origin] == lesions.patient[lesion[row]]
        assert sightings.there[row] <= sightings.there[beside]
        assert sightings.size[row] <= sightings.size[beside]
        met[keys[lesions.finding[origin]]][int(sightings.there[row])] += 1
    assert all(gone > 2 and there > 10 for gone, there in met.values()), met


def test_change_agrees_with_the_exam_compared(patients):
    seen = set()
    for patient in patients:
        for exam in patient.exams:
            prior = {} if exam.compared is None else {f.lesion: f for f in _stated(patient.exams[exam.compared])}
            for finding in _stated(exam):
                _check_change(finding, before=prior.get(finding.lesion), compared=exam.compared is not None)
                seen.add(finding.change)
    assert seen == {"first", "new", "larger", "smaller", "stable", "resolved"}


def _check_change(finding, *, before, compared):
    was_there = before is not None and before.visible
    assert finding.prior_size_mm == (before.size_mm if was_there else None)
    if finding.change in ("larger", "smaller", "stable", "resolved"):
        assert was_there
        assert (before.key, before.site, before.side) == (finding.key, finding.site, finding.side)
    else:
        assert not was_there
        assert compared or finding.change == "first"
    if finding.change == "resolved":
        assert finding.certainty == "present"
        assert (finding.size_mm, finding.axes_mm, finding.center_mm) == (None, None, None)
        assert finding.severity == "none"
    if finding.size_mm is None or finding.change not in ("larger", "smaller", "stable"):
        assert finding.change_percent is None
        return
    difference = finding.size_mm - before.size_mm
    percent = round(100 * difference / before.size_mm)
    moved = abs(difference) >= STABLE_MM and (abs(percent) >= STABLE_PERCENT or abs(difference) >= ALWAYS_MM)
    expected = ("larger" if difference > 0 else "smaller") if moved else "stable"
    assert finding.change == expected
    assert finding.change_percent == (percent if moved else None)


@given(st.integers(1, 120), st.integers(1, 120))
def test_stable_is_within_the_documented_threshold(now, before):
    yes = np.array([True])
    change, percent = _changes(
        size=np.array([now]),
        prior_size=np.array([before]),
        step=np.array([0]),
        compared=yes,
        seen_before=yes,
        there_before=yes,
        here=yes,
    )
    small = abs(now - before) < STABLE_MM
    mild = abs(round(100 * (now - before) / before)) < STABLE_PERCENT and abs(now - before) < ALWAYS_MM
    assert (change[0] == 4) == (small or mild)
    assert (percent[0] != 0) == (change[0] != 4)


def test_grades_move_with_the_words(patients):
    grades = ["none", "mild", "moderate", "severe"]
    for patient in patients[:1500]:
        for exam in patient.exams:
            if exam.compared is None:
                continue
            prior = {f.lesion: f for f in _stated(patient.exams[exam.compared])}
            for finding in _stated(exam):
                if (
                    finding.severity == "none"
                    or finding.size_mm
                    or finding.change not in ("larger", "smaller", "stable")
                ):
                    continue
                step = grades.index(finding.severity) - grades.index(prior[finding.lesion].severity)
                assert finding.change == {1: "larger", 0: "stable", -1: "smaller"}[int(np.sign(step))]


def test_measures_and_grades_follow_the_ontology(patients):
    ontology = {finding.key: finding for finding in load_ontology().findings}
    rooms = {site.key: site.room_mm for site in load_ontology().sites}
    for exam in (exam for patient in patients for exam in patient.exams):
        for finding in (finding for finding in exam.findings if finding.visible):
            entry = ontology[finding.key]
            assert (finding.size_mm is not None) == (entry.measure is not None)
            assert (finding.severity != "none") == (entry.severities is not None)
            assert (finding.site != "") == bool(entry.sites)
            assert (finding.center_mm is not None) == bool(entry.sites)
            if finding.size_mm is not None:
                assert max(finding.axes_mm) == finding.size_mm
                assert min(finding.axes_mm) > 0.5 * finding.size_mm
                assert finding.size_mm <= min(rooms[finding.site], entry.measure.most_mm)


def test_findings_are_those_of_the_protocol_and_of_the_sex(patients):
    ontology = load_ontology()
    entries = {finding.key: finding for finding in ontology.findings}
    group = {protocol.key: protocol.group for protocol in ontology.protocols}
    for patient in patients:
        for exam in patient.exams:
            for finding in exam.findings:
                entry = entries[finding.key]
                assert patient.sex in entry.sexes
                if finding.visible:
                    assert group[exam.protocol] in entry.prevalence
                if finding.certainty == "absent":
                    assert group[exam.protocol] in entry.negative


def test_a_lesion_stays_where_it_is(patients):
    for patient in patients:
        places = {}
        for exam in patient.exams:
            for finding in (finding for finding in exam.findings if finding.visible):
                place = (finding.key, finding.site, finding.side, finding.center_mm)
                assert places.setdefault(finding.lesion, place) == place


def test_findings_that_need_another_stand_beside_it(patients):
    needs = {finding.key: finding.needs for finding in load_ontology().findings if finding.needs}
    found = set()
    for exam in (exam for patient in patients for exam in patient.exams):
        shown = {finding.key for finding in exam.findings if finding.visible}
        for key in shown & set(needs):
            assert shown & set(needs[key]), key
            found.add(key)
    assert len(found) >= 5


@settings(max_examples=10)
@given(st.integers(0, 2**39))
def test_negative_start_splits_the_findings(first):
    table = draw_facts(seed=3, patients=np.arange(first, first + 20))
    e, f = table.exams, table.findings
    assert (e.finding_start[:-1] <= e.negative_start).all()
    assert (e.negative_start <= e.finding_start[1:]).all()
    negative = np.arange(len(f.exam)) >= e.negative_start[f.exam]
    assert (negative == (f.certainty == 3)).all()
    assert (np.repeat(np.arange(len(e.day)), np.diff(e.finding_start)) == f.exam).all()
