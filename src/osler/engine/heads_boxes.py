"""The box head at work: boxes of labels in pictures and volumes, back in pixels and patient millimeters.

Legend: Q labels, M features of a series, P patches of a slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from osler.engine.head_features import HeadFeatures, frontal_xrays, series_images, spread, text_states
from osler.engine.head_results import HeadBox
from osler.model.heads import patch_positions, volume_features
from osler.prepare import PreparedImages
from osler.study import Box2D, Box3D, Volume

if TYPE_CHECKING:
    from osler.engine.backend import AnyHeads
    from osler.engine.session import Session
    from osler.study import Study

_LEAST = 1e-4
"""Edges that are nearer than this share of the picture enclose nothing."""


class BoxFinder:
    """Finds boxes of labels (skill ``"boxes"``).

    Args:
        heads: Trained.
        features: Of its network.
        side: Patches along one side of an image.
    """

    def __init__(self, heads: AnyHeads, *, features: HeadFeatures, side: int) -> None:
        self._heads = heads
        self._features = features
        self._side = side

    @property
    def labels(self) -> frozenset[str]:
        """Labels that it was trained on; empty where any text may be asked for."""
        return frozenset(self._heads.config.labels)

    @property
    def scope(self) -> str:
        """What it was found good for, in words; empty where it reads everything."""
        return "frontal X-rays" if self._heads.config.boxes_on == "xrays" else ""

    def locate(self, session: Session, study: Study, *, labels: Sequence[str]) -> list[HeadBox]:
        """Finds at most one box a label and series.

        Args:
            session: With these weights. study: To look at.
            labels: As people say them.

        Returns:
            The boxes that are likelier there than not: on images in the network's pixels, in volumes in mm.
        """
        if not labels:
            return []
        prepared = session.prepare(study)
        text_1QC = text_states(session, labels)[None]
        depths = {
            (point, series.series): series.shape[0]
            for point, entry in enumerate(study.timepoints)
            for series in entry.series
            if isinstance(series, Volume)
        }
        xrays = {
            number
            for timepoint in range(len(study.timepoints))
            for number in frontal_xrays(study, prepared, timepoint=timepoint)
        }
        found: list[HeadBox] = []
        for numbers in series_images(prepared):
            if self.scope and numbers[0] not in xrays:
                continue
            first = prepared.images[numbers[0]]
            if first.slice is None:
                found += self._on_image(prepared, numbers[0], text_1QC=text_1QC, labels=labels)
            else:
                depth = depths[first.timepoint, first.series]
                found += self._in_volume(prepared, numbers, depth=depth, text_1QC=text_1QC, labels=labels)
        return found

    @torch.inference_mode()
    def _on_image(
        self, prepared: PreparedImages, number: int, *, text_1QC: torch.Tensor, labels: Sequence[str]
    ) -> Iterator[HeadBox]:
        features_1PV = self._features.of(prepared.pixels, numbers=[number])
        places_1P3 = patch_positions(self._side, device=features_1PV.device)[None]
        boxes_1Q6, presence_1Q = self._heads.boxes(text_1QC, features_BMV=features_1PV, positions_BM3=places_1P3)
        size, image = prepared.pixels.preprocess.image_size, prepared.images[number]
        for label, box, score in _likely(boxes_1Q6, presence_1Q, labels=labels):
            pixel = Box2D(x0=box[0] * size, y0=box[1] * size, x1=box[3] * size, y1=box[4] * size)
            yield HeadBox(label=label, series=image.series, score=score, image=number, box=pixel)

    @torch.inference_mode()
    def _in_volume(
        self,
        prepared: PreparedImages,
        numbers: Sequence[int],
        *,
        depth: int,
        text_1QC: torch.Tensor,
        labels: Sequence[str],
    ) -> Iterator[HeadBox]:
        chosen = [numbers[place] for place in spread(len(numbers), most=self._heads.config.slices)]
        features_NPV = self._features.of(prepared.pixels, numbers=chosen)
        centers = [((prepared.images[number].slice or 0) + 0.5) / depth for number in chosen]
        pooled_1MV, places_1M3 = volume_features(
            features_NPV, depth_BS=torch.tensor([centers], device=features_NPV.device), side=self._side
        )
        boxes_1Q6, presence_1Q = self._heads.boxes(text_1QC, features_BMV=pooled_1MV, positions_BM3=places_1M3)
        for label, box, score in _likely(boxes_1Q6, presence_1Q, labels=labels):
            patient = to_patient(box, prepared=prepared, number=numbers[0], depth=depth)
            yield HeadBox(label=label, series=prepared.images[numbers[0]].series, score=score, patient=patient)


def to_patient(box: Sequence[float], *, prepared: PreparedImages, number: int, depth: int) -> Box3D:
    """Maps a box in shares of the picture (x, y) and the volume (z) to patient LPS mm.

    Args:
        box: x0, y0, z0, x1, y1, z1 in 0 to 1.
        prepared: The study. number: Of an image of the volume.
        depth: Slices of the volume.
    """
    image, size = prepared.images[number], prepared.pixels.preprocess.image_size
    assert image.affine is not None
    flat = image.pixel_map.to_file(Box2D(x0=box[0] * size, y0=box[1] * size, x1=box[3] * size, y1=box[4] * size))
    voxel = Box3D(low=(flat.x0, flat.y0, box[2] * depth), high=(flat.x1, flat.y1, box[5] * depth), frame="voxel")
    return voxel.to_patient(image.affine)


def _likely(
    boxes_1Q6: torch.Tensor, presence_1Q: torch.Tensor, *, labels: Sequence[str]
) -> Iterator[tuple[str, list[float], float]]:
    """Boxes of some size of labels that are likelier there than not."""
    for label, box, score in zip(labels, boxes_1Q6[0].tolist(), presence_1Q[0].sigmoid().tolist(), strict=True):
        if score > 0.5 and all(box[axis + 3] - box[axis] > _LEAST for axis in (0, 1)):
            yield label, box, score
