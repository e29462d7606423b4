"""Which organs are painted for which region, in which order."""

from __future__ import annotations

import numpy as np

from osler.synth.facts import Exam, PatientFacts
from osler.synth.phantoms import abdomen, bowel, cage, chest, head, head_findings, knee, liver, pelvis, torso
from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.findings import paint_trunk_findings
from osler.synth.phantoms.pose import CT_POSE, Pose
from osler.synth.phantoms.state import Shown


def paint_region(
    canvas: Canvas, patient: PatientFacts, *, exam: Exam, state: Shown, pose: Pose = CT_POSE
) -> dict[int, str]:
    """Paints a region with its lesions; returns the lesions drawn (number to key)."""
    if exam.region == "head":
        skull = head.head_of(patient, state=state)
        head.paint_outside(canvas, skull)
        head.paint_brain(canvas, skull)
        return head_findings.paint_head_findings(canvas, skull, state=state)
    if exam.region == "knee":
        joint = knee.knee_of(patient)
        knee.paint_leg(canvas, joint)
        knee.paint_joint(canvas, joint, state=state)
        return knee.paint_knee_findings(canvas, joint, state=state)
    body = torso.torso_of(patient, pose=pose, state=state)
    low, high = float(canvas.axes.z[0]) / body.t, float(canvas.axes.z[-1]) / body.t
    bone = 1 - 0.006 * max(0.0, patient.age - 45) - 0.12 * state.grade("osteopenia")
    torso.paint_wall(canvas, body)
    if exam.modality == "CT":
        torso.paint_table(canvas, body)
    if high > -0.14:
        chest.paint_lungs(canvas, body, state=state)
        chest.paint_mediastinum(canvas, body, state=state)
    if low < 0.05:
        _paint_belly(canvas, body, state=state)
    crushed = {
        f.site.removeprefix("vertebra-"): 0.14 + 0.12 * state.grade(f.key)
        for f in state.of("vertebral-compression-fracture")
    }
    torso.paint_spine(canvas, body, crushed=crushed, worn=state.grade("degenerative-spine-disease"), bone=bone)
    broken = [np.array(f.center_mm) for f in state.of("rib-fracture") if f.center_mm is not None]
    if high > -0.2:
        cage.paint_cage(canvas, body, broken=broken, bone=bone)
    if low < -0.38:
        pelvis.paint_pelvis(canvas, body, broken=tuple(f.side for f in state.of("hip-fracture")))
    return paint_trunk_findings(canvas, body, state=state)


def _paint_belly(canvas: Canvas, body: torso.Torso, *, state: Shown) -> None:
    abdomen.paint_cavity(canvas, body)
    abdomen.paint_great_vessels(canvas, body, state=state)
    bowel.paint_bowel(canvas, body, state=state)
    liver.paint_liver(canvas, body, state=state)
    abdomen.paint_spleen_pancreas(canvas, body, state=state)
    abdomen.paint_kidneys(canvas, body, state=state)
    if canvas.axes.z[0] < -0.5 * body.t:
        abdomen.paint_pelvic_organs(canvas, body, state=state)
