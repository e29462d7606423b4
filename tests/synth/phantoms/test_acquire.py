"""Artifacts: seldom, drawn by the exam, where they belong, and never in the masks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from osler.synth.draw import draw_patient
from osler.synth.facts import FindingFact, PatientFacts
from osler.synth.mirror import mirror
from osler.synth.phantoms import Phantom, acquire, render_volume
from osler.synth.phantoms.canvas import Axes
from osler.synth.phantoms.organs import ORGAN_CODES

AXES = Axes(
    x=np.linspace(-150, 150, 61, dtype=np.float32),
    y=np.linspace(-100, 100, 41, dtype=np.float32),
    z=np.linspace(-60, 60, 25, dtype=np.float32),
)
FINE = (40, 112, 112)


def body() -> np.ndarray:
    """A round body of water in air."""
    inside = (AXES.x[None] / 120) ** 2 + (AXES.y[:, None] / 80) ** 2 < 1
    return np.where(np.broadcast_to(inside, AXES.shape), 0, -1000).astype(np.float32)


def key_with(stream: str, *, chance: float) -> int:
    return next(key for key in range(1000) if acquire.drawn(key, stream=stream, chance=chance) is not None)


@pytest.mark.parametrize(("stream", "chance"), [("ct-motion", 0.12), ("ct-motion", 0.05), ("mr-ghosts", 0.08)])
def test_artifacts_are_as_seldom_as_their_chance(stream: str, chance: float) -> None:
    count = sum(acquire.drawn(key, stream=stream, chance=chance) is not None for key in range(2000))
    assert abs(count / 2000 - chance) < 0.025


@pytest.mark.parametrize("region", ["chest", "abdomen", "head"])
def test_motion_blurs_contours_of_a_few_slices_only(region: str) -> None:
    key = key_with("ct-motion", chance=0.05)
    still, moved = body(), body()
    acquire.ct_motion(moved, region=region, axes=AXES, key=key)
    changed = (moved != still).any(axis=(1, 2))
    assert 2 <= changed.sum() <= 9  # slices are 5 mm apart: at most 40 mm
    assert np.all(np.diff(np.flatnonzero(changed)) == 1)
    assert moved.min() >= -1000
    assert moved.max() <= 0
    middle = moved[:, 18:23, 27:34]
    assert np.array_equal(middle, np.zeros_like(middle))


def test_a_shift_by_parts_of_a_pixel_lies_between() -> None:
    plane = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert np.allclose(acquire._shifted(plane, pixels=1.5, axis=0)[2:, 0], [1.5, 4.5])
    assert np.allclose(acquire._shifted(plane, pixels=0.25, axis=1)[0], [0, 0.75, 1.75])


def test_metal_streaks_its_own_planes_the_more_the_bigger_and_nearer_it_is() -> None:
    sizes = []
    for width in (2, 6):
        value = body()
        devices = np.zeros(AXES.shape, dtype=bool)
        devices[12, 20, 30 - width : 30 + width] = True
        value[devices] = 3000
        before = value.copy()
        acquire.streaks(value, devices=devices, axes=AXES, key=5)
        change = np.abs(value - before)
        assert not change[np.arange(25) != 12].any()
        assert not change[before == -1000].any()
        near, far = change[12, 15:26, 20:41].mean(), change[12, 15:26, :15][before[12, 15:26, :15] > -1000].mean()
        assert near > 3 * far > 0
        sizes.append(near)
    assert sizes[1] > 1.3 * sizes[0]


def test_streaks_are_dark_along_a_device_and_bright_in_places() -> None:
    value = body()
    devices = np.zeros(AXES.shape, dtype=bool)
    devices[12, 20, 22:39] = True
    value[devices] = 3000
    acquire.streaks(value, devices=devices, axes=AXES, key=5)
    assert value[12, 17:24, 41:48].mean() < 0 < value[12, 5:15, 29:32].mean()


@pytest.mark.parametrize(("region", "axis"), [("head", 1), ("knee", 0)])
def test_ghosts_lie_along_the_phase_axis(region: str, axis: int) -> None:
    key = key_with("mr-ghosts", chance=0.06)
    value = np.zeros(AXES.shape, dtype=np.float32)
    value[10:14, 18:23, 28:33] = 1000
    before = value.copy()
    acquire.mr_ghosts(value, region=region, axes=AXES, key=key)
    ghosts = (value > 0) & (before == 0)
    others = tuple(k for k in range(3) if k != axis)
    assert ghosts.any()
    assert np.array_equal(value.any(axis=axis), before.any(axis=axis))
    assert (value.any(axis=others) & ~before.any(axis=others)).any()
    assert 40 < value[ghosts].max() < 250
    assert np.isclose(value.sum(), before.sum() * (1 + value[ghosts].sum() / before.sum() - 1) + value[~ghosts].sum())


def exam_of(protocol: str, *, artifact: str, chance: float) -> tuple[PatientFacts, int]:
    number = 0
    while True:
        patient = draw_patient(seed=3, number=number)
        for exam in patient.exams:
            key = int(exam.acquisition.series_uid.rpartition(".")[2] or exam.number) + patient.number
            if exam.protocol == protocol and (
                not artifact or acquire.drawn(key, stream=artifact, chance=chance) is not None
            ):
                return patient, exam.number
        number += 1


def rendered(patient: PatientFacts, *, exam: int, shape: tuple[int, int, int] = (30, 48, 48)) -> Phantom:
    return render_volume(patient, exam=exam, shape=shape, axes="LPS")


@pytest.mark.parametrize(
    ("protocol", "artifact", "chance"),
    [("ct-chest-contrast", "ct-motion", 0.12), ("mr-brain-flair", "mr-ghosts", 0.08)],
)
def test_artifacts_change_pixels_not_masks(
    protocol: str, artifact: str, chance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient, exam = exam_of(protocol, artifact=artifact, chance=chance)
    with_artifact = rendered(patient, exam=exam)
    assert rendered(patient, exam=exam).array.tobytes() == with_artifact.array.tobytes()
    assert np.array_equal(rendered(mirror(patient), exam=exam).array, with_artifact.array[:, :, ::-1])
    monkeypatch.setattr(acquire, "drawn", lambda key, *, stream, chance: None)
    without = rendered(patient, exam=exam)
    assert not np.array_equal(with_artifact.array, without.array)
    assert np.array_equal(with_artifact.organs, without.organs)
    assert np.array_equal(with_artifact.lesions_map, without.lesions_map)
    assert with_artifact.lesions == without.lesions


@pytest.mark.parametrize("key", ["cardiac-pacemaker", "sternotomy-wires"])
def test_devices_of_a_chest_streak_on_their_side(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patient, number = exam_of("ct-chest-contrast", artifact="", chance=1)
    exams = list(patient.exams)
    side = "left" if key == "cardiac-pacemaker" else "midline"
    fact = FindingFact(key=key, lesion=1, certainty="present", side=side)
    exams[number] = dataclasses.replace(exams[number], findings=(fact,))
    patient = dataclasses.replace(patient, exams=tuple(exams))
    streaked = rendered(patient, exam=number, shape=FINE)
    assert np.array_equal(rendered(mirror(patient), exam=number, shape=FINE).array, streaked.array[:, :, ::-1])
    monkeypatch.setattr(acquire, "streaks", lambda value, *, devices, axes, key: None)
    plain = rendered(patient, exam=number, shape=FINE)
    metal = (plain.organs == ORGAN_CODES["devices"]) | (plain.array > 1100)
    planes = metal.any(axis=(1, 2))
    change = np.abs(streaked.array.astype(int) - plain.array)
    assert planes.any()
    assert not planes.all()
    assert not change[~planes].any()
    assert change[planes].max() > (300 if key == "cardiac-pacemaker" else 40)
    assert np.array_equal(streaked.organs, plain.organs)
    assert np.array_equal(streaked.lesions_map, plain.lesions_map)
    if side == "left":  # +x is the patient's left
        half = change.shape[2] // 2
        assert change[:, :, half:].mean() > 1.4 * change[:, :, :half].mean()
