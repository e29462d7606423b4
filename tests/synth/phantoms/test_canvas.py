"""A canvas paints a shape over chosen organs only, the same whether it looks at all voxels or at those about them."""

from __future__ import annotations

import numpy as np
import pytest

from osler.synth.phantoms.canvas import Axes, Canvas, Patch, Rays, labeled, tight_box
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.synth.phantoms.shapes import ellipsoid
from osler.synth.phantoms.tissues import CT_NAMES, ct_palette
from osler.synth.phantoms.tubes import tubes
from tests.synth.xrays.patients import exam


def canvas(rays: Rays) -> Canvas:
    axes = Axes(
        x=np.arange(-60, 60, 8 if rays == "x" else 2, dtype=np.float32),
        y=np.arange(-56, 60, 8 if rays == "y" else 2, dtype=np.float32),
        z=np.arange(-40, 44, 2, dtype=np.float32),
    )
    found = Canvas(axes=axes, palette=ct_palette(exam().acquisition), shape=9, rays=rays)
    assert "fat" in CT_NAMES
    for center, organ, tissue in (((12.0, 4.0, 6.0), "liver", "liver"), ((-20.0, -6.0, -9.0), "spleen", "spleen")):
        found.paint(ellipsoid(center, (22, 17, 19)), tissue=tissue, organ=organ)
    return found


def bumpy(patch: Patch) -> np.ndarray:
    """A slanted plate that fades in and out."""
    plate = np.float32(9) - np.abs(patch.x + np.float32(0.4) * patch.y + patch.z)
    return plate + 5 * patch.wave(16, key="bumps")


@pytest.mark.parametrize("rays", ["none", "y", "x"])
def test_over_some_organs_a_shape_is_what_it_is_over_all_cut_to_them(rays: Rays) -> None:
    found, whole = canvas(rays), canvas(rays)
    before = whole.value.copy()
    over = labeled(found.label, "liver", "spleen")
    assert 0 < over.mean() < 0.5
    found.paint(bumpy, tissue="gas", organ="stomach", over=("liver", "spleen"), strength=0.7)
    whole.paint(bumpy, tissue="gas", organ="stomach", strength=0.7)
    np.testing.assert_allclose(found.value, np.where(over, whole.value, before), atol=2e-2)
    assert np.mean(labeled(found.label, "stomach") != (labeled(whole.label, "stomach") & over)) < 1e-4
    assert labeled(found.label, "stomach").any()


def test_organs_that_are_not_there_are_not_painted_over() -> None:
    found = canvas("y")
    before = found.value.copy()
    found.paint(bumpy, tissue="gas", organ="stomach", over=("pancreas",))
    assert np.array_equal(found.value, before)


def test_organs_are_found_by_name() -> None:
    label = np.array([[[ORGAN_CODES["liver"], ORGAN_CODES["spleen"], 0]]], dtype=np.uint8)
    assert labeled(label, "liver").tolist() == [[[True, False, False]]]
    assert labeled(label, "spleen", "liver").tolist() == [[[True, True, False]]]


def test_a_tight_box_holds_all_that_is_not_zero() -> None:
    where = np.zeros((5, 6, 7), bool)
    assert tight_box(where) is None
    where[2, 1, 3] = where[3, 4, 3] = True
    assert tight_box(where) == (slice(2, 4), slice(1, 5), slice(3, 4))


@pytest.mark.parametrize("rays", ["y", "x"])
def test_chains_of_one_squash_are_one_however_they_are_added(rays: Rays) -> None:
    rng = np.random.default_rng(3)
    points, radius = rng.uniform(-50, 50, (200, 3)), rng.uniform(0.5, 12, 200)
    picture = canvas(rays)
    one, many = tubes(picture), tubes(picture)
    one.add(points, radius, squash=(1, 1, 0.7))
    for part in np.array_split(rng.permutation(200), 7):
        many.add(points[part], radius[part], squash=(1, 1, 0.7))
    (index, share), (other, again) = one.cover(shift=-0.4), many.cover(shift=-0.4)
    assert len(np.unique(index)) == len(index) > 1000
    assert np.array_equal(np.sort(index), np.sort(other))
    np.testing.assert_allclose(share[np.argsort(index)], again[np.argsort(other)], atol=1e-5)
    assert 0 < share.min()
    assert share.max() <= 1
