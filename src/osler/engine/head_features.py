"""What heads read of a study: features of its images, encoded once, and states of texts.

Legend: N images, P patches, V width of the tower, K texts, C width of a text state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from osler.engine.features import image_batch
from osler.prepare import PixelBatches, PreparedImages, ShownImage
from osler.study import Image

if TYPE_CHECKING:
    from osler.engine.backend import AnyNetwork
    from osler.engine.session import Session
    from osler.study import Series, Study
    from osler.weights import Checkpoint

XRAY = frozenset({"DX", "CR", "DR", "RG", ""})
"""Modalities of single pictures that heads for X-rays read; a picture file names none."""

_SIDE_VIEWS = ("LL", "RL", "LATERAL", "LLD", "RLD")
_KEPT_BYTES = 128 << 20


class HeadFeatures:
    """Encodes images for heads and remembers the last ones by the digest of their pixels.

    Args:
        network: With heads.
        kept_bytes: Memory for features; the ones not used for longest go first.
    """

    def __init__(self, network: AnyNetwork, *, kept_bytes: int = _KEPT_BYTES) -> None:
        self._network = network
        self._kept_bytes = kept_bytes
        self._features_PV: OrderedDict[str, torch.Tensor] = OrderedDict()

    @torch.inference_mode()
    def of(self, pixels: PixelBatches, *, numbers: Sequence[int]) -> torch.Tensor:
        """Returns the features of some images, (N, P, V).

        Args:
            pixels: Of the study. numbers: Of the images wanted, one at least.
        """
        digests = PixelBatches(rgb=pixels.rgb[list(numbers)], preprocess=pixels.preprocess).digests()
        known = {digest: self._features_PV[digest] for digest in digests if digest in self._features_PV}
        missing = [place for place, digest in enumerate(digests) if digest not in known]
        network, size = self._network, image_batch(self._network)
        for start in range(0, len(missing), size):
            chosen = missing[start : start + size]
            rgb = pixels.rgb[[numbers[place] for place in chosen]]
            batch = torch.from_numpy(PixelBatches(rgb=rgb, preprocess=pixels.preprocess).array())
            encoded = network.head_features(batch.to(device=network.device, dtype=network.dtype))
            known |= {digests[place]: features_PV.clone() for place, features_PV in zip(chosen, encoded, strict=True)}
        self._keep(known)
        return torch.stack([known[digest] for digest in digests])

    def _keep(self, known: dict[str, torch.Tensor]) -> None:
        self._features_PV |= known
        for digest in known:
            self._features_PV.move_to_end(digest)
        held = sum(features_PV.nbytes for features_PV in self._features_PV.values())
        while held > self._kept_bytes and self._features_PV:
            _, dropped = self._features_PV.popitem(last=False)
            held -= dropped.nbytes


@torch.inference_mode()
def text_states(source: Session | Checkpoint, texts: Sequence[str]) -> torch.Tensor:
    """Returns states of short texts such as labels, (K, C); hyphens count as spaces.

    Args:
        source: A session, or weights that no session holds yet.
    """
    checkpoint: Checkpoint = getattr(source, "checkpoint", source)
    network: AnyNetwork = getattr(source, "network", checkpoint.model)
    empty = network.config.tokens.pad
    return network.text_states([checkpoint.tokenizer.encode(spoken(text)) or [empty] for text in texts])


def spoken(label: str) -> str:
    """A key of the ontology as words: ``"pleural-effusion"`` is asked for as ``"pleural effusion"``."""
    return label.replace("-", " ")


def series_images(prepared: PreparedImages) -> Iterator[list[int]]:
    """Yields the numbers of the images of each series; tiles of slides are left out."""
    by_series: dict[tuple[int, str], list[int]] = {}
    for number, image in enumerate(prepared.images):
        if image.tile is None:
            by_series.setdefault((image.timepoint, image.series), []).append(number)
    yield from by_series.values()


def frontal_xrays(study: Study, prepared: PreparedImages, *, timepoint: int) -> list[int]:
    """Numbers of the frontal X-rays of a time point: single pictures that no file calls a side view."""
    views = {
        (point, series.series): getattr(series, "view", "")
        for point, entry in enumerate(study.timepoints)
        for series in entry.series
    }
    return [
        number
        for number, image in enumerate(prepared.images)
        if image.timepoint == timepoint
        and is_xray(image)
        and views.get((image.timepoint, image.series), "").upper() not in _SIDE_VIEWS
    ]


def frontal_xrays_alone(study: Study) -> Study:
    """Returns a study of the frontal X-rays of its last time point that has any; the time points stay in their places.

    Of the images of both studies `frontal_xrays` finds the same, for that time point.
    """
    kept = [tuple(series for series in point.series if _may_be_frontal(series)) for point in study.timepoints]
    last = max((number for number, series in enumerate(kept) if series), default=None)
    points = (
        replace(point, series=kept[number] if number == last else ()) for number, point in enumerate(study.timepoints)
    )
    return replace(study, timepoints=tuple(points))


def _may_be_frontal(series: Series) -> bool:
    return isinstance(series, Image) and series.modality in XRAY and series.view.upper() not in _SIDE_VIEWS


def film_of_each_date(study: Study, prepared: PreparedImages) -> list[tuple[int, int]]:
    """The first frontal X-ray of each time point that has one: number of the time point, number of the image."""
    return [
        (timepoint, numbers[0])
        for timepoint in range(len(study.timepoints))
        if (numbers := frontal_xrays(study, prepared, timepoint=timepoint))
    ]


def is_xray(image: ShownImage) -> bool:
    """Whether an image may be an X-ray."""
    return image.slice is None and image.tile is None and image.modality in XRAY


def spread(count: int, *, most: int) -> list[int]:
    """Indices of at most so many equidistant slices."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most)).tolist()})
