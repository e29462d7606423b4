"""Devices: a film and a CT draw the same pieces, those without a name included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from osler.synth.facts import Sex
from osler.synth.phantoms.canvas import Axes, Canvas, union
from osler.synth.phantoms.chest_findings import CHEST
from osler.synth.phantoms.devices import DEVICES, device_pieces
from osler.synth.phantoms.thorax import Thorax, thorax_of
from osler.synth.phantoms.tissues import ct_palette
from osler.synth.phantoms.torso import torso_of, vertebral_bodies
from osler.synth.xrays import render_xray
from osler.synth.xrays.beam import VIEWS, Beam, View
from osler.synth.xrays.compose import DEVICE_SEEN
from osler.synth.xrays.detail import device_shadow
from osler.synth.xrays.radiograph import mask_box
from tests.synth.xrays.patients import body, exam, finding, patient

VOXEL_MM = 2.0


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


def both(key: str, *, number: int, view: View) -> tuple[np.ndarray, np.ndarray, Beam]:
    """A device's voxels in a CT (N, 3 mm, their centers), its mask on a film, and the film's beam."""
    sex: Sex = "female" if number % 2 else "male"
    fact = finding(key, side=("left", "right")[number % 3 == 0], lesion=1)
    anatomy = body(sex=sex, height=152 + 3 * number, weight=50 + 5 * number, shape=17 * number + 1)
    someone = patient(exam(view, findings=(fact,)), sex=sex, number=number, anatomy=anatomy)
    torso = torso_of(someone)
    beam = film_beam(torso.thorax, view=view)
    shadow = device_shadow(fact, torso=torso, beam=beam)
    ends = np.concatenate([piece[0] for piece in device_pieces(fact, thorax=torso.thorax)])
    x, y, z = (
        np.arange(low - 24, high + 24, VOXEL_MM, dtype=np.float32)
        for low, high in zip(ends.min(axis=0), ends.max(axis=0), strict=True)
    )
    canvas = Canvas(axes=Axes(x=x, y=y, z=z), palette=ct_palette(someone.exams[0].acquisition), shape=anatomy.shape)
    CHEST[key](canvas, torso, fact)
    mask, low = union(canvas.marks[fact])
    index = np.argwhere(mask) + low
    assert np.array_equal(canvas.lesion[tuple(index.T)], np.ones(len(index)))
    return np.stack([x[index[:, 2]], y[index[:, 1]], z[index[:, 0]]], axis=1), shadow > DEVICE_SEEN, beam


def film_beam(thorax: Thorax, *, view: View) -> Beam:
    """A large film of the whole trunk, so that nothing of a device lies beyond its edges."""
    source, detector = {
        "PA": (1600.0, -thorax.depth - 25), "AP": (-1000.0, thorax.depth + 35), "lateral": (-1500.0, thorax.width + 40)
    }[view]  # fmt: skip
    return Beam(
        view=view, source_mm=source, detector_mm=detector, center_mm=(0.0, 40.0), pixel_mm=1.5, rows=460, columns=420,
        yaw=0.03,
    )  # fmt: skip


@pytest.mark.parametrize("key", DEVICES)
def test_a_devices_box_on_film_is_the_projection_of_its_box_in_the_ct(key: str) -> None:
    for number in range(9):
        view: View = VIEWS[number % 3]
        points, mask, beam = both(key, number=number, view=view)
        film = mask_box(mask)
        assert film is not None
        assert film.x1 - film.x0 < beam.columns
        low, high = points.min(axis=0) - VOXEL_MM / 2, points.max(axis=0) + VOXEL_MM / 2
        corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        column, row, _ = beam.project(corners)
        # Rays spread: the corners of a long box lie farther out than what it holds, never farther in.
        assert column.min() - 1.5 <= film.x0
        assert film.x1 <= column.max() + 1.5
        assert row.min() - 1.5 <= film.y0
        assert film.y1 <= row.max() + 1.5
        column, row, _ = beam.project(points)
        edges = (column.min() - film.x0, column.max() - film.x1, row.min() - film.y0, row.max() - film.y1)
        assert np.abs(edges).max() < 2.6, (number, view, edges)


@pytest.mark.parametrize("key", DEVICES)
def test_a_devices_mask_in_the_ct_is_as_whole_as_its_shadow(key: str) -> None:
    points, mask, beam = both(key, number=2, view="PA")
    column, row, _ = beam.project(points)
    seen = np.zeros(mask.shape, bool)
    seen[np.floor(row).astype(int), np.floor(column).astype(int)] = True
    near = binary_dilation(seen, iterations=2)
    assert (mask & ~near).sum() < 0.005 * mask.sum()
    assert (seen & ~binary_dilation(mask, iterations=2)).sum() < 0.005 * seen.sum()
