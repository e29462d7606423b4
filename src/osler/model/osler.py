"""The whole network: image tower, projector, decoder, and the parts that may be added.

A part exists where its configuration does. Each starts as an identity: what the
published parts compute does not change by a bit until it is trained.

Dimensions: B batch, L tokens, N images, S side of an image (px), T soft tokens
of an image, D width of the decoder, V vocabulary; of volumes: X slabs, d slices
of a slab, S slabs of all series, T cells of a slab, V width of the tower, M
tokens of all series; of heads: P patches, Q queries, K texts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.adapter import AdapterMemory, CrossAttentionAdapter
from osler.model.config import OslerConfig
from osler.model.decoder import Decoder
from osler.model.heads import Heads
from osler.model.projector import Projector
from osler.model.temporal import ClinicalTemporalAttention, Events
from osler.model.vision import VisionTower
from osler.model.volume import TubeletEmbedding, mean_of_slots
from osler.model.volume_projection import Grid, VolumetricProjection, merge_cells


class Osler(nn.Module):
    """Answers to token ids and images with hidden states and logits.

    Parameters carry the published names without the leading ``model.``. To load
    weights without a copy, build it under ``torch.device("meta")`` and call
    ``load_state_dict(..., assign=True)``.

    Args:
        config: Of the network.
    """

    def __init__(self, config: OslerConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_tower = None if config.vision is None else VisionTower(config.vision)
        self.multi_modal_projector = None if config.vision is None else Projector(config, vision=config.vision)
        self.language_model = Decoder(config.decoder)
        self.volume: TubeletEmbedding | None = None
        self.volume_projection: VolumetricProjection | None = None
        if config.volume is not None and config.vision is not None:
            self.volume = TubeletEmbedding(config.volume, vision=config.vision)
            self.volume_projection = VolumetricProjection(config.volume, vision=config.vision)
        sees = config.vision is not None
        self.heads = Heads(config) if sees and config.heads is not None else None
        self.adapter = CrossAttentionAdapter(config) if sees and config.adapter is not None else None
        self.temporal: ClinicalTemporalAttention | None = None
        if config.temporal is not None and config.vision is not None:
            self.temporal = ClinicalTemporalAttention(
                config.temporal, width=config.vision.width, text_width=config.decoder.width
            )

    @property
    def decoder(self) -> Decoder:
        """The decoder."""
        return self.language_model

    @property
    def vision(self) -> VisionTower | None:
        """The image tower, ``None`` for a text-only network."""
        return self.vision_tower

    @property
    def projector(self) -> Projector | None:
        """The projector, ``None`` for a text-only network."""
        return self.multi_modal_projector

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.language_model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return self.language_model.dtype

    def encode_images(self, pixels_N3SS: Tensor) -> Tensor:
        """Turns images into soft tokens.

        Args:
            pixels_N3SS: RGB in [-1, 1], of the size in the configuration.

        Returns:
            Features (N, T, D).

        Raises:
            RequestError: If the network has no image tower or the shape is wrong.
        """
        tower, projector = self._eyes(pixels_N3SS)
        return projector(tower(pixels_N3SS))

    def encode_slabs(self, tubelets_XdCSS: Tensor) -> Tensor:
        """Turns slabs of slices into features of cells, before mixing and merging.

        Without `volume` in the configuration the slices of a slab are averaged,
        which is what `TubeletEmbedding` does before it is trained.

        Args:
            tubelets_XdCSS: RGB in [-1, 1]; d slices, a power of two.

        Returns:
            (X, T, V), in the width of the tower.

        Raises:
            RequestError: If the network has no image tower or the shape is wrong.
        """
        tower, projector = self._eyes(tubelets_XdCSS.flatten(0, 1))
        if self.volume is None:
            embedded_XPV = tower.embeddings(mean_of_slots(tubelets_XdCSS))
        else:
            embedded_XPV = self.volume(tubelets_XdCSS, patches=tower.embeddings)
        return projector.pool_patches(tower.post_layernorm(tower.encoder(embedded_XPV)))

    def project_slabs(
        self, cells_STV: Tensor, *, positions_mm_ST3: Tensor, series_S: Tensor, grids: Sequence[Grid]
    ) -> Tensor:
        """Turns features of cells into soft tokens, (M, D).

        Args:
            cells_STV: From `encode_slabs`, the slabs of a series together and in order.
            positions_mm_ST3: Patient position of the center of each cell, mm.
            series_S: Number of the series of each slab.
            grids: Tokens of each series along slabs, rows and columns.

        Raises:
            RequestError: If a grid does not fit its series, or the network has no image tower.
        """
        _, projector = self._eyes(None)
        if self.volume_projection is None:
            return projector.project(merge_cells(cells_STV, series_S=series_S, grids=grids))
        return self.volume_projection.from_cells(
            cells_STV, positions_mm_ST3=positions_mm_ST3, series_S=series_S, grids=grids, projector=projector
        )

    def encode_timeline(
        self,
        pixels_BT3SS: Tensor,
        *,
        days_BT: Tensor,
        padding_BT: Tensor | None = None,
        events: Events | None = None,
    ) -> Tensor:
        """Turns one image a date into soft tokens that know the dates before them and the record.

        Args:
            pixels_BT3SS: RGB in [-1, 1]; rows in order of time.
            days_BT: Day of each, NaN where it is not known.
            padding_BT: True where there is no image.
            events: Of the record.

        Returns:
            (B, T, n, D); those of `encode_images` while the gate is zero.

        Raises:
            RequestError: If the network has no image tower or no attention over time, or the shape is wrong.
        """
        tower, projector = self._eyes(pixels_BT3SS.flatten(0, 1))
        if self.temporal is None:
            raise self._without("attention over time")
        cells_BTnV = projector.pool_patches(tower(pixels_BT3SS.flatten(0, 1))).unflatten(0, days_BT.shape)
        tokens_BTnV, _ = self.temporal(cells_BTnV, days_BT=days_BT, padding_BT=padding_BT, events=events)
        return projector.project(tokens_BTnV)

    def image_memory(self, pixels_N3SS: Tensor) -> AdapterMemory:
        """Reads images into one memory for the adapter: keys and values of one row.

        Raises:
            RequestError: If the network has no adapter, or the shape is wrong.
        """
        return self.memory_of(self.memory_features(pixels_N3SS))

    def memory_features(self, pixels_N3SS: Tensor) -> Tensor:
        """Encodes images for the adapter, (N, M, V); see `image_memory`."""
        tower, _ = self._eyes(pixels_N3SS)
        if self.adapter is None:
            raise self._without("cross-attention adapter")
        return self.adapter.pool_patches(tower(pixels_N3SS))

    def memory_of(self, features_NMV: Tensor) -> AdapterMemory:
        """Makes one memory of the features of images; see `image_memory`."""
        if self.adapter is None:
            raise self._without("cross-attention adapter")
        return self.adapter.memory_keys_values(features_NMV.flatten(0, 1)[None])

    def head_features(self, pixels_N3SS: Tensor) -> Tensor:
        """Encodes images for the heads, (N, P, V) with the tower's P patches and width V.

        Raises:
            RequestError: If the network has no heads, or the shape is wrong.
        """
        tower, _ = self._eyes(pixels_N3SS)
        if self.heads is None:
            raise self._without("heads")
        shared = len(tower.encoder.layers) - len(self.heads.trunk.layers)
        return self.heads.trunk(tower.forward_to(pixels_N3SS, layers=shared))

    def text_states(self, token_ids: Sequence[Sequence[int]]) -> Tensor:
        """Turns short texts (labels, names of events) into states for the heads: normalized mean embeddings.

        Args:
            token_ids: Ids of each text, one at least.

        Returns:
            (K, D) in the dtype of the weights.
        """
        device = self.language_model.device
        means = [self.language_model.embed(torch.tensor(ids, device=device)).mean(0) for ids in token_ids]
        return as_query(torch.stack(means))

    def mean_state(self, token_ids: Sequence[int]) -> Tensor:
        """Reads a text with the decoder; returns the mean of its states after the last norm, (1, D).

        Args:
            token_ids: One at least.
        """
        ids_1L = torch.tensor([list(token_ids)], device=self.device)
        positions_1L = torch.arange(ids_1L.shape[1], device=self.device)[None]
        hidden_1LD = self.decoder(self.decoder.embed(ids_1L), positions_BL=positions_1L)
        return hidden_1LD.float().mean(1).to(self.dtype)

    def boxes_at(
        self, hidden_BLD: Tensor, *, token_ids_BL: Tensor, features_BMV: Tensor, positions_BM3: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Regresses a box from the decoder's state at every box token.

        Args:
            hidden_BLD: States after the last norm.
            token_ids_BL: The tokens that were read; `TokenIds.box` where a box is meant.
            features_BMV: Of `head_features`, row by row. positions_BM3: See `BoxHead`.

        Returns:
            Rows (B,) of the boxes' places as counts, boxes (sum, 6) and logits of their presence (sum,), in the
            order of the tokens, row by row.

        Raises:
            RequestError: If the network has no heads.
        """
        if self.heads is None:
            raise self._without("heads")
        marked_BL = token_ids_BL == self.config.tokens.box
        counts_B = marked_BL.sum(1)
        most = max(int(counts_B.max()), 1)
        # Marked places first, in order: a stable sort keeps them so.
        places_BQ = (~marked_BL).int().argsort(dim=1, stable=True)[:, :most]
        state_BQD = hidden_BLD.gather(1, places_BQ[..., None].expand(-1, -1, hidden_BLD.shape[-1]))
        boxes_BQ6, presence_BQ = self.heads.boxes(
            as_query(state_BQD), features_BMV=features_BMV, positions_BM3=positions_BM3
        )
        real_BQ = torch.arange(most, device=counts_B.device) < counts_B[:, None]
        return counts_B, boxes_BQ6[real_BQ], presence_BQ[real_BQ]

    def _without(self, part: str) -> RequestError:
        return RequestError(f"The model {self.config.name!r} has no {part}.", next_step="Choose one that has.")

    def _eyes(self, pixels_N3SS: Tensor | None) -> tuple[VisionTower, Projector]:
        """Tower and projector, where there are any and the images fit them."""
        config = self.config.vision
        if self.vision_tower is None or self.multi_modal_projector is None or config is None:
            given = "images" if pixels_N3SS is None else f"{len(pixels_N3SS)} image(s)"
            raise RequestError(
                f"The model {self.config.name!r} reads text only, and got {given}.",
                next_step="Ask without images, or choose a model with an image tower.",
            )
        wanted = (3, config.image_size, config.image_size)
        if pixels_N3SS is not None and tuple(pixels_N3SS.shape[1:]) != wanted:
            raise RequestError(
                f"Images have the shape {tuple(pixels_N3SS.shape)}.",
                allowed=f"The model {self.config.name!r} takes (images, {', '.join(map(str, wanted))}).",
                next_step="Prepare them with the preprocessing of this model.",
            )
        return self.vision_tower, self.multi_modal_projector

    def embed(self, token_ids_BL: Tensor, image_features: Tensor | None = None) -> Tensor:
        """Embeds tokens and puts image features where the image tokens stand.

        Args:
            token_ids_BL: Ids; `TokenIds.image` wherever a soft token goes.
            image_features: (N, T, D) in the order of the tokens, row by row.

        Returns:
            (B, L, D), scaled where they are text.

        Raises:
            RequestError: If features and image tokens differ in number, or an id
                is not in the vocabulary.
        """
        is_image_BL = token_ids_BL == self.config.tokens.image
        places = int(is_image_BL.sum())
        given = 0 if image_features is None else image_features.shape[0] * image_features.shape[1]
        if places != given:
            raise RequestError(
                f"The prompt has {places} image tokens, and the images give {given} features.",
                allowed=f"Each image takes {self.config.image_tokens}.",
                next_step="Prepare prompt and images together, with the preprocessing of this model.",
            )
        # The image token may lie outside the vocabulary; its row is overwritten below.
        text_ids_BL = token_ids_BL.masked_fill(is_image_BL, self.config.tokens.pad)
        self._check_ids(text_ids_BL)
        x_BLD = self.language_model.embed(text_ids_BL)
        if image_features is None:
            return x_BLD
        return x_BLD.masked_scatter(is_image_BL[..., None], image_features.to(x_BLD))

    def logits(self, hidden_BLD: Tensor) -> Tensor:
        """Scores the vocabulary, (B, L, V)."""
        return self.language_model.logits(hidden_BLD)

    def _check_ids(self, token_ids_BL: Tensor) -> None:
        if token_ids_BL.numel() == 0:
            return
        low, high = (int(bound) for bound in torch.aminmax(token_ids_BL))
        if low < 0 or high >= self.config.decoder.vocab:
            raise RequestError(
                f"Token ids run from {low} to {high}.",
                allowed=f"The vocabulary of {self.config.name!r} has ids 0 to {self.config.decoder.vocab - 1}.",
                next_step="Use the tokenizer that belongs to these weights.",
            )


def as_query(states: Tensor) -> Tensor:
    """Brings states of texts to one scale for the heads: mean 0 and variance 1 over the last axis."""
    return F.layer_norm(states.float(), states.shape[-1:]).to(states.dtype)


def image_blocks(token_ids_BL: Tensor, *, image_token: int) -> Tensor:
    """Numbers the images of a prompt, token by token.

    A run of image tokens is one image; images in a prompt are always parted by
    their start and end tokens.

    Args:
        token_ids_BL: Ids of the prompt.
        image_token: The id of a soft token.

    Returns:
        (B, L): number of the image along its row from 0, or -1 for text.
    """
    is_image_BL = token_ids_BL == image_token
    before_BL = is_image_BL.roll(1, dims=1)
    before_BL[:, :1] = False
    numbers_BL = (is_image_BL & ~before_BL).cumsum(1) - 1
    return numbers_BL.masked_fill(~is_image_BL, -1)
