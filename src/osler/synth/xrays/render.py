"""Renders the X-ray of an exam from the patient's facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from osler.errors import RequestError
from osler.synth.draws import Draws
from osler.synth.facts import Exam, PatientFacts
from osler.synth.xrays.beam import VIEWS, Beam
from osler.synth.xrays.compose import Layers, compose
from osler.synth.xrays.detector import Exposure, develop
from osler.synth.xrays.findings import scene_of
from osler.synth.xrays.marks import collimate, letter
from osler.synth.xrays.radiograph import Radiograph, ShownLesion, mask_box
from osler.synth.xrays.thorax import Thorax, thorax_of

LEAST_SIZE, GREATEST_SIZE = 64, 2048


def render_xray(patient: PatientFacts, *, exam: Exam, size: int = 512) -> Radiograph:
    """Renders a chest X-ray.

    The same patient has the same chest on every date; findings, breath and position come with the exam.

    Args:
        patient: Whose exam it is.
        exam: Of a chest X-ray protocol.
        size: Longest side in pixels, 64 to 2048.

    Raises:
        RequestError: If the exam is no chest X-ray, or the size is out of range.
    """
    view = exam.acquisition.view
    if exam.modality != "DX" or exam.region != "chest" or view not in VIEWS:
        raise RequestError(
            f"The exam {exam.protocol!r} ({exam.modality}, {exam.region}) is no chest X-ray.",
            allowed="An exam of modality DX, region chest, with the view PA, AP or lateral.",
        )
    if not LEAST_SIZE <= size <= GREATEST_SIZE:
        raise RequestError(f"An X-ray of {size!r} px.", allowed=f"{LEAST_SIZE} to {GREATEST_SIZE} px.")
    draws = Draws(seed=patient.seed, patients=np.arange(16) * 0 + patient.number)
    chance = draws.uniform("x-ray", np.arange(16) + 16 * exam.number)
    supine = view == "AP" and bool(chance[0] < 0.55)
    thorax = _breathing(thorax_of(patient.anatomy, sex=patient.sex, age=patient.age), view=view, supine=supine, chance=chance)
    scene = scene_of(exam, anatomy=patient.anatomy, thorax=thorax, supine=supine)
    beam = _beam(thorax, exam=exam, size=size, chance=chance)
    layers = compose(thorax, beam=beam, scene=scene, kvp=exam.acquisition.kvp or 110)
    seed = int(draws.bits("x-ray-noise", exam.number)[0])
    exposure = _exposure(exam, chance=chance, seed=seed, pixel_mm=beam.pixel_mm)
    gray = develop(layers.attenuation, exposure=exposure, pixel_mm=beam.pixel_mm)
    gray = _on_film(gray, view=view, supine=supine, chance=chance)
    return Radiograph(
        pixels=np.clip(gray * 255 + 0.5, 0, 255).astype(np.uint8), pixel_mm=beam.pixel_mm, view=view, supine=supine, beam=beam,
        lungs=layers.lungs, heart=layers.heart, lesions=tuple(_shown(layers)),
    )  # fmt: skip


def _breathing(thorax: Thorax, *, view: str, supine: bool, chance: np.ndarray) -> Thorax:
    """The chest at this exam's breath: higher diaphragm and wider heart in bed."""
    shallow = 10 * (chance[1] - 0.35) + (16 if supine else 6 if view == "AP" else 0)
    return replace(
        thorax,
        dome=(thorax.dome[0] + shallow, thorax.dome[1] + shallow),
        density=thorax.density * (1 + 0.012 * shallow),
        heart=thorax.heart * (1.06 if supine else 1.0),
    )


def _beam(thorax: Thorax, *, exam: Exam, size: int, chance: np.ndarray) -> Beam:
    a = exam.acquisition
    tall, wide = a.rows * a.pixel_mm, a.columns * a.pixel_mm
    if not (150 <= tall <= 600 and 150 <= wide <= 600):
        tall = wide = 430.0
    pixel = max(tall, wide) / size
    rows, columns = round(tall / pixel), round(wide / pixel)
    front = -(thorax.depth + 25)
    if exam.acquisition.view == "PA":
        source, detector, turn = front + 1800, front, 2.0
    elif exam.acquisition.view == "AP":
        source, detector, turn = thorax.depth + 35 - 1100, thorax.depth + 35, 4.0
    else:
        source, detector, turn = thorax.width + 40 - 1800, thorax.width + 40, 3.0
    across = 0.06 * thorax.depth if exam.acquisition.view == "lateral" else 0.0
    above = 52 + 16 * (chance[2] - 0.5)
    center = (across + 12 * (chance[3] - 0.5), thorax.apex + above - tall / 2)
    return Beam(
        view=exam.acquisition.view, source_mm=source, detector_mm=detector, center_mm=center, pixel_mm=pixel,
        rows=rows, columns=columns, yaw=float(np.radians(turn) * (chance[4] + chance[5] - 1)),
    )  # fmt: skip


def _exposure(exam: Exam, *, chance: np.ndarray, seed: int, pixel_mm: float) -> Exposure:
    portable = exam.acquisition.view == "AP"
    return Exposure(
        photons=(3e4 if portable else 5e4) * (exam.acquisition.mas or 3) / 3 * (pixel_mm / 0.8) ** 2,
        scatter=0.10 + 0.05 * chance[6] if not portable else 0.16 + 0.12 * chance[6],
        equalize=0.22 + 0.2 * chance[7],
        contrast=(0.78 if portable else 0.88) + 0.36 * chance[8],
        brightness=0.22 * (chance[9] - 0.5),
        grid=0.004 * (chance[10] < 0.15),
        seed=seed,
    )


def _on_film(gray: np.ndarray, *, view: str, supine: bool, chance: np.ndarray) -> np.ndarray:
    """Collimation, the side's lead letter, and the label of a portable image."""
    rows, columns = gray.shape
    unit = max(rows, columns) / 512
    leaves = [int(unit * 26 * max(0.0, share - 0.6)) for share in chance[11:15]]
    gray = collimate(gray, margins=(leaves[0], leaves[1], leaves[2], leaves[3]), slant=0.03 * (chance[15] - 0.5))
    # The patient's left is at the right of a frontal image; a left lateral image carries its L in front.
    column = columns - (34 + 10 * chance[11]) * unit if view != "lateral" else (30 + 10 * chance[11]) * unit
    gray = letter(gray, text="L", column=column, row=(40 + 30 * chance[12]) * unit, height=24 * unit)
    if view == "AP":
        text = "AP SUPINE" if supine else "AP PORTABLE"
        gray = letter(gray, text=text, column=(48 + 10 * chance[13]) * unit, row=14 * unit, height=11 * unit, bright=0.9)
    return gray


def _shown(layers: Layers) -> Iterator[ShownLesion]:
    for fact, side, mask, center in layers.masks:
        box = mask_box(mask)
        if box is not None:
            yield ShownLesion(fact=fact, side=side, box=box, mask=mask, center_mm=center)
