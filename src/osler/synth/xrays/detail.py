"""Shadows finer than the voxels: edges of bones, vessels of the lungs, devices, line by line at the film's own pixels.

Bones lie in the voxels already, so only what is sharper than a voxel is added: its mean is zero. Vessels of the lungs
and devices are left out of the voxels of a film and come from here alone, from the same lines that a CT paints.
"""

from __future__ import annotations

import numpy as np

from osler.extras import import_extra
from osler.synth.facts import FindingFact
from osler.synth.phantoms.cage import Bone, girdle, ribs
from osler.synth.phantoms.canvas import Canvas
from osler.synth.phantoms.chest import LUNGS, tree_points
from osler.synth.phantoms.devices import FLAT_MM, Piece, device_pieces
from osler.synth.phantoms.organs import ORGAN_CODES
from osler.synth.phantoms.shapes import even_steps, polyline
from osler.synth.phantoms.torso import Torso, vertebral_bodies
from osler.synth.xrays.beam import Beam
from osler.synth.xrays.matter import attenuation
from osler.synth.xrays.tubes import Chain, paint_chain

_BESIDE_HU = -250.0
"""What bones of the chest lie in, about: lung on one side, muscle on the other."""
_DEVICE_STEP_MM = 0.7
_LAYERS = 6
_LEAST_SINE = 0.4
_LONGEST_ROD = 400
_PLATE_MM, _PLATE_DENSE = 0.9, 1.1
"""Half thickness of a vertebra's end plate, and its density relative to the cortex of a rib."""


def bone_edges(torso: Torso, canvas: Canvas, *, beam: Beam, broken: list[np.ndarray], kvp: float) -> np.ndarray:
    """What the sharp shadows of the chest's bones have over those of voxels as fine as the canvas's."""
    gaussian_filter = import_extra("scipy.ndimage", extra="synth").gaussian_filter

    rods, _ = ribs(torso, broken=broken)
    # A plate is no rod: its shadow has no fine edge but that of its borders.
    flat = ("sternum",) if beam.view != "lateral" else ()
    bones = rods + [bone for bone in girdle(torso) if bone.organ not in flat and len(bone.line) < _LONGEST_ROD]
    takes = {
        name: float(attenuation(np.float32(canvas.palette[name]), kvp=kvp))
        for name in ("rib-cortex", "cortex", "marrow")
    }
    beside = float(attenuation(np.float32(_BESIDE_HU), kvp=kvp))
    sharp = _rods(bones, beam=beam, inset=False, per_mm={name: level - beside for name, level in takes.items()})
    core = {name: level - takes["marrow"] for name, level in takes.items()}
    sharp -= _rods([bone for bone in bones if bone.wall], beam=beam, inset=True, per_mm=core)
    if beam.view == "lateral":
        sharp += _plates(torso, beam=beam, per_mm=_PLATE_DENSE * core["rib-cortex"])
    blur = 0.55 * canvas.edge / (beam.pixel_mm * float(beam.scale(0.0)))
    return sharp - gaussian_filter(sharp, blur, truncate=3.0)


def _rods(bones: list[Bone], *, beam: Beam, inset: bool, per_mm: dict[str, float]) -> np.ndarray:
    points, radius, way, layer, takes = [], [], [], [], []
    along = 0 if beam.view == "lateral" else 1
    for number, bone in enumerate(bones):
        if len(bone.line) < 2:
            continue
        points.append(bone.line)
        radius.append(np.full(len(bone.line), bone.radius - (bone.wall if inset else 0.0)))
        direction = np.gradient(bone.line, axis=0)
        way.append(direction / np.maximum(np.linalg.norm(direction, axis=1, keepdims=True), 1e-6))
        layer.append(np.full(len(bone.line), number % _LAYERS))
        takes.append(np.full(len(bone.line), per_mm[bone.cortex] / bone.squash[along]))
    if not points:
        return np.zeros((beam.rows, beam.columns), np.float32)
    at, thick = np.concatenate(points), np.concatenate(radius)
    column, row, magnified = beam.project(at)
    amount = 2 * thick * np.concatenate(takes) * _slanted(np.concatenate(way), beam=beam)
    chain = Chain(
        column=column, row=row, radius=1.14 * thick * magnified, amount=amount, layer=np.concatenate(layer)
    )  # fmt: skip
    return paint_chain(chain, rows=beam.rows, columns=beam.columns, profile="solid")


def _plates(torso: Torso, *, beam: Beam, per_mm: float) -> np.ndarray:
    """The cortex of the vertebral bodies seen from the side: end plates, front and back."""
    lines, amounts, layers = [], [], []
    for number, (outline, half) in enumerate(vertebral_bodies(torso)):
        for index, part in enumerate(outline):
            line = even_steps(polyline([tuple(point) for point in part], count=12), step=0.8)[0]
            lines.append(line)
            # A ray runs along an end plate for most of the body's width, along its round front and back for less.
            amounts.append(np.full(len(line), per_mm * half * (1.5, 0.9)[index % 2]))
            layers.append(np.full(len(line), number % 2))
    at = np.concatenate(lines)
    column, row, magnified = beam.project(at)
    chain = Chain(
        column=column, row=row, radius=_PLATE_MM * magnified, amount=np.concatenate(amounts),
        layer=np.concatenate(layers),
    )  # fmt: skip
    return paint_chain(chain, rows=beam.rows, columns=beam.columns, profile="solid")


def _slanted(way: np.ndarray, *, beam: Beam) -> np.ndarray:
    """How much longer a ray's way through a rod is where the rod runs along the ray."""
    along = way[:, 0 if beam.view == "lateral" else 1]
    return 1 / np.sqrt(np.clip(1 - along**2, _LEAST_SINE**2, 1))


def vessels(torso: Torso, canvas: Canvas, *, beam: Beam, congested: float, kvp: float) -> np.ndarray:
    """Attenuation of the lungs' vessels, where the canvas has lung."""
    points, radius, ages, way = tree_points(torso, congested=congested, step=max(0.8, beam.pixel_mm / 1.0))
    kept = _in_lung(points, canvas)
    points, radius, ages, way = points[kept], radius[kept], ages[kept], way[kept]
    blood, lung = (
        float(attenuation(np.float32(canvas.palette[name]), kvp=kvp)) for name in ("pulmonary-blood", "lung")
    )
    column, row, magnified = beam.project(points)
    chain = Chain(
        column=column, row=row, radius=radius * magnified,
        amount=2 * radius * (blood - lung) * _slanted(way, beam=beam), layer=ages % 4,
    )  # fmt: skip
    return paint_chain(chain, rows=beam.rows, columns=beam.columns, profile="solid")


def _in_lung(points: np.ndarray, canvas: Canvas) -> np.ndarray:
    axes = canvas.axes
    index = []
    for k, line in ((2, axes.z), (1, axes.y), (0, axes.x)):
        step = float(line[1] - line[0])
        index.append(np.rint((points[:, k] - line[0]) / step).astype(np.int64))
    inside = np.logical_and.reduce([(i >= 0) & (i < n) for i, n in zip(index, axes.shape, strict=True)])
    label = canvas.label[tuple(np.where(inside, i, 0) for i in index)]
    return inside & np.isin(label, [ORGAN_CODES[name] for name in LUNGS])


def _seen_from(beam: Beam, piece: Piece) -> Piece:
    """A piece as disks: from the side a flat one is a row of disks, one over the other."""
    points, radius, dense = piece
    if beam.view != "lateral" or radius <= FLAT_MM:
        return piece
    up = np.linspace(FLAT_MM - radius, radius - FLAT_MM, 2 + int(radius / _DEVICE_STEP_MM))
    stacked = points[:, None] + up[:, None] * np.array([0.0, 0.0, 1.0])
    return stacked.reshape(-1, 3), FLAT_MM, dense


def device_shadow(fact: FindingFact, *, torso: Torso, beam: Beam) -> np.ndarray:
    """Attenuation of a device's parts, (rows, columns) float32."""
    pieces = [_seen_from(beam, piece) for piece in device_pieces(fact, thorax=torso.thorax)]
    lines = [even_steps(points, step=_DEVICE_STEP_MM)[0] if len(points) > 1 else points for points, _, _ in pieces]
    column, row, magnified = beam.project(np.concatenate(lines))
    counts = [len(line) for line in lines]
    chain = Chain(
        column=column, row=row, radius=np.repeat([piece[1] for piece in pieces], counts) * magnified,
        amount=np.repeat([piece[2] for piece in pieces], counts),
        layer=np.repeat(np.arange(len(pieces)) % 4, counts),
    )  # fmt: skip
    return paint_chain(chain, rows=beam.rows, columns=beam.columns, profile="flat")
