"""Volumes follow the facts: same bytes, mirror images, boxes, sizes, courses, HU of real tissue."""

from __future__ import annotations

import csv
import dataclasses
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.synth.draw import draw_patient
from osler.synth.facts import Exam, FindingFact, PatientFacts, Side
from osler.synth.mirror import mirror
from osler.synth.phantoms import ORGANS, render_volume
from osler.synth.phantoms.lesions import LOOKS
from osler.synth.phantoms.render import mask_box

SMALL = (28, 40, 40)


@cache
def exams_of(protocol: str, *, count: int) -> tuple[tuple[PatientFacts, int], ...]:
    found: list[tuple[PatientFacts, int]] = []
    number = 0
    while len(found) < count:
        patient = draw_patient(seed=3, number=number)
        found += [(patient, exam.number) for exam in patient.exams if exam.protocol == protocol][:1]
        number += 1
    return tuple(found)


def with_findings(patient: PatientFacts, *, exam: int, findings: tuple[FindingFact, ...]) -> PatientFacts:
    exams = list(patient.exams)
    exams[exam] = dataclasses.replace(exams[exam], findings=findings)
    return dataclasses.replace(patient, exams=tuple(exams))


PROTOCOLS = ("ct-chest-contrast", "ct-abdomen-portal-venous", "ct-head-plain", "mr-brain-flair", "mr-knee-pd-fs")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_patient_twice_is_the_same_to_the_byte(protocol: str) -> None:
    patient, exam = exams_of(protocol, count=1)[0]
    one, two = (render_volume(patient, exam=exam, shape=SMALL) for _ in range(2))
    assert one.array.tobytes() == two.array.tobytes()
    assert one.lesions_map.tobytes() == two.lesions_map.tobytes()
    assert one.lesions == two.lesions


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_mirrored_patient_gives_the_mirror_image(protocol: str) -> None:
    for patient, exam in exams_of(protocol, count=2):
        plain = render_volume(patient, exam=exam, shape=SMALL, axes="LPS")
        other = render_volume(mirror(patient), exam=exam, shape=SMALL, axes="LPS")
        assert np.array_equal(other.array, plain.array[:, :, ::-1])
        assert np.array_equal(other.organs, plain.organs[:, :, ::-1])
        assert np.array_equal(other.lesions_map, plain.lesions_map[:, :, ::-1])
        for number, box in plain.boxes.items():
            low, high = other.boxes[number].low, other.boxes[number].high
            assert np.allclose(low, (-box.high[0], *box.low[1:]), atol=1e-6)
            assert np.allclose(high, (-box.low[0], *box.high[1:]), atol=1e-6)


@settings(max_examples=8)
@given(number=st.integers(0, 400))
def test_boxes_enclose_their_masks_and_are_tight(number: int) -> None:
    patient = draw_patient(seed=9, number=number)
    exam = next((e.number for e in patient.exams if e.modality in ("CT", "MR")), None)
    if exam is None:
        return
    phantom = render_volume(patient, exam=exam, shape=SMALL)
    for lesion in phantom.lesions:
        mask = phantom.mask(lesion.lesion)
        assert int(mask.sum()) == lesion.voxels > 0
        assert not ((phantom.lesions_map == lesion.lesion) & ~mask).any()
        box = lesion.box.to_voxel(phantom.affine)
        where = np.argwhere(mask)[:, ::-1]
        assert np.allclose(box.low, where.min(axis=0), atol=1e-4)
        assert np.allclose(box.high, where.max(axis=0) + 1, atol=1e-4)
    for name, box in phantom.organ_boxes().items():
        assert box == mask_box(phantom.organs == ORGANS.index(name), affine=phantom.affine)


@settings(max_examples=6)
@given(
    # Four voxels at least: of an ellipsoid that is smaller, the voxels beside its middle miss the ends.
    size=st.integers(24, 40),
    shape=st.tuples(st.floats(0.65, 1), st.floats(0.65, 1), st.floats(0.65, 1)),
    shift=st.tuples(st.floats(-6, 6), st.floats(-6, 6), st.floats(-6, 6)),
    key=st.sampled_from(["pulmonary-nodule", "lung-mass", "cavitary-lesion", "ground-glass-nodule"]),
)
def test_a_size_in_the_mask_is_that_of_the_facts(
    size: int, shape: tuple[float, float, float], shift: tuple[float, float, float], key: str
) -> None:
    patient, exam = exams_of("ct-chest-contrast", count=1)[0]
    axes = [size * s / max(shape) for s in shape]
    body = patient.anatomy
    center = (
        -0.42 * body.half_width_mm + shift[0],
        -0.1 * body.half_depth_mm + shift[1],
        0.17 * body.trunk_mm + shift[2],
    )
    fact = FindingFact(
        key=key,
        lesion=7,
        certainty="present",
        side="right",
        site="right-upper-lobe",
        size_mm=size,
        axes_mm=(axes[0], axes[1], axes[2]),
        center_mm=center,
    )
    spacing = (3.0, 3.0, 4.0)
    phantom = render_volume(
        with_findings(patient, exam=exam, findings=(fact,)), exam=exam, spacing_mm=spacing, axes="LPS"
    )
    box = phantom.boxes[7]
    for k in range(3):
        assert abs(box.size[k] - axes[k]) <= spacing[k] + 1e-3
        assert abs((box.low[k] + box.high[k]) / 2 - center[k]) <= spacing[k]


def test_a_lesion_smaller_than_a_voxel_marks_one() -> None:
    patient, exam = exams_of("ct-chest-contrast", count=1)[0]
    body = patient.anatomy
    center = (-0.42 * body.half_width_mm, 0.0, 0.17 * body.trunk_mm)
    fact = FindingFact(
        key="pulmonary-nodule",
        lesion=3,
        certainty="present",
        side="right",
        site="right-upper-lobe",
        size_mm=3,
        axes_mm=(3.0, 2.5, 2.5),
        center_mm=center,
    )
    phantom = render_volume(with_findings(patient, exam=exam, findings=(fact,)), exam=exam, spacing_mm=(9.0, 9.0, 9.0))
    assert phantom.lesions[0].voxels == 1


def test_a_follow_up_shows_the_same_body_with_a_changed_lesion() -> None:
    patient, number = exams_of("ct-chest-contrast", count=1)[0]
    exam: Exam = patient.exams[number]
    center = (-0.42 * patient.anatomy.half_width_mm, 0.0, 0.17 * patient.anatomy.trunk_mm)
    sized = [
        FindingFact(
            key="pulmonary-nodule",
            lesion=3,
            certainty="present",
            side="right",
            site="right-upper-lobe",
            size_mm=s,
            axes_mm=(s, s, s),
            center_mm=center,
        )
        for s in (12, 24)
    ]
    later = dataclasses.replace(exam, number=1, findings=(sized[1],))
    first = dataclasses.replace(exam, number=0, findings=(sized[0],))
    both = dataclasses.replace(patient, exams=(first, later))
    before, after = (render_volume(both, exam=k, shape=(60, 80, 80)) for k in (0, 1))
    assert np.array_equal(before.organs, after.organs)
    assert after.lesions[0].voxels > 4 * before.lesions[0].voxels
    untouched = (before.lesions_map == 0) & (after.lesions_map == 0)
    assert np.mean(np.abs(before.array[untouched].astype(int) - after.array[untouched]) < 3) > 0.99


def test_a_resolved_finding_is_not_drawn() -> None:
    patient, exam = exams_of("ct-chest-contrast", count=1)[0]
    fact = FindingFact(key="pleural-effusion", lesion=2, certainty="present", side="left", change="resolved")
    phantom = render_volume(with_findings(patient, exam=exam, findings=(fact,)), exam=exam, shape=SMALL)
    assert (phantom.lesions, phantom.not_drawn) == ((), ())


def test_an_effusion_lies_behind_and_a_pneumothorax_in_front() -> None:
    patient, exam = exams_of("ct-chest-contrast", count=1)[0]
    facts = (
        FindingFact(key="pleural-effusion", lesion=2, certainty="present", side="left", severity="moderate"),
        FindingFact(key="pneumothorax", lesion=3, certainty="present", side="right", severity="moderate"),
    )
    phantom = render_volume(
        with_findings(patient, exam=exam, findings=facts), exam=exam, shape=(40, 64, 64), axes="LPS"
    )
    place = {n: phantom.affine.apply(np.argwhere(phantom.lesions_map == n)[:, ::-1]).mean(axis=0) for n in (2, 3)}
    assert (place[2][:2] > (20, 10)).all()
    assert (place[3][:2] < (-20, -10)).all()


@pytest.mark.parametrize("axes", ["LPS", "RAS", "PIL", "LSP", "SRA"])
def test_any_order_of_axes_shows_the_same_body(axes: str) -> None:
    patient, exam = exams_of("ct-chest-contrast", count=1)[0]
    plain = render_volume(patient, exam=exam, spacing_mm=(8.0, 8.0, 8.0), axes="LPS")
    other = render_volume(patient, exam=exam, spacing_mm=(8.0, 8.0, 8.0), axes=axes)
    for name in ("liver", "heart", "spine", "right-lung"):
        a, b = plain.organ_boxes()[name], other.organ_boxes()[name]
        assert np.allclose((a.low, a.high), (b.low, b.high), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exam": 99}, "Exam 99"),
        ({"axes": "LLS"}, "Axes 'LLS'"),
        ({"shape": (0, 4, 4)}, "shape"),
        ({"shape": (4000, 4000, 4000)}, "voxels"),
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "spacing"),
        ({"region": "knee"}, "Region 'knee'"),
    ],
)
def test_bad_requests_say_what_is_wrong(options: dict[str, object], message: str) -> None:
    patient, exam = exams_of("ct-chest-contrast", count=1)[0]
    with pytest.raises(RequestError, match=message):
        render_volume(patient, **({"exam": exam, "shape": SMALL} | options))


def test_a_radiograph_has_no_volume() -> None:
    patient, exam = exams_of("xr-chest-pa", count=1)[0]
    with pytest.raises(RequestError, match="DX"):
        render_volume(patient, exam=exam, shape=SMALL)


def test_hu_of_tissues_stay_in_the_range_of_real_scans() -> None:
    text = (files("osler.synth.phantoms") / "ct_ranges.csv").read_text(encoding="utf-8")
    rows = {r["tissue"]: r for r in csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))}
    patient, number = exams_of("ct-abdomen-plain", count=1)[0]
    phantom = render_volume(with_findings(patient, exam=number, findings=()), exam=number, shape=(100, 110, 110))
    for tissue in ("liver", "spleen", "aorta", "veins", "muscle", "spine", "right-lung"):
        mask = phantom.organs == ORGANS.index(tissue)
        for axis in range(3):
            mask = mask & np.roll(mask, 1, axis=axis) & np.roll(mask, -1, axis=axis)
        values = phantom.array[mask]
        low, high = float(rows[tissue]["p05"]), float(rows[tissue]["p95"])
        slack = 0.15 * (high - low) + 8
        assert low - slack <= np.median(values) <= high + slack, tissue
        assert np.mean((values > low - 2 * slack) & (values < high + 2 * slack)) > 0.75, tissue


def test_every_look_uses_known_tissues() -> None:
    from osler.synth.phantoms.tissues import CT_NAMES, _mr_rows

    assert set(CT_NAMES) == set(_mr_rows())
    for look in LOOKS.values():
        assert {look.tissue, look.rim, look.core, look.edema} - {""} <= set(CT_NAMES)


@pytest.mark.parametrize(("side", "half"), [("right", slice(0, 32)), ("left", slice(32, 64))])
def test_a_broken_hip_is_drawn_on_its_side(side: Side, half: slice) -> None:
    patient, exam = exams_of("ct-abdomen-portal-venous", count=1)[0]
    fact = FindingFact(key="hip-fracture", lesion=1, certainty="present", side=side, site=f"{side}-hip")
    bodies = [with_findings(patient, exam=exam, findings=facts) for facts in ((), (fact,))]
    whole, broken = (render_volume(body, exam=exam, shape=(64, 64, 64), axes="LPS") for body in bodies)
    changed = np.abs(whole.array.astype(int) - broken.array) > 150
    assert changed[:, :, half].any()
    assert not np.delete(changed, np.r_[half], axis=2).any()
