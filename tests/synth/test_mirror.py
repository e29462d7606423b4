"""Mirroring swaps left and right everywhere, and twice is nothing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from osler.synth.anatomy import sites
from osler.synth.draw import draw_patient
from osler.synth.mirror import mirror, mirror_site

SWAPPED = {"left": "right", "right": "left"}


@settings(max_examples=60)
@given(st.integers(0, 2**40 - 1))
def test_mirroring_twice_changes_nothing(number):
    patient = draw_patient(seed=9, number=number)
    assert mirror(mirror(patient)) == patient


@settings(max_examples=60)
@given(st.integers(0, 2**40 - 1))
def test_sides_sites_and_positions_swap_and_nothing_else(number):
    patient = draw_patient(seed=9, number=number)
    image = mirror(patient)
    assert (image.labs, image.conditions) == (patient.labs, patient.conditions)
    assert image.anatomy == replace(patient.anatomy, shape=-patient.anatomy.shape)
    for exam, other in zip(patient.exams, image.exams, strict=True):
        assert other.side == SWAPPED.get(exam.side, exam.side)
        for finding, swapped in zip(exam.findings, other.findings, strict=True):
            assert swapped.side == SWAPPED.get(finding.side, finding.side)
            assert "left" not in finding.site or "right" in swapped.site
            assert (swapped.size_mm, swapped.axes_mm, swapped.change) == (
                finding.size_mm,
                finding.axes_mm,
                finding.change,
            )
            if finding.center_mm is not None:
                assert swapped.center_mm == (-finding.center_mm[0], *finding.center_mm[1:])


def test_every_sided_site_has_a_partner_in_the_mirrored_place():
    by_key = {site.key: site for site in sites()}
    for site in by_key.values():
        partner = by_key[mirror_site(site.key)]
        assert mirror_site(partner.key) == site.key
        assert partner.side == SWAPPED.get(site.side, site.side)
