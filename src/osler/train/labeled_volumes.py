"""Volumes with 3D boxes, as the network sees them: real hippocampi, organs of phantoms, organs of a real torso.

Slices are prepared by the preprocessing contract itself, so training and use see
the same pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osler.engine.head_features import spread
from osler.prepare import Preprocess, prepare_images
from osler.prepare.images import PreparedImages
from osler.readers import open_study
from osler.study import Box3D, Study, TimePoint, Volume
from osler.synth.draw import draw_patient
from osler.synth.phantoms import render_volume
from osler.synth.phantoms.render import mask_box
from osler.train.pictures import split_of
from osler.weights.cache import whole_file

LEAST_SHARE = 0.03
"""Boxes that are thinner than this share of what is shown are left out."""

PHANTOM_ORGANS = ("right-lung", "left-lung", "heart", "liver", "spleen", "right-kidney", "left-kidney", "bladder")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabeledVolume:
    """Slices of a volume and boxes in it.

    Args:
        slices: uint8 (S, side, side, 3), equidistant.
        depth: (S,) center of each slice along the volume, 0 to 1.
        boxes: Label to x0, y0, z0, x1, y1, z1 in 0 to 1 of the picture and the volume.
        source: Data set. patient: Within it.
        region: Of the body, where a set shows several; else empty.
    """

    slices: np.ndarray
    depth: np.ndarray
    boxes: Mapping[str, tuple[float, ...]]
    source: str
    patient: str
    region: str = ""


def labeled_volume(
    study: Study,
    *,
    boxes: Mapping[str, Box3D],
    preprocess: Preprocess,
    slices: int,
    source: str,
    patient: str,
    region: str = "",
) -> LabeledVolume:
    """Prepares the one volume of a study by the contract and puts boxes (patient mm) into its coordinates."""
    prepared = prepare_images(study, preprocess=preprocess)
    chosen = spread(len(prepared.images), most=slices)
    return LabeledVolume(
        slices=prepared.pixels.rgb[chosen],
        depth=np.array([depth_of(prepared, index=index, study=study) for index in chosen], dtype=np.float32),
        boxes={label: in_series(box, prepared=prepared, study=study) for label, box in boxes.items()},
        source=source,
        patient=patient,
        region=region,
    )


def depth_of(prepared: PreparedImages, *, index: int, study: Study) -> float:
    """Center of a shown slice along its volume, 0 to 1."""
    slice_ = prepared.images[index].slice or 0
    return (slice_ + 0.5) / _slices(study)


def in_series(box: Box3D, *, prepared: PreparedImages, study: Study) -> tuple[float, ...]:
    """Turns a box in patient mm into 0 to 1 of the picture (x, y) and the volume (z)."""
    image = prepared.images[0]
    assert image.affine is not None
    size = prepared.pixels.preprocess.image_size
    flat = image.from_patient(box)
    voxel = box.to_voxel(image.affine)
    count = _slices(study)
    z0, z1 = sorted((voxel.low[2] / count, voxel.high[2] / count))
    edges = (flat.x0 / size, flat.y0 / size, z0, flat.x1 / size, flat.y1 / size, z1)
    return tuple(min(max(edge, 0.0), 1.0) for edge in edges)


def hippocampus_volumes(root: Path, *, split: str, preprocess: Preprocess, slices: int) -> Iterator[LabeledVolume]:
    """Yields the T1 crops of a split with the boxes of the drawn hippocampus and its two parts."""
    folder = root / "mr" / "hippocampus"
    for path in sorted((folder / "images").glob("*.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        if split_of("hippocampus", patient=name) != split:
            continue
        mask = _volume(open_study(folder / "labels" / path.name))
        marked = np.asarray(mask.read())
        parts = {"hippocampus": marked > 0, "anterior hippocampus": marked == 1, "posterior hippocampus": marked == 2}
        boxes = {label: mask_box(part, affine=mask.affine) for label, part in parts.items() if part.any()}
        yield labeled_volume(
            open_study(path), boxes=boxes, preprocess=preprocess, slices=slices, source="hippocampus", patient=name
        )


def phantom_volumes(
    *, seed: int, patients: range, preprocess: Preprocess, slices: int, shape: tuple[int, int, int] = (32, 128, 128)
) -> Iterator[LabeledVolume]:
    """Yields the first CT of the trunk of each synthetic patient, with the boxes of organs that are wholly inside."""
    for number in patients:
        patient = draw_patient(seed=seed, number=number)
        exam = next((e for e in patient.exams if e.modality == "CT" and e.region in ("chest", "abdomen")), None)
        if exam is None:
            continue
        phantom = render_volume(patient, exam=exam.number, shape=shape)
        found = {name: box for name, box in phantom.organ_boxes().items() if name in PHANTOM_ORGANS}
        study = Study(timepoints=(TimePoint(series=(phantom.volume(),)),))
        yield labeled_volume(
            study,
            boxes={name.replace("-", " "): box for name, box in found.items()},
            preprocess=preprocess,
            slices=slices,
            source="phantom",
            patient=str(number),
            region=exam.region,
        )


def _slices(study: Study) -> int:
    return _volume(study).shape[0]


def _volume(study: Study) -> Volume:
    (volume,) = (series for point in study.timepoints for series in point.series if isinstance(series, Volume))
    return volume


def cut_volume(
    volume: LabeledVolume, *, slices: int, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray, dict[str, tuple[float, ...]]]:
    """Takes a random part in the plane (by whole pixels) and along the slices, as a smaller field of view would.

    Args:
        slices: How many are kept, equidistant; repeated where there are fewer.
        rng: ``None`` for the whole volume, unchanged.

    Returns:
        Slices uint8 (S, side, side, 3), their depths (S,) and the boxes of the part, those cut away left out.
    """
    count, side = volume.slices.shape[:2]
    x0, y0, x1, y1, first, last = 0, 0, side, side, 0, count
    if rng is not None:
        x0, y0 = (int(rng.uniform(0, 0.12) * side) for _ in range(2))
        x1, y1 = (side - int(rng.uniform(0, 0.12) * side) for _ in range(2))
        first, last = int(rng.uniform(0, 0.15) * count), count - int(rng.uniform(0, 0.15) * count)
    low = 0.0 if first == 0 else float(volume.depth[first - 1] + volume.depth[first]) / 2
    high = 1.0 if last == count else float(volume.depth[last - 1] + volume.depth[last]) / 2
    chosen = first + np.linspace(0, last - first - 1, slices).round().astype(int)
    rgb = volume.slices[chosen]
    if rng is not None:
        rows, columns = (
            np.clip(np.linspace(a, b, side, endpoint=False) + (b - a) / side / 2, 0, side - 1).astype(int)
            for a, b in ((y0, y1), (x0, x1))
        )
        shaded = (rgb[:, rows][:, :, columns].astype(np.float32) - 128) * rng.uniform(0.8, 1.2)
        rgb = np.clip(shaded + 128 + rng.uniform(-20, 20), 0, 255).astype(np.uint8)
    lows = np.array([x0 / side, y0 / side, low])
    sizes = np.array([(x1 - x0) / side, (y1 - y0) / side, high - low])
    boxes = {}
    for label, box in volume.boxes.items():
        edges = np.clip((np.array(box).reshape(2, 3) - lows) / sizes, 0, 1)
        if (edges[1] - edges[0] > LEAST_SHARE).all():
            boxes[label] = tuple(float(edge) for edge in edges.ravel())
    return rgb, (volume.depth[chosen] - low) / (high - low), boxes


def write_volumes(path: Path, volumes: Sequence[LabeledVolume]) -> None:
    """Keeps prepared volumes of one number of slices in a file."""
    about = [{"boxes": dict(v.boxes), "source": v.source, "patient": v.patient} for v in volumes]
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as out:
        np.savez_compressed(
            out,
            slices=np.stack([v.slices for v in volumes]),
            depth=np.stack([v.depth for v in volumes]),
            about=np.array(json.dumps(about)),
        )


def read_volumes(path: Path) -> Iterator[LabeledVolume]:
    """Yields what `write_volumes` kept."""
    with np.load(path) as stored:
        rows = zip(stored["slices"], stored["depth"], json.loads(str(stored["about"])), strict=True)
        for slices, depth, about in rows:
            boxes = {label: tuple(box) for label, box in about["boxes"].items()}
            yield LabeledVolume(
                slices=slices, depth=depth, boxes=boxes, source=about["source"], patient=about["patient"]
            )
