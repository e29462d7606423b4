"""The network as an object that takes and gives torch tensors, as `osler.model.osler.Osler` does.

What the stores and heads of `osler.engine` ask of a network they ask of this
one too. Batches, labels, slabs and dates are padded to few sizes, so that few
shapes are compiled; what padding gives is cut off or masked.

Dimensions: those of `osler.jax.osler`; T time points and E events in `JaxTemporal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import torch

from osler.jax import heads, osler, projector, temporal, volume_projection
from osler.jax.adapter import AdapterMemory, memory_keys_values
from osler.jax.arrays import IMAGE_BUCKETS, bucket, filled, padded, put, to_jax, to_torch
from osler.jax.programs import Program
from osler.model.config import HeadsConfig, OslerConfig, TemporalConfig

if TYPE_CHECKING:
    from osler.model import temporal as torch_temporal

Tree = dict[str, Any]

_SLAB_BUCKETS = (8, 16, 32)
_TOKEN_BUCKETS = (16, 64, 256)
_FEATURE_BUCKETS = (64, 256)
_DATE_BUCKETS = (2, 4, 8)
_EVENT_BUCKETS = (8, 40)
_TEXT_BUCKETS = (16, 64, 256)


class JaxOsler:
    """Tower, parts and heads of a network on JAX.

    Args:
        weights: From `osler.jax.parameters`.
        config: Of the network.
    """

    def __init__(self, weights: Tree, *, config: OslerConfig) -> None:
        self.weights = weights
        self.config = config
        self.heads = JaxHeads(weights["heads"], config=config.heads) if config.heads and "heads" in weights else None
        self.temporal: JaxTemporal | None = None
        if config.temporal is not None and "temporal" in weights:
            self.temporal = JaxTemporal(weights["temporal"], config=config.temporal)

    @property
    def device(self) -> torch.device:
        """Where tensors are expected and given: JAX moves them itself."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return getattr(torch, str(self.weights["language_model"]["norm"].dtype))

    def encode_images(self, pixels_N3SS: torch.Tensor) -> torch.Tensor:
        """Turns images, RGB in [-1, 1], into soft tokens, (N, T, D)."""
        return self._images(_encode_images, pixels_N3SS)

    def encode_slabs(self, tubelets_XdCSS: torch.Tensor) -> torch.Tensor:
        """Turns slabs of slices into features of cells, before mixing and merging, (X, T, V)."""
        return self._images(_encode_slabs, tubelets_XdCSS)

    def memory_features(self, pixels_N3SS: torch.Tensor) -> torch.Tensor:
        """Encodes images for the adapter, (N, M, V)."""
        return self._images(_memory_features, pixels_N3SS)

    def head_features(self, pixels_N3SS: torch.Tensor) -> torch.Tensor:
        """Encodes images for the heads, (N, P, V)."""
        return self._images(_head_features, pixels_N3SS)

    def project_slabs(
        self,
        cells_STV: torch.Tensor,
        *,
        positions_mm_ST3: torch.Tensor,
        series_S: torch.Tensor,
        grids: Sequence[volume_projection.Grid],
    ) -> torch.Tensor:
        """Turns features of cells into soft tokens, (M, D); see `osler.model.osler.Osler.project_slabs`."""
        series, cells = series_S.cpu().numpy(), to_jax(cells_STV)
        if self.config.volume is None:
            merged_MV = volume_projection.merge_cells(cells, series_S=series, grids=grids)
            return self._tokens(merged_MV, None)
        around_ST3 = volume_projection.centered(positions_mm_ST3.cpu().numpy(), series_S=series)
        slabs, size = len(series), bucket(len(series), _SLAB_BUCKETS)
        mixed_STV = _mix(
            self.weights["volume_projection"],
            padded(cells, axis=0, size=size),
            padded(around_ST3, axis=0, size=size),
            padded(put(series), axis=0, size=size, value=-1),
            config=self.config,
        )[:slabs]
        return self._tokens(
            volume_projection.merge_cells(mixed_STV, series_S=series, grids=grids),
            volume_projection.merge_cells(around_ST3, series_S=series, grids=grids),
        )

    def encode_timeline(
        self,
        pixels_BT3SS: torch.Tensor,
        *,
        days_BT: torch.Tensor,
        padding_BT: torch.Tensor | None = None,
        events: torch_temporal.Events | None = None,
    ) -> torch.Tensor:
        """Turns one image a date into soft tokens that know the dates before them and the record, (B, T, n, D)."""
        times, size = days_BT.shape[1], bucket(days_BT.shape[1], _DATE_BUCKETS)
        if padding_BT is None:
            padding_BT = torch.zeros(days_BT.shape, dtype=torch.bool)
        seeing = {part: tree for part, tree in self.weights.items() if part in _SEEING}
        found = _encode_timeline(
            seeing,
            to_jax(filled(pixels_BT3SS, axis=1, size=size)),
            to_jax(filled(days_BT, axis=1, size=size)),
            to_jax(filled(padding_BT, axis=1, size=size, value=True)),
            None if events is None else _events(events),
            config=self.config,
        )
        return to_torch(found)[:, :times]

    def memory_of(self, features_NMV: torch.Tensor) -> AdapterMemory:
        """Makes one memory of the features of images, of one row."""
        images, each = features_NMV.shape[:2]
        size = bucket(images, IMAGE_BUCKETS) * each
        features_1MV = to_jax(filled(features_NMV.flatten(0, 1)[None], axis=1, size=size))
        padding_1M = put(np.arange(size)[None] >= images * each)
        return _memory(self.weights["adapter"], features_1MV, padding_1M, config=self.config)

    def text_states(self, token_ids: Sequence[Sequence[int]]) -> torch.Tensor:
        """Turns short texts into states for the heads, (K, D)."""
        ids_KL, padding_KL = _table(token_ids)
        decoding = {"language_model": self.weights["language_model"]}
        return to_torch(_text_states(decoding, ids_KL, padding_KL, config=self.config))[: len(token_ids)]

    def mean_state(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Reads a text with the decoder; returns the mean of its states after the last norm, (1, D)."""
        count = len(token_ids)
        ids = torch.tensor([list(token_ids)], dtype=torch.int32)
        ids_1L = to_jax(filled(ids, axis=1, size=bucket(count, _TEXT_BUCKETS)))
        decoding = {"language_model": self.weights["language_model"]}
        return to_torch(_mean_state(decoding, ids_1L, np.int32(count), config=self.config))

    def _images(self, function: Any, images_N: torch.Tensor) -> torch.Tensor:
        count = len(images_N)
        images = to_jax(filled(images_N, axis=0, size=bucket(count, IMAGE_BUCKETS)))
        seeing = {part: tree for part, tree in self.weights.items() if part != "language_model"}
        return to_torch(function(seeing, images, config=self.config))[:count]

    def _tokens(self, merged_MV: jax.Array, places_M3: jax.Array | None) -> torch.Tensor:
        """Places and projects merged cells."""
        count = len(merged_MV)
        size = bucket(count, _TOKEN_BUCKETS)
        merged = padded(merged_MV, axis=0, size=size)
        places = None if places_M3 is None else padded(places_M3, axis=0, size=size)
        seeing = {part: tree for part, tree in self.weights.items() if part in _PROJECTING}
        return to_torch(_project(seeing, merged, places, config=self.config))[:count]


class JaxHeads:
    """The heads, called like `osler.model.heads.Heads`.

    Args:
        weights: Of all heads. config: Of them.
    """

    def __init__(self, weights: Tree, *, config: HeadsConfig) -> None:
        self.weights = weights
        self.config = config
        self.findings = JaxFindingsHead(weights, config=config)
        self.contrastive = JaxContrastiveHead(weights, config=config)

    def boxes(
        self, text_BQC: torch.Tensor, *, features_BMV: torch.Tensor, positions_BM3: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Finds one box a label: boxes (B, Q, 6) and logits of their presence (B, Q)."""
        return self._boxes(self.weights, text_BQC, features_BMV=features_BMV, positions_BM3=positions_BM3)

    def taught(
        self, text_BQC: torch.Tensor, *, features_BMV: torch.Tensor, positions_BM3: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Finds one box for each label that the second box head was taught, as `boxes`."""
        own = {
            f"boxes.{name.removeprefix('taught.')}": w for name, w in self.weights.items() if name.startswith("taught.")
        }
        return self._boxes(own, text_BQC, features_BMV=features_BMV, positions_BM3=positions_BM3)

    def _boxes(
        self, weights: Tree, text_BQC: torch.Tensor, *, features_BMV: torch.Tensor, positions_BM3: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rows, queries = text_BQC.shape[:2]
        features, padding_BM = _features(features_BMV)
        size = features.shape[0], features.shape[1]
        text = to_jax(filled(filled(text_BQC, axis=0, size=size[0]), axis=1, size=bucket(queries, IMAGE_BUCKETS)))
        positions = to_jax(filled(filled(positions_BM3, axis=0, size=size[0]), axis=1, size=size[1]))
        found = _boxes(weights, text, features, positions, padding_BM, config=self.config)
        boxes_BQ6, presence_BQ = (to_torch(array)[:rows, :queries] for array in found)
        return boxes_BQ6, presence_BQ

    def progression(self, state_BFV: torch.Tensor) -> torch.Tensor:
        """Returns scores of `osler.model.heads.CHANGES`, (B, F, 6)."""
        return to_torch(_progression(self.weights, to_jax(state_BFV)))


class JaxFindingsHead:
    """The findings head, called like `osler.model.heads.FindingsHead`."""

    def __init__(self, weights: Tree, *, config: HeadsConfig) -> None:
        self._weights = weights
        self._config = config

    @property
    def scale(self) -> torch.Tensor:
        """Of calibration, (F,); NaN for a finding that was not calibrated."""
        return to_torch(self._weights["findings.scale"])

    def __call__(self, features_BMV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns a state (B, F, V) and a logit (B, F) for each finding, not yet calibrated."""
        rows = len(features_BMV)
        features, padding_BM = _features(features_BMV)
        found = _findings(self._weights, features, padding_BM, config=self._config)
        state_BFV, logits_BF = (to_torch(array)[:rows] for array in found)
        return state_BFV, logits_BF

    def probabilities(self, logits_BF: torch.Tensor) -> torch.Tensor:
        """Turns logits into probabilities, NaN for a finding that was not calibrated."""
        return to_torch(heads.probabilities(self._weights, to_jax(logits_BF)))


class JaxContrastiveHead:
    """The contrastive head, called like `osler.model.heads.ContrastiveHead`."""

    def __init__(self, weights: Tree, *, config: HeadsConfig) -> None:
        self._weights = weights
        self._config = config

    def images(self, features_BMV: torch.Tensor) -> torch.Tensor:
        """Returns unit vectors of studies, (B, E)."""
        features, padding_BM = _features(features_BMV)
        return to_torch(_embed_images(self._weights, features, padding_BM, config=self._config))[: len(features_BMV)]

    def texts(self, text_BC: torch.Tensor) -> torch.Tensor:
        """Returns unit vectors of texts, (B, E)."""
        return to_torch(_embed_texts(self._weights, to_jax(text_BC)))


class JaxTemporal:
    """Attention over time and record, called like `osler.model.temporal.ClinicalTemporalAttention`.

    Args:
        weights: Of this part. config: Of it.
    """

    def __init__(self, weights: Tree, *, config: TemporalConfig) -> None:
        self._weights = weights
        self._config = config

    @property
    def gate(self) -> torch.Tensor:
        """How far what it finds is let through, before its hyperbolic tangent; zero leaves tokens as they are."""
        return to_torch(self._weights["gate"])

    def __call__(
        self,
        tokens_BTnV: torch.Tensor,
        *,
        days_BT: torch.Tensor,
        padding_BT: torch.Tensor | None = None,
        events: torch_temporal.Events | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attends over time and events; both results are (B, T, n, V)."""
        times = days_BT.shape[1]
        size = bucket(times, _DATE_BUCKETS)
        if padding_BT is None:
            padding_BT = torch.zeros(days_BT.shape, dtype=torch.bool)
        found = _temporal(
            self._weights,
            to_jax(filled(tokens_BTnV, axis=1, size=size)),
            to_jax(filled(days_BT, axis=1, size=size)),
            to_jax(filled(padding_BT, axis=1, size=size, value=True)),
            None if events is None else _events(events),
            config=self._config,
        )
        tokens, states = (to_torch(array)[:, :times] for array in found)
        return tokens, states


def _events(events: torch_temporal.Events) -> temporal.Events:
    size = bucket(events.day_BE.shape[1], _EVENT_BUCKETS)
    return temporal.Events(
        text_BEC=to_jax(filled(events.text_BEC, axis=1, size=size)),
        value_BE=to_jax(filled(events.value_BE, axis=1, size=size)),
        day_BE=to_jax(filled(events.day_BE, axis=1, size=size)),
        padding_BE=to_jax(filled(events.padding_BE, axis=1, size=size, value=True)),
    )


def _features(features_BMV: torch.Tensor) -> tuple[jax.Array, jax.Array | None]:
    """Features in a shape that few share, and which of them are padding; ``None`` where none is."""
    rows, count = features_BMV.shape[:2]
    size = bucket(count, _FEATURE_BUCKETS)
    features = filled(features_BMV, axis=0, size=bucket(rows, IMAGE_BUCKETS))
    if size == count:
        return to_jax(features), None
    padding_BM = np.broadcast_to(np.arange(size) >= count, (len(features), size))
    return to_jax(filled(features, axis=1, size=size)), put(padding_BM.copy())


def _table(token_ids: Sequence[Sequence[int]]) -> tuple[jax.Array, jax.Array]:
    """Ids of texts in one table, and True behind the end of each; rows that pad the table have one id."""
    longest = bucket(max(map(len, token_ids)), (8, 32))
    ids = np.zeros((bucket(len(token_ids), IMAGE_BUCKETS), longest), np.int32)
    padding = np.ones(ids.shape, bool)
    padding[:, 0] = False
    for row, some in enumerate(token_ids):
        ids[row, : len(some)] = some
        padding[row, : len(some)] = False
    return put(ids), put(padding)


_SEEING = ("vision_tower", "multi_modal_projector", "temporal")
_PROJECTING = ("multi_modal_projector", "volume_projection")

_encode_images = Program(osler.encode_images)
_encode_slabs = Program(osler.encode_slabs)
_memory_features = Program(osler.memory_features)
_head_features = Program(osler.head_features)


@Program
def _encode_timeline(
    weights: Tree,
    pixels_BT3SS: jax.Array,
    days_BT: jax.Array,
    padding_BT: jax.Array,
    events: temporal.Events | None,
    *,
    config: OslerConfig,
) -> jax.Array:
    return osler.encode_timeline(
        weights, pixels_BT3SS, days_BT=days_BT, padding_BT=padding_BT, events=events, config=config
    )


@Program
def _mix(
    weights: Tree, cells_STV: jax.Array, around_ST3: jax.Array, series_S: jax.Array, *, config: OslerConfig
) -> jax.Array:
    assert config.volume is not None
    assert config.vision is not None
    return volume_projection.mix(weights, cells_STV, around_ST3, series_S, config=config.volume, vision=config.vision)


@Program
def _project(weights: Tree, tokens_MV: jax.Array, places_M3: jax.Array | None, *, config: OslerConfig) -> jax.Array:
    assert config.vision is not None
    published = weights["multi_modal_projector"]
    if places_M3 is None or config.volume is None:
        return projector.project(published, tokens_MV, vision=config.vision)
    return volume_projection.place(
        weights["volume_projection"],
        tokens_MV,
        places_M3,
        projector=published,
        config=config.volume,
        vision=config.vision,
    )


@Program
def _memory(weights: Tree, features_1MV: jax.Array, padding_1M: jax.Array, *, config: OslerConfig) -> AdapterMemory:
    assert config.adapter is not None
    return memory_keys_values(weights, features_1MV, config=config.adapter, padding_BM=padding_1M)


@Program
def _text_states(weights: Tree, ids_KL: jax.Array, padding_KL: jax.Array, *, config: OslerConfig) -> jax.Array:
    return osler.text_states(weights, ids_KL, padding_KL, config=config)


@Program
def _mean_state(weights: Tree, ids_1L: jax.Array, count: jax.Array, *, config: OslerConfig) -> jax.Array:
    return osler.mean_state(weights, ids_1L, count, config=config)


@Program
def _boxes(
    weights: Tree,
    text_BQC: jax.Array,
    features_BMV: jax.Array,
    positions_BM3: jax.Array,
    padding_BM: jax.Array | None,
    *,
    config: HeadsConfig,
) -> tuple[jax.Array, jax.Array]:
    return heads.boxes(
        weights,
        text_BQC,
        features_BMV=features_BMV,
        positions_BM3=positions_BM3,
        padding_BM=padding_BM,
        config=config,
    )


@Program
def _findings(
    weights: Tree, features_BMV: jax.Array, padding_BM: jax.Array | None, *, config: HeadsConfig
) -> tuple[jax.Array, jax.Array]:
    return heads.findings(weights, features_BMV, padding_BM=padding_BM, config=config)


@Program
def _embed_images(
    weights: Tree, features_BMV: jax.Array, padding_BM: jax.Array | None, *, config: HeadsConfig
) -> jax.Array:
    return heads.embed_images(weights, features_BMV, padding_BM=padding_BM, config=config)


_embed_texts = jax.jit(heads.embed_texts)
_progression = jax.jit(heads.progression)


@Program
def _temporal(
    weights: Tree,
    tokens_BTnV: jax.Array,
    days_BT: jax.Array,
    padding_BT: jax.Array,
    events: temporal.Events | None,
    *,
    config: TemporalConfig,
) -> tuple[jax.Array, jax.Array]:
    return temporal.forward(weights, tokens_BTnV, days_BT=days_BT, padding_BT=padding_BT, events=events, config=config)
