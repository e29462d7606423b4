"""The X-ray and the CT of a patient show one body: lungs and lesions fall on the same pixels."""

from __future__ import annotations

import numpy as np
import pytest

from osler.study import Box2D
from osler.synth.facts import Acquisition, Exam
from osler.synth.phantoms import ORGANS, render_volume
from osler.synth.xrays import Radiograph, render_xray
from tests.synth.xrays.patients import exam, nodule, patient

SPACING_MM = (4.0, 4.0, 4.0)
LESION = nodule((72.0, 5.0, 95.0), mm=36, key="lung-mass", lesion=3)


@pytest.fixture(scope="module")
def both() -> tuple[Radiograph, np.ndarray, np.ndarray, np.ndarray]:
    """An X-ray, and of a CT: the places of its voxels (mm), their organs and lesions."""
    acquisition = Acquisition(
        device="CT-64", rows=96, columns=96, slices=70, pixel_mm=4.0, slice_mm=4.0, spacing_mm=4.0, kvp=120, mas=120,
        kernel="soft", contrast="none",
    )  # fmt: skip
    ct = Exam(
        number=1, day=3, protocol="ct-chest-plain", modality="CT", region="chest", indication="mass",
        acquisition=acquisition, findings=(LESION,),
    )  # fmt: skip
    film = exam("PA", findings=(LESION,))
    person = patient(film, ct)
    phantom = render_volume(person, exam=1, spacing_mm=SPACING_MM)
    places = np.argwhere(phantom.organs > 0)
    points = phantom.affine.apply(places[:, ::-1].astype(np.float64))
    index = tuple(places.T)
    return render_xray(person, exam=film, size=128), points, phantom.organs[index], phantom.lesions_map[index]


def shadow(film: Radiograph, points: np.ndarray, *, least: int) -> np.ndarray:
    """Pixels on which at least so many voxels fall."""
    column, row, _ = film.beam.project(points)
    rows, columns = film.pixels.shape
    counts, _, _ = np.histogram2d(row, column, bins=(rows, columns), range=((0, rows), (0, columns)))
    return counts >= least


@pytest.mark.parametrize(("name", "number"), [("right-lung", 0), ("left-lung", 1)])
def test_the_lungs_of_the_ct_fall_on_the_lungs_of_the_film(both, name: str, number: int) -> None:
    film, points, organs, _ = both
    projected = shadow(film, points[organs == ORGANS.index(name)], least=8)
    outlined = film.lungs[number]
    dice = 2 * (projected & outlined).sum() / (projected.sum() + outlined.sum())
    assert dice > 0.75


def test_the_lesion_of_the_ct_falls_in_the_box_of_the_film(both) -> None:
    film, points, _, lesions = both
    y, x = np.nonzero(shadow(film, points[lesions > 0], least=1))
    box = Box2D(x0=x.min(), y0=y.min(), x1=x.max() + 1, y1=y.max() + 1)
    assert box.iou(film.lesions[0].box) > 0.5
