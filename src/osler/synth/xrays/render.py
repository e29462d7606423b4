"""Renders the X-ray of an exam from the patient's facts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from osler.errors import RequestError
from osler.synth.draws import Draws
from osler.synth.facts import Exam, FindingFact, PatientFacts
from osler.synth.mirror import mirror
from osler.synth.phantoms.pose import Pose
from osler.synth.phantoms.thorax import Thorax, thorax_of
from osler.synth.xrays.beam import VIEWS, Beam, Body, View
from osler.synth.xrays.compose import Layers, compose
from osler.synth.xrays.detector import Exposure, develop
from osler.synth.xrays.marks import collimate, letter
from osler.synth.xrays.radiograph import Radiograph, ShownLesion, mask_box

LEAST_SIZE, GREATEST_SIZE = 64, 2048
_CHANCES = 16


def render_xray(patient: PatientFacts, *, exam: Exam, size: int = 512, pose: Pose | None = None) -> Radiograph:
    """Renders a chest X-ray.

    The same patient has the same chest on every date; findings, breath and position come with the exam.
    A mirrored patient (negative ``anatomy.shape``) has heart, stomach and everything else on the other side:
    the frontal image is the mirror image of the patient's own, letters aside.

    Args:
        patient: Whose exam it is.
        exam: Of a chest X-ray protocol.
        size: Longest side in pixels, 64 to 2048.
        pose: How the body stands or lies; drawn by the exam if not given.

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
    asked = exam
    body: Body = "mirrored" if patient.anatomy.shape < 0 else "usual"
    if body == "mirrored":
        exam = mirror(replace(patient, exams=(exam,))).exams[0]
    chance = _chances(patient, exam=exam)
    supine = _supine(exam, chance=chance)
    pose = pose or drawn_pose(patient, exam=exam)
    thorax = thorax_of(patient.anatomy, sex=patient.sex, age=patient.age)
    beam = _beam(thorax, exam=exam, size=size, chance=chance)
    if body == "mirrored" and view == "lateral":
        beam = replace(beam, source_mm=-beam.source_mm, detector_mm=-beam.detector_mm)
    layers = compose(patient, exam=exam, pose=pose, beam=beam)
    noise = Draws(seed=patient.seed, patients=np.array([patient.number])).bits("x-ray-noise", exam.number)
    exposure = _exposure(exam, chance=chance, seed=int(noise[0]), pixel_mm=beam.pixel_mm)
    gray = develop(layers.attenuation, exposure=exposure, pixel_mm=beam.pixel_mm)
    gray = _collimated(gray, chance=chance)
    lungs, heart, lesions, exponent = layers.lungs, layers.heart, tuple(_shown(layers)), layers.attenuation
    if body == "mirrored":
        beam = replace(beam, body="mirrored")
        facts = {id(old): new for old, new in zip(exam.findings, asked.findings, strict=True)}
        lesions = tuple(_mirrored(lesion, fact=facts[id(lesion.fact)], view=view) for lesion in lesions)
        flip = slice(None, None, -1 if view != "lateral" else 1)
        gray, heart, exponent = gray[:, flip], heart[:, flip], exponent[:, flip]
        lungs = lungs[1][:, flip], lungs[0][:, flip]
    gray = _lettered(gray, view=view, supine=supine, chance=chance)
    return Radiograph(
        pixels=np.clip(gray * 255 + 0.5, 0, 255).astype(np.uint8),
        pixel_mm=beam.pixel_mm,
        view=view,
        supine=supine,
        beam=beam,
        pose=pose,
        attenuation=exponent,
        lungs=lungs,
        heart=heart,
        lesions=lesions,
    )


def _mirrored(lesion: ShownLesion, *, fact: FindingFact, view: View) -> ShownLesion:
    """A lesion of the usual body in the mirrored one's picture."""
    sides = {"left": "right", "right": "left"}
    center = lesion.center_mm
    width = lesion.mask.shape[1]
    return replace(
        lesion,
        fact=fact,
        side=sides.get(lesion.side, lesion.side),
        box=lesion.box if view == "lateral" else lesion.box.mirrored(width=width),
        mask=lesion.mask if view == "lateral" else lesion.mask[:, ::-1],
        center_mm=None if center is None else (0.0 - center[0], center[1], center[2]),
    )


def drawn_pose(patient: PatientFacts, *, exam: Exam) -> Pose:
    """How the patient stands or lies for a film: drawn by the exam, higher diaphragm and wider heart in bed."""
    chance = _chances(patient, exam=exam)
    view = exam.acquisition.view
    supine = _supine(exam, chance=chance)
    return Pose(
        position="supine" if supine else "upright",
        arms="forward" if view == "lateral" else "down",
        breath_mm=float(10 * (chance[1] - 0.35) + (16 if supine else 6 if view == "AP" else 0)),
        heart=1.06 if supine else 1.0,
        blades_mm=0.14 * patient.anatomy.half_width_mm if view == "PA" else 0.0,
    )


def _chances(patient: PatientFacts, *, exam: Exam) -> np.ndarray:
    draws = Draws(seed=patient.seed, patients=np.full(_CHANCES, patient.number))
    return draws.uniform("x-ray", np.arange(_CHANCES) + _CHANCES * exam.number)


def _supine(exam: Exam, *, chance: np.ndarray) -> bool:
    return exam.acquisition.view == "AP" and bool(chance[0] < 0.55)


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
    portable, lateral = exam.acquisition.view == "AP", exam.acquisition.view == "lateral"
    return Exposure(
        photons=(3e4 if portable else 5e4) * (exam.acquisition.mas or 3) / 3 * (pixel_mm / 0.8) ** 2,
        scatter=0.10 + 0.05 * chance[6] if not portable else 0.16 + 0.12 * chance[6],
        equalize=0.22 + 0.2 * chance[7] - (0.08 if lateral else 0.0),
        contrast=(0.70 if portable else 0.85) + 0.36 * chance[8] + (0.55 if lateral else 0.0),
        brightness=0.26 * (chance[9] - (0.74 if portable else 0.26)) - (0.20 if lateral else 0.0),
        grid=0.004 * (chance[10] < 0.15),
        seed=seed,
    )


def _collimated(gray: np.ndarray, *, chance: np.ndarray) -> np.ndarray:
    unit = max(gray.shape) / 512
    leaves = [int(unit * 26 * max(0.0, share - 0.6)) for share in chance[11:15]]
    return collimate(gray, margins=(leaves[0], leaves[1], leaves[2], leaves[3]), slant=0.03 * (chance[15] - 0.5))


def _lettered(gray: np.ndarray, *, view: View, supine: bool, chance: np.ndarray) -> np.ndarray:
    """The side's lead letter, and the label of a portable image.

    The patient's left is at the right of a frontal image; a left lateral image carries its L in front.
    """
    columns, unit = gray.shape[1], max(gray.shape) / 512
    column = columns - (34 + 10 * chance[11]) * unit if view != "lateral" else (30 + 10 * chance[11]) * unit
    gray = letter(gray, text="L", column=column, row=(40 + 30 * chance[12]) * unit, height=24 * unit)
    if view == "AP":
        text = "AP SUPINE" if supine else "AP PORTABLE"
        gray = letter(
            gray, text=text, column=(48 + 10 * chance[13]) * unit, row=14 * unit, height=11 * unit, bright=0.9
        )
    return gray


def _shown(layers: Layers) -> Iterator[ShownLesion]:
    for fact, side, mask in layers.masks:
        box = mask_box(mask)
        if box is not None:
            yield ShownLesion(fact=fact, side=side, box=box, mask=mask, center_mm=fact.center_mm)
