"""The CT of the body that a film shows, and plain sums of its voxels along the film's rays."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from osler.study import Affine
from osler.synth.facts import Acquisition, Exam, PatientFacts
from osler.synth.phantoms import ORGANS, Phantom
from osler.synth.phantoms.grid import Grid
from osler.synth.phantoms.pose import Pose
from osler.synth.phantoms.render import render_grid
from osler.synth.xrays import Radiograph
from osler.synth.xrays.beam import Beam
from osler.synth.xrays.matter import at_film_energy, attenuation


def ct_of(patient: PatientFacts, *, exam: Exam, film: Radiograph, pose: Pose, spacing: float = 2.0) -> Phantom:
    """A CT of the same patient with the same findings, over all that the film's rays cross."""
    body, beam = patient.anatomy, film.beam
    tall = beam.rows * beam.pixel_mm
    lines = [
        np.arange(-body.half_width_mm - 75, body.half_width_mm + 75, spacing),
        np.arange(-1.25 * body.half_depth_mm - 14, body.half_depth_mm + 14, spacing),
        np.arange(beam.center_mm[1] - tall / 2 - 6, beam.center_mm[1] + tall / 2 + 6, spacing),
    ]
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = [line[0] for line in lines]
    x, y, z = (len(line) for line in lines)
    acquisition = Acquisition(
        device="CT-64", rows=y, columns=x, slices=z, pixel_mm=spacing, slice_mm=spacing, spacing_mm=spacing, kvp=120,
        mas=400, kernel="soft", contrast="none", study_uid="2.25.7", series_uid="2.25.7",
    )  # fmt: skip
    ct = Exam(
        number=exam.number, day=exam.day, protocol="ct-chest-plain", modality="CT", region="chest",
        indication=exam.indication, acquisition=acquisition, findings=exam.findings,
    )  # fmt: skip
    return render_grid(patient, exam=ct, grid=Grid(shape=(z, y, x), affine=Affine(matrix), axes="LPS"), pose=pose)


def attenuation_of(ct: Phantom, *, kvp: float) -> np.ndarray:
    """Attenuation (per mm) of the patient in a CT, without the table."""
    patient = ~np.isin(ct.organs, [ORGANS.index("table"), ORGANS.index("outside")])
    hu = np.where(patient, ct.array, -1000).astype(np.float32)
    return attenuation(at_film_energy(hu, kvp=kvp).astype(np.float32), kvp=kvp)


def summed(voxels: np.ndarray, *, ct: Phantom, beam: Beam, every: int) -> np.ndarray:
    """The sum of value times mm along the rays of each ``every``-th pixel: steps of a voxel, linear between voxels."""
    source = np.array([float(line.flat[0]) for line in beam.plane(beam.source_mm, step=1)])
    points = np.stack(np.broadcast_arrays(*beam.plane(beam.detector_mm, step=1)), axis=-1).astype(np.float64)
    way = points[every // 2 :: every, every // 2 :: every] - source
    length = np.linalg.norm(way, axis=-1)
    spacing = ct.affine.matrix[0, 0]
    to_voxel = np.linalg.inv(ct.affine.matrix)
    steps = np.arange(0, 1, spacing / length.mean())
    total = np.zeros(length.shape)
    axis = 0 if beam.view == "lateral" else 1
    for share in steps:
        index = (source + share * way) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
        if -2 < index[..., axis].max() and index[..., axis].min() < voxels.shape[2 - axis] + 2:
            column, row, depth = np.moveaxis(index, -1, 0)
            total += map_coordinates(voxels, [depth, row, column], order=1, mode="constant") * length
    return total * (steps[1] - steps[0])
