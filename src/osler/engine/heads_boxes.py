"""The box head at work: boxes of labels in pictures and volumes, back in pixels and patient millimeters.

Legend: Q labels, M features of a series, P patches of a slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

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


class _FindsBoxes(Protocol):
    """A box head of either backend."""

    def __call__(
        self, text_BQC: torch.Tensor, *, features_BMV: torch.Tensor, positions_BM3: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Asked:
    """Labels of one head with their text states."""

    head: _FindsBoxes
    labels: Sequence[str]
    text_1QC: torch.Tensor


class BoxFinder:
    """Finds boxes of labels (skill ``"boxes"``).

    Args:
        heads: Trained.
        features: Of its network.
        side: Patches along one side of an image.
        anywhere: It is asked for any label in any picture or volume; see `everywhere`.
    """

    def __init__(self, heads: AnyHeads, *, features: HeadFeatures, side: int, anywhere: bool = False) -> None:
        self._heads = heads
        self._features = features
        self._side = side
        self._anywhere = anywhere

    def everywhere(self) -> BoxFinder:
        """Returns the same head, asked also where it was not found good: to measure it, not to use it."""
        return BoxFinder(self._heads, features=self._features, side=self._side, anywhere=True)

    @property
    def labels(self) -> frozenset[str]:
        """Labels that it was trained on; empty where any text may be asked for."""
        config = self._heads.config
        return frozenset((*config.labels, *config.taught)) if config.labels and not self._anywhere else frozenset()

    def scope_of(self, labels: Sequence[str]) -> str:
        """What it was found good for with all of these labels, in words; empty where it reads everything."""
        config = self._heads.config
        taught = [label for label in labels if label in config.taught]
        scopes = []
        if len(taught) < len(labels) or not labels:
            scopes.append("frontal X-rays" if config.boxes_on == "xrays" else "")
        if taught:
            alone = {("pictures",): "single pictures", ("volumes",): "volumes"}
            scopes.append(alone.get(config.taught_on, ""))
        return " and ".join(dict.fromkeys(scopes)) if all(scopes) else ""

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
        taught = [label for label in labels if label in self._heads.config.taught]
        shipped = [label for label in labels if label not in taught]
        prepared = session.prepare(study)
        found: list[HeadBox] = []
        if shipped:
            ask = _Asked(head=self._heads.boxes, labels=shipped, text_1QC=text_states(session, shipped)[None])
            xrays = self._heads.config.boxes_on == "xrays" and not self._anywhere
            kinds = ("xrays",) if xrays else ("pictures", "volumes")
            found += self._find(ask, study, prepared=prepared, kinds=kinds)
        if taught:
            assert self._heads.taught is not None
            ask = _Asked(head=self._heads.taught, labels=taught, text_1QC=text_states(session, taught)[None])
            kinds = ("pictures", "volumes") if self._anywhere else self._heads.config.taught_on
            found += self._find(ask, study, prepared=prepared, kinds=kinds)
        return found

    def _find(self, ask: _Asked, study: Study, *, prepared: PreparedImages, kinds: Sequence[str]) -> list[HeadBox]:
        """Boxes in the series of some kinds: frontal ``"xrays"``, ``"pictures"``, ``"volumes"``."""
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
            first = prepared.images[numbers[0]]
            if first.slice is None:
                if "pictures" in kinds or ("xrays" in kinds and numbers[0] in xrays):
                    found += self._on_image(ask, prepared, numbers[0])
            elif "volumes" in kinds:
                found += self._in_volume(ask, prepared, numbers, depth=depths[first.timepoint, first.series])
        return found

    @torch.inference_mode()
    def _on_image(self, ask: _Asked, prepared: PreparedImages, number: int) -> Iterator[HeadBox]:
        features_1PV = self._features.of(prepared.pixels, numbers=[number])
        places_1P3 = patch_positions(self._side, device=features_1PV.device)[None]
        boxes_1Q6, presence_1Q = ask.head(ask.text_1QC, features_BMV=features_1PV, positions_BM3=places_1P3)
        size, image = prepared.pixels.preprocess.image_size, prepared.images[number]
        for label, box, score in _likely(boxes_1Q6, presence_1Q, labels=ask.labels):
            pixel = Box2D(x0=box[0] * size, y0=box[1] * size, x1=box[3] * size, y1=box[4] * size)
            yield HeadBox(label=label, series=image.series, score=score, image=number, box=pixel)

    @torch.inference_mode()
    def _in_volume(
        self, ask: _Asked, prepared: PreparedImages, numbers: Sequence[int], *, depth: int
    ) -> Iterator[HeadBox]:
        chosen = [numbers[place] for place in spread(len(numbers), most=self._heads.config.slices)]
        features_NPV = self._features.of(prepared.pixels, numbers=chosen)
        centers = [((prepared.images[number].slice or 0) + 0.5) / depth for number in chosen]
        pooled_1MV, places_1M3 = volume_features(
            features_NPV, depth_BS=torch.tensor([centers], device=features_NPV.device), side=self._side
        )
        boxes_1Q6, presence_1Q = ask.head(ask.text_1QC, features_BMV=pooled_1MV, positions_BM3=places_1M3)
        for label, box, score in _likely(boxes_1Q6, presence_1Q, labels=ask.labels):
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
