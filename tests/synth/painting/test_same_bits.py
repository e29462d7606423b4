"""The compiled kernels give the bits of the NumPy code beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from osler.quant import build
from osler.synth import elementary
from osler.synth.draw import draw_facts
from osler.synth.facts import Exam, PatientFacts
from osler.synth.painting.build import variant
from osler.synth.painting.library import choose_painting
from osler.synth.phantoms import render_volume
from osler.synth.phantoms.blend import (
    box_above,
    edge_widths,
    labeled_box,
    lay,
    lay_shell,
    mean_shares,
    shares,
    tight_box,
)  # fmt: skip
from osler.synth.phantoms.canvas import Axes, Canvas
from osler.synth.phantoms.lattice import Lattice
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.synth.phantoms.shapes import ellipsoid, smooth_least, squared, tilted
from osler.synth.phantoms.tubes import tubes
from osler.synth.xrays import render_xray
from osler.synth.xrays.project import enlarged
from osler.synth.xrays.tubes import Chain, paint_chain
from tests.synth.painting.conftest import Both, painted_by

KINDS = [np.float32, np.float64]
RANGES = {"exp": (-120.0, 120.0), "log": (1e-6, 1e5), "sine": (-5000.0, 5000.0), "cosine": (-5000.0, 5000.0)}


def same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether all bits are the same; 0 and -0 are."""
    return first.dtype == second.dtype and first.shape == second.shape and np.array_equal(first, second)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 7, 20003])
@pytest.mark.parametrize("name", [*RANGES, "power"])
def test_elementary_functions(both: Both, name: str, count: int, kind: type) -> None:
    x = np.random.default_rng(count).uniform(*RANGES.get(name, (0.0, 10.0)), count).astype(kind)
    if name in ("log", "power"):  # too small for all of their digits
        x[:1] = np.finfo(kind).tiny / 4
    further = (0.86,) if name == "power" else ()
    native, numpy = both(lambda: getattr(elementary, name)(x, *further))
    assert same(native, numpy)


def test_elementary_functions_of_one_number_and_of_parts(both: Both) -> None:
    wide = np.random.default_rng(1).uniform(0.1, 9, (6, 8))[:, ::2]
    for name in ("exp", "log", "sine"):
        assert same(*both(lambda name=name: getattr(elementary, name)(wide)))
        one, other = both(lambda name=name: getattr(elementary, name)(0.7))
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert one == other


@pytest.mark.parametrize("mm", [7.0, 30.0, 140.0])
def test_smooth_fields(both: Both, mm: float) -> None:
    line = np.arange(-150, 150, 2.5, dtype=np.float32)

    def painted() -> list[np.ndarray]:
        field = Lattice(line[:90], line[:70], line, mm=mm, key="a", shape=2**61 + 5)
        boxes = ((slice(50, 51), slice(3, 9), slice(0, 90)), (slice(0, 120), slice(0, 70), slice(10, 77)))
        return [field.part(box) for box in boxes]

    for native, numpy in zip(*both(painted), strict=True):
        assert same(native, numpy)


@pytest.mark.parametrize("rough", [0.0, 2.5])
@pytest.mark.parametrize("rays", ["none", "y"])
def test_shapes(both: Both, rays: str, rough: float) -> None:
    axes = squared(np.random.default_rng(2).normal(0, 1, (3, 3)))
    depths = (
        ellipsoid((3.0, -4.0, 2.0), (20.0, 9.0, 14.0), rough=rough),
        ellipsoid((3.0, -4.0, 2.0), (20.0, 9.0, 14.0), rough=rough, turn=0.4),
        tilted((1.0, 2.0, -3.0), axes, (22.0, 12.0, 7.0), rough=rough),
    )

    def painted() -> list[np.ndarray]:
        patches = [patch.cut() for patch in canvas(rays).patches(((-20, 15), (-15, 20), (-30, 30)))]
        found = [depth(patch) for depth in depths for patch in patches]
        return [*found, *(smooth_least(a, b, mm=5.0) for a, b in zip(found, reversed(found), strict=True))]

    for native, numpy in zip(*both(painted), strict=True):
        assert same(native, numpy)


def canvas(rays: str = "none") -> Canvas:
    """A canvas that holds something everywhere."""
    rng = np.random.default_rng(8)
    steps = {"none": (2.1, 1.7, 2.5), "y": (2.0, 8.0, 2.0), "x": (8.0, 2.0, 2.0)}[rays]
    x, y, z = (np.arange(-40, 40, step, dtype=np.float32) for step in steps)
    made = Canvas(axes=Axes(x=x, y=y, z=z), palette={"air": -1000.0, "metal": 3000.0}, shape=5, rays=rays)
    made.value[:] = rng.normal(0, 300, made.value.shape)
    made.label[:] = rng.integers(0, 12, made.label.shape)
    return made


BOX = (slice(3, 20), slice(2, 31), slice(5, 36))
OVER = ("fat", "muscle", "heart")


@pytest.mark.parametrize("over", [(), OVER[:1], OVER])
@pytest.mark.parametrize("organ", [None, "spine"])
@pytest.mark.parametrize("level", ["one", "many", "wide"])
def test_blending(both: Both, over: tuple[str, ...], organ: str | None, level: str) -> None:
    rng = np.random.default_rng(3)
    alpha = shares(rng.normal(0, 4, (17, 29, 40)).astype(np.float32), width=3.3)[:, :, 4:35]
    levels = {
        "one": np.float32(77.7),
        "many": rng.normal(0, 90, alpha.shape).astype(np.float32),
        "wide": rng.normal(0, 90, (17, 1, 31)),
    }

    def painted() -> tuple[np.ndarray, np.ndarray]:
        on = canvas()
        value, label = on.value[BOX], on.label[BOX]
        lay(value, label, alpha, level=levels[level], organ=organ, over=over, strength=0.7)
        return on.value, on.label

    for native, numpy in zip(*both(painted), strict=True):
        assert same(native, numpy)


@pytest.mark.parametrize("wide", [False, True])
def test_shells(both: Both, wide: bool) -> None:
    rng = np.random.default_rng(4)
    deep, width, begins = (rng.normal(0, 4, (17, 29, 31)).astype(np.float32) for _ in range(3))
    width = np.abs(width) + np.float32(0.1) if wide else np.float32(2.2)

    def painted() -> tuple[np.ndarray, np.ndarray]:
        on = canvas()
        for start in (np.float32(-1.0), begins):
            lay_shell(
                on.value[BOX], on.label[BOX], deep, begins=start, width=width, level=np.float32(9), organ="skin"
            )  # fmt: skip
        return on.value, on.label

    for native, numpy in zip(*both(painted), strict=True):
        assert same(native, numpy)


def test_boxes_about_what_is_there(both: Both) -> None:
    label = np.zeros((9, 40, 70), np.uint8)
    label[4, 33, 65], label[5, 7, 12] = ORGAN_CODES["fat"], ORGAN_CODES["heart"]
    part = label[2:8, 5:36, 3:67]
    values = np.where(label > 0, 2.0, -1.0).astype(np.float32)
    for find in (
        lambda: labeled_box(part, "fat"),
        lambda: labeled_box(part, "liver", "heart", "fat"),
        lambda: labeled_box(part, "liver"),
        lambda: tight_box(part > 0),
        lambda: tight_box(part > 250),
        lambda: tight_box(values[:, :, ::2] > 0),
        lambda: box_above(values, 0.0),
        lambda: box_above(values, 2.0),
    ):
        native, numpy = both(find)
        assert native == numpy
    assert both(lambda: labeled_box(part, "fat"))[0] == (slice(2, 3), slice(28, 29), slice(62, 63))


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("parts", [1, 2, 4, 7])
def test_shares_along_rays(both: Both, axis: int, parts: int) -> None:
    shape = [5, 56, 57]
    shape[axis] = 28
    deep = np.random.default_rng(parts).normal(0, 5, shape).astype(np.float32)
    native, numpy = both(lambda: edge_widths(deep, axis=axis, least=1.9))
    assert same(native, numpy)
    assert same(*both(lambda: mean_shares(deep, native, parts=parts, axis=axis)))


@pytest.mark.parametrize("rays", ["none", "y", "x"])
@pytest.mark.parametrize("over", [(), OVER])
def test_tubes(both: Both, rays: str, over: tuple[str, ...]) -> None:
    rng = np.random.default_rng(6)
    chains = [
        (rng.uniform(-45, 45, (300, 3)), rng.uniform(0.1, 3, 300), (1.0, 1.0, 1.0)),
        (rng.uniform(-45, 45, (40, 3)), rng.uniform(2, 24, 40), (0.5, 1.2, 0.8)),
        (np.linspace((-50, -9, -30), (50, 20, 30), 200), 2.0, (1.0, 1.0, 1.0)),
    ]

    def painted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        on = canvas(rays)
        tube = tubes(on)
        for points, radius, squash in chains:
            tube.add(points, radius, squash=squash)
        tube.paint(on, tissue="metal", organ="ribs", over=over, shift=0.4)
        tube.paint(on, tissue=40.0, organ=None, inside="metal", strength=0.6)
        filled = np.zeros(on.axes.shape, np.float32)
        index, share = tube.cover(shift=-0.3)
        filled.reshape(-1)[index] = share
        return on.value, on.label, filled

    for native, numpy in zip(*both(painted), strict=True):
        assert same(native, numpy)


@pytest.mark.parametrize("profile", ["solid", "flat"])
def test_disks_on_a_film(both: Both, profile: str) -> None:
    rng = np.random.default_rng(7)
    chain = Chain(
        column=rng.uniform(-50, 260, 900), row=rng.uniform(-50, 190, 900), radius=rng.uniform(0.2, 40, 900) ** 0.8,
        amount=rng.uniform(0, 2, 900), layer=rng.integers(0, 3, 900),
    )  # fmt: skip
    assert same(*both(lambda: paint_chain(chain, rows=150, columns=210, profile=profile)))


def test_enlarging(both: Both) -> None:
    small = np.random.default_rng(9).normal(0, 1, (40, 31)).astype(np.float32)
    assert same(*both(lambda: enlarged(small, step=3, shape=(118, 91))))


def exams() -> dict[str, tuple[PatientFacts, Exam]]:
    """One exam of each protocol, in a usual and in a mirrored body."""
    patients = map(draw_facts(seed=77, patients=np.arange(150)).patient, range(150))
    return {exam.protocol: (patient, exam) for patient in patients for exam in patient.exams}


def pixels(patient: PatientFacts, exam: Exam) -> list[np.ndarray]:
    """All that is drawn of an exam."""
    if exam.modality == "DX":
        film = render_xray(patient, exam=exam, size=128)
        masks = [lesion.mask for lesion in film.lesions]
        return [film.pixels, film.attenuation, film.heart, *film.lungs, *masks]
    volume = render_volume(patient, exam=exam.number, shape=(24, 60, 64))
    masks = [lesion.mask for lesion in volume.lesions]
    return [volume.array, volume.organs, volume.lesions_map, *masks]


@pytest.mark.parametrize("protocol", sorted(name for name, (_, e) in exams().items() if e.modality != "SM"))
def test_whole_exams(both: Both, protocol: str) -> None:
    patient, exam = exams()[protocol]
    native, numpy = both(lambda: pixels(patient, exam))
    assert len(native) == len(numpy)
    for one, other in zip(native, numpy, strict=True):
        assert same(one, other)


def test_old_and_new_vectors_round_alike(both: Both, tmp_path: Path) -> None:
    """Kernels for the oldest processors of a kind, and those that this one chooses."""
    plain = variant()
    plain = replace(plain, base={name: (*flags, "-DOSLER_NO_CLONES") for name, flags in plain.base.items()})
    old = choose_painting("native", library=build.build_kernels(target=tmp_path / "old.so", variant=plain).path)
    found = exams()
    for protocol in ("ct-chest-contrast", "mr-brain-flair", "xr-chest-pa"):
        patient, exam = found[protocol]
        native, _ = both(lambda patient=patient, exam=exam: pixels(patient, exam))
        for one, other in zip(native, painted_by(old, lambda p=patient, e=exam: pixels(p, e)), strict=True):
            assert same(one, other)
