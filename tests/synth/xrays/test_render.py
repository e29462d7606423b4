"""X-rays agree with the facts: places, sides, sizes, dates and mirror images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import RequestError
from osler.synth.draw import draw_facts
from osler.synth.facts import FindingFact
from osler.synth.mirror import mirror
from osler.synth.phantoms.thorax import thorax_of
from osler.synth.xrays import Radiograph, render_xray
from tests.synth.xrays.patients import body, exam, finding, nodule, patient

SIZE = 160
WHOLE = st.sampled_from(["mild", "moderate", "severe"])
SIDES = st.sampled_from(["left", "right"])


@st.composite
def findings(draw: st.DrawFn) -> tuple[FindingFact, ...]:
    side, severity = draw(SIDES), draw(WHOLE)
    x = draw(st.floats(45, 90)) * (1 if side == "left" else -1)
    one = nodule((x, draw(st.floats(-40, 40)), draw(st.floats(20, 130))), mm=draw(st.floats(8, 45)))
    more = {
        "pleural-effusion": finding("pleural-effusion", side=side, severity=severity),
        "pneumothorax": finding("pneumothorax", side=side, severity=severity),
        "pneumonia": finding(
            "pneumonia", side=side, site=f"{side}-lower-lobe", severity=severity, center_mm=(1.1 * x, 30, 50)
        ),
        "rib-fracture": finding("rib-fracture", side=side, site=f"{side}-upper-ribs", center_mm=(1.4 * x, 15, 115)),
        "cardiac-pacemaker": finding("cardiac-pacemaker", side=side),
        "atelectasis": finding(
            "atelectasis", side=side, site=f"{side}-lower-lobe", severity=severity, center_mm=(1.1 * x, 30, 45)
        ),
        "cardiomegaly": finding("cardiomegaly", severity=severity),
    }
    keys = draw(st.lists(st.sampled_from(sorted(more)), max_size=3, unique=True))
    return (one, *(more[key] for key in keys))


def unlettered(radiograph: Radiograph) -> np.ndarray:
    """The picture without the strip that carries letters."""
    return radiograph.pixels[int(0.2 * radiograph.pixels.shape[0]) :]


@settings(max_examples=8)
@given(
    found=findings(),
    view=st.sampled_from(["PA", "AP"]),
    shape=st.integers(1, 2**31),
    wide=st.sampled_from([430.0, 350.0]),
)
def test_a_mirrored_patient_has_the_mirrored_image(
    found: tuple[FindingFact, ...], view: str, shape: int, wide: float
) -> None:
    person = patient(exam(view, findings=found, wide=wide), anatomy=body(shape=shape))
    here = render_xray(person, exam=person.exams[0], size=SIZE)
    turned = mirror(person)
    there = render_xray(turned, exam=turned.exams[0], size=SIZE)
    assert np.array_equal(unlettered(there), unlettered(here)[:, ::-1])
    assert np.array_equal(there.lungs[0], here.lungs[1][:, ::-1])
    assert len(there.lesions) == len(here.lesions) >= 1
    other = {"left": "right", "right": "left", "none": "none"}
    for a, b in zip(here.lesions, there.lesions, strict=True):
        assert np.array_equal(b.mask, a.mask[:, ::-1])
        assert b.box == a.box.mirrored(width=here.pixels.shape[1])
        assert b.side == other[a.side]
        assert b.fact in turned.exams[0].findings


@settings(max_examples=8)
@given(found=findings(), view=st.sampled_from(["PA", "AP", "lateral"]), number=st.integers(0, 10**9))
def test_a_box_encloses_its_mask_and_the_picture_repeats(
    found: tuple[FindingFact, ...], view: str, number: int
) -> None:
    person = patient(exam(view, findings=found), number=number)
    first, second = (render_xray(person, exam=person.exams[0], size=SIZE) for _ in range(2))
    assert first.pixels.tobytes() == second.pixels.tobytes()
    for lesion in first.lesions:
        y, x = np.nonzero(lesion.mask)
        assert (lesion.box.x0, lesion.box.y0) == (x.min(), y.min())
        assert (lesion.box.x1, lesion.box.y1) == (x.max() + 1, y.max() + 1)


@settings(max_examples=15)
@given(
    center=st.tuples(st.floats(-90, 90), st.floats(-60, 60), st.floats(0, 150)),
    mm=st.floats(6, 60),
    view=st.sampled_from(["PA", "AP", "lateral"]),
)
def test_a_nodule_is_where_its_center_projects_and_as_large(
    center: tuple[float, float, float], mm: float, view: str
) -> None:
    one = nodule(center, mm=mm, key="calcified-granuloma")
    person = patient(exam(view, findings=(one,)))
    picture = render_xray(person, exam=person.exams[0], size=256)
    lesion = next(shown for shown in picture.lesions if shown.fact == one)
    column, row, magnified = picture.beam.project(np.array([center]))
    assert (lesion.box.x0 + lesion.box.x1) / 2 == pytest.approx(column[0], abs=1.6)
    assert (lesion.box.y0 + lesion.box.y1) / 2 == pytest.approx(row[0], abs=1.6)
    across = one.axes_mm[1] if view == "lateral" else one.axes_mm[0]
    assert lesion.box.x1 - lesion.box.x0 == pytest.approx(across * magnified[0], abs=2.2)
    assert lesion.box.y1 - lesion.box.y0 == pytest.approx(one.axes_mm[2] * magnified[0], abs=2.2)


def test_an_irregular_mass_stays_in_the_projection_of_its_box() -> None:
    one = nodule((70, 0, 100), mm=50, key="lung-mass")
    person = patient(exam(findings=(one,)))
    picture = render_xray(person, exam=person.exams[0])
    half = np.array(one.axes_mm) / 2
    corners = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) * half + one.center_mm
    column, row, _ = picture.beam.project(corners)
    box = picture.lesions[0].box
    assert column.min() - 1 <= box.x0 < box.x1 <= column.max() + 1
    assert row.min() - 1 <= box.y0 < box.y1 <= row.max() + 1


@pytest.mark.parametrize(
    ("one", "brighter"),
    [
        (nodule((70, 0, 100), mm=40, key="lung-mass"), 8),
        (finding("pneumonia", side="left", site="left-lower-lobe", severity="severe", center_mm=(76, 38, 60)), 8),
        (finding("pleural-effusion", side="left", severity="moderate"), 15),
        (finding("cardiac-pacemaker", side="left"), 15),
        (finding("pneumothorax", side="left", severity="severe"), -3),
    ],
)
def test_a_finding_changes_the_picture_where_its_mask_is(one: FindingFact, brighter: float) -> None:
    person = patient(exam(findings=(one,)))
    ill = render_xray(person, exam=person.exams[0], size=256)
    well = render_xray(person, exam=replace(person.exams[0], findings=()), size=256)
    change = ill.pixels.astype(float) - well.pixels
    mask = np.logical_or.reduce([lesion.mask for lesion in ill.lesions])
    inside, outside = change[mask].mean(), np.median(change[~mask])
    assert (inside - outside) * np.sign(brighter) > abs(brighter)


@pytest.mark.parametrize("view", ["PA", "AP"])
@pytest.mark.parametrize("key", ["pleural-effusion", "pneumothorax"])
def test_the_patients_left_is_at_the_right_of_the_image(view: str, key: str) -> None:
    person = patient(exam(view, findings=(finding(key, side="left", severity="moderate"),)))
    picture = render_xray(person, exam=person.exams[0], size=SIZE)
    (lesion,) = picture.lesions
    assert lesion.side == "left"
    assert (lesion.box.x0 + lesion.box.x1) / 2 > 0.55 * picture.pixels.shape[1]
    right, left = (np.nonzero(mask)[1].mean() for mask in picture.lungs)
    assert right < left
    assert np.nonzero(picture.heart)[1].mean() > (right + left) / 2


def test_the_front_is_at_the_left_of_a_lateral_image() -> None:
    person = patient(exam("lateral"))
    picture = render_xray(person, exam=person.exams[0], size=SIZE)
    assert np.nonzero(picture.heart)[1].mean() < np.nonzero(picture.lungs[0] | picture.lungs[1])[1].mean()


def test_two_dates_show_one_body() -> None:
    anatomy = body(shape=77)
    first = exam(findings=(nodule((70, 0, 100), mm=12),), number=0)
    second = exam(findings=(nodule((70, 0, 100), mm=24, change="larger"),), number=1)
    person = patient(first, second, anatomy=anatomy)
    before, after = (render_xray(person, exam=one, size=256) for one in person.exams)
    other = render_xray(patient(first, anatomy=body(shape=78)), exam=first, size=256)
    grown = after.lesions[0].mask.sum() / before.lesions[0].mask.sum()
    assert 3 < grown < 5.5
    assert before.pixels.tobytes() != after.pixels.tobytes()
    assert thorax_of(anatomy, sex="male", age=45) == thorax_of(anatomy, sex="male", age=45)
    assert thorax_of(anatomy, sex="male", age=45).chance != thorax_of(body(shape=78), sex="male", age=45).chance
    assert other.pixels.tobytes() != before.pixels.tobytes()


def test_an_absent_or_resolved_finding_is_not_drawn() -> None:
    gone = finding("pleural-effusion", side="left", change="resolved")
    denied = FindingFact(key="pneumothorax", lesion=0, certainty="absent")
    person = patient(exam(findings=(gone, denied)))
    picture = render_xray(person, exam=person.exams[0], size=SIZE)
    plain = render_xray(person, exam=exam(), size=SIZE)
    assert picture.lesions == ()
    assert picture.pixels.tobytes() == plain.pixels.tobytes()


def test_a_larger_heart_is_wider() -> None:
    widths = []
    for severity in ("none", "mild", "severe"):
        found = () if severity == "none" else (finding("cardiomegaly", severity=severity),)
        person = patient(exam(findings=found))
        heart = render_xray(person, exam=person.exams[0], size=256).heart
        widths.append(np.ptp(np.nonzero(heart)[1]))
    assert widths[0] < widths[1] < widths[2]


def test_a_bed_magnifies_the_heart() -> None:
    standing, lying = (render_xray(patient(exam(view)), exam=exam(view), size=256) for view in ("PA", "AP"))
    assert lying.heart.sum() > 1.05 * standing.heart.sum()


def test_sizes_follow_the_detector() -> None:
    person = patient(exam(wide=350))
    assert render_xray(person, exam=person.exams[0], size=512).pixels.shape == (512, 417)
    assert render_xray(person, exam=person.exams[0], size=64).pixels.shape == (64, 52)


def test_what_is_no_chest_x_ray_is_refused() -> None:
    person = patient(exam())
    with pytest.raises(RequestError, match=r"is no chest X-ray.*view PA, AP or lateral"):
        render_xray(person, exam=replace(person.exams[0], modality="CT"))
    with pytest.raises(RequestError, match="64 to 2048 px"):
        render_xray(person, exam=person.exams[0], size=8000)


def test_drawn_patients_render_and_placed_findings_are_shown() -> None:
    table = draw_facts(seed=9, patients=np.arange(250))
    films = [(person, one) for person in map(table.patient, range(250)) for one in person.exams if one.modality == "DX"]
    assert len(films) > 100
    placed = {"pulmonary-nodule", "lung-mass", "pleural-effusion", "cardiomegaly", "pneumonia", "rib-fracture"}
    for person, one in films[::12]:
        picture = render_xray(person, exam=one, size=96)
        shown = {lesion.fact for lesion in picture.lesions}
        for fact in one.findings:
            if fact.visible and fact.key in placed:
                assert fact in shown, (person.number, one.number, fact.key)
