"""Boxes of the head: back in file pixels and patient millimeters, whatever the orientation, crop and spacing."""

from __future__ import annotations

import dataclasses
from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.engine.heads_boxes import to_patient
from osler.engine.session import Session
from osler.model.config import get_config
from osler.prepare import prepare_images, preprocess_for
from osler.study import Affine, Box3D, Study, TimePoint
from osler.weights import Checkpoint
from tests.engine.films import film, film_study, noise_volume

CONTRACT = preprocess_for(get_config("debug-parts"))
AXES = [np.eye(3)[list(order)] * signs for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
LABELS = ["heart", "right lung", "liver"]


def one(series: object) -> Study:
    return Study(timepoints=(TimePoint(series=(series,)),))  # type: ignore[arg-type]


def oriented(axes: np.ndarray, *, spacing: tuple[float, float, float], origin: tuple[float, float, float]) -> Affine:
    matrix = np.eye(4)
    matrix[:3, :3] = axes * np.array(spacing)
    matrix[:3, 3] = origin
    return Affine(matrix)


def shares(box: Box3D, *, study: Study) -> list[float]:
    """The way into the network's coordinates that training takes: the contract's map in the plane, slices along z."""
    prepared = prepare_images(study, preprocess=CONTRACT)
    image, size = prepared.images[0], CONTRACT.image_size
    assert image.affine is not None
    flat, voxel = image.from_patient(box), box.to_voxel(image.affine)
    depth = study.volumes()[0].shape[0]
    z0, z1 = voxel.low[2] / depth, voxel.high[2] / depth
    return [flat.x0 / size, flat.y0 / size, z0, flat.x1 / size, flat.y1 / size, z1]


@settings(max_examples=25)
@given(
    axes=st.sampled_from(AXES),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    corner=st.tuples(*[st.floats(0.05, 0.45)] * 3),
    size=st.tuples(*[st.floats(0.1, 0.5)] * 3),
)
def test_a_box_comes_back_to_its_place_in_the_patient(
    axes: np.ndarray,
    spacing: tuple[float, float, float],
    corner: tuple[float, float, float],
    size: tuple[float, float, float],
) -> None:
    """In every orientation, so a side is never swapped: a flipped storage order is the same patient."""
    affine = oriented(axes, spacing=spacing, origin=(-80.0, 35.0, 410.0))
    study = one(noise_volume(affine=affine))
    extent = np.array([20, 30, 10])
    low, high = np.array(corner) * extent, (np.array(corner) + size) * extent
    box = Box3D(low=tuple(low), high=tuple(high), frame="voxel").to_patient(affine)  # type: ignore[arg-type]
    prepared = prepare_images(study, preprocess=CONTRACT)
    found = to_patient(shares(box, study=study), prepared=prepared, number=3, depth=10)
    np.testing.assert_allclose([*found.low, *found.high], [*box.low, *box.high], atol=1e-6 * 1e3)


def test_a_crop_keeps_millimeters() -> None:
    """The same place in a volume and in a part cut out of it."""
    whole = oriented(np.eye(3), spacing=(0.8, 0.7, 3.0), origin=(-10.0, -20.0, 5.0))
    shifted = Affine(whole.matrix @ np.block([[np.eye(3), np.array([[4.0], [6.0], [2.0]])], [np.zeros((1, 3)), 1]]))
    box = Box3D(low=(6.0, 9.0, 3.0), high=(11.0, 15.0, 6.0), frame="voxel").to_patient(whole)
    found = []
    for affine, shape in ((whole, (10, 30, 20)), (shifted, (6, 20, 12))):
        study = one(noise_volume(affine=affine, shape=shape))
        prepared = prepare_images(study, preprocess=CONTRACT)
        found.append(to_patient(shares(box, study=study), prepared=prepared, number=0, depth=shape[0]))
    np.testing.assert_allclose(found[0].low, found[1].low, atol=1e-6)
    np.testing.assert_allclose(found[0].high, found[1].high, atol=1e-6)


@pytest.fixture
def session(parts_checkpoint: Checkpoint) -> Session:
    session = Session(parts_checkpoint)
    session.model.heads.boxes.presence.bias.fill_(50.0)  # type: ignore[union-attr]
    return session


def test_boxes_lie_on_the_picture(session: Session) -> None:
    study = one(film(1))
    found = session.heads["boxes"].locate(session, study, labels=LABELS)
    assert [box.label for box in found] == LABELS
    for box in found:
        assert box.box is not None
        assert 0 <= box.box.x0 < box.box.x1 <= 32
        assert box.image == 0
        assert box.patient is None
    assert len({box.box for box in found}) == 3


def test_boxes_lie_in_the_volume(session: Session) -> None:
    affine = oriented(np.eye(3), spacing=(2.0, 1.0, 5.0), origin=(-30.0, 10.0, 100.0))
    study = one(noise_volume(affine=affine, shape=(9, 30, 20)))
    found = session.heads["boxes"].locate(session, study, labels=LABELS)
    extent = Box3D(low=(0.0, 0.0, 0.0), high=(20.0, 30.0, 9.0), frame="voxel").to_patient(affine)
    assert [box.label for box in found] == LABELS
    for box in found:
        assert box.patient is not None
        assert all(a >= b - 1e-6 for a, b in zip(box.patient.low, extent.low, strict=True))
        assert all(a <= b + 1e-6 for a, b in zip(box.patient.high, extent.high, strict=True))


@pytest.mark.parametrize("depth", [1, 2, 700])
def test_any_depth_is_read(session: Session, depth: int) -> None:
    affine = oriented(np.eye(3), spacing=(1.0, 1.0, 0.1 if depth > 9 else 20.0), origin=(0.0, 0.0, 0.0))
    study = one(noise_volume(affine=affine, shape=(depth, 16, 16)))
    for box in session.heads["boxes"].locate(session, study, labels=LABELS):
        assert box.patient is not None
        assert np.isfinite([*box.patient.low, *box.patient.high]).all()


def test_labels_that_are_likelier_absent_give_no_box(session: Session) -> None:
    session.model.heads.boxes.presence.bias.fill_(-50.0)  # type: ignore[union-attr]
    assert session.heads["boxes"].locate(session, one(film(1)), labels=LABELS) == []
    assert session.heads["boxes"].locate(session, one(film(1)), labels=[]) == []
    assert session.heads["boxes"].locate(session, film_study(), labels=LABELS) == []


def test_features_are_encoded_once_for_all_heads(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    encode = session.model.head_features
    monkeypatch.setattr(session.model, "head_features", lambda x: counts.append(len(x)) or encode(x))
    study = one(film(1))
    for _ in range(2):
        session.heads["boxes"].locate(session, study, labels=LABELS)
    session.heads["findings"].probabilities(session, study, findings=["pneumothorax"])
    session.heads["embeddings"].images(session.prepare(study))
    assert counts == [1]


def test_a_box_head_says_which_labels_it_knows(session: Session) -> None:
    assert session.heads["boxes"].labels == frozenset()
    assert torch.isfinite(session.model.heads.boxes.presence.bias).all()  # type: ignore[union-attr]


def test_a_head_for_xrays_leaves_volumes_alone(session: Session) -> None:
    heads = session.model.heads
    assert heads is not None
    heads.config = dataclasses.replace(heads.config, boxes_on="xrays")
    head = session.heads["boxes"]
    assert head.scope_of(LABELS) == "frontal X-rays"
    affine = oriented(np.eye(3), spacing=(2.0, 1.0, 5.0), origin=(0.0, 0.0, 0.0))
    assert head.locate(session, one(noise_volume(affine=affine, shape=(9, 30, 20))), labels=LABELS) == []
    assert len(head.locate(session, one(film(1)), labels=LABELS)) == 3


def test_a_head_is_asked_everywhere_only_where_that_is_wished(session: Session) -> None:
    heads = session.model.heads
    assert heads is not None
    heads.config = dataclasses.replace(heads.config, boxes_on="xrays", labels=("lung",))
    head = session.heads["boxes"]
    affine = oriented(np.eye(3), spacing=(2.0, 1.0, 5.0), origin=(0.0, 0.0, 0.0))
    volume = one(noise_volume(affine=affine, shape=(9, 30, 20)))
    asked = head.everywhere()
    assert [box.label for box in asked.locate(session, volume, labels=LABELS)] == list(LABELS)
    assert asked.labels == frozenset()
    assert asked.scope_of(LABELS) == "frontal X-rays"  # what it was found good for stays as it is
    assert head.locate(session, volume, labels=LABELS) == []
    assert head.labels == frozenset({"lung"})
