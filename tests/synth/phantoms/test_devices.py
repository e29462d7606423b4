"""Devices: a film and a CT draw the same pieces, those without a name included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osler.synth.phantoms.devices import DEVICES, device_pieces
from osler.synth.phantoms.thorax import thorax_of
from osler.synth.phantoms.torso import torso_of, vertebral_bodies
from osler.synth.xrays import render_xray
from tests.synth.xrays.patients import exam, finding, patient


def test_every_device_of_the_ontology_has_pieces() -> None:
    thorax = thorax_of(patient(sex="male").anatomy, sex="male", age=60.0)
    for key in DEVICES:
        pieces = device_pieces(finding(key), thorax=thorax)
        assert pieces
        assert all(points.shape[1] == 3 and radius > 0 and dense > 0 for points, radius, dense in pieces)


def test_an_unnamed_device_is_one_of_three_and_stays_the_same() -> None:
    anatomy = patient(sex="male").anatomy
    counts = set()
    for shape in range(1, 30):
        thorax = thorax_of(replace(anatomy, shape=shape), sex="male", age=60.0)
        first, again = (device_pieces(finding("support-device"), thorax=thorax) for _ in range(2))
        assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
        counts.add(tuple(len(points) for points, _, _ in first))
    assert len(counts) == 3


@pytest.mark.parametrize("view", ["PA", "lateral"])
def test_a_film_shows_an_unnamed_device_in_its_box(view: str) -> None:
    taken = exam(view, findings=(finding("support-device"),))
    someone = patient(taken)
    shown = render_xray(someone, exam=taken, size=192)
    bare = render_xray(someone, exam=replace(taken, findings=()), size=192)
    (lesion,) = [lesion for lesion in shown.lesions if lesion.fact.key == "support-device"]
    rows, columns = np.nonzero(lesion.mask)
    assert lesion.box.x0 <= columns.min()
    assert columns.max() < lesion.box.x1
    assert lesion.box.y0 <= rows.min()
    assert rows.max() < lesion.box.y1
    assert float((shown.attenuation - bare.attenuation)[lesion.mask].min()) > 0


def test_vertebral_bodies_follow_each_other_down_the_spine() -> None:
    torso = torso_of(patient(sex="female"))
    bodies = vertebral_bodies(torso)
    tops = [outline[0][:, 2].max() for outline, _ in bodies]
    bottoms = [outline[2][:, 2].min() for outline, _ in bodies]
    assert all(bottom > top for bottom, top in zip(bottoms, tops[1:], strict=False))
    for outline, half in bodies:
        points = np.concatenate(outline)
        assert np.abs(points[:, 1] - torso.spine_y(points[:, 2])).max() <= 0.8 * half + 3
