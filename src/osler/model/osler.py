"""The whole network: image tower, projector, decoder.

Dimensions: B batch, L tokens, N images, S side of an image (px), T soft tokens
of an image, D width of the decoder, V vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.config import OslerConfig
from osler.model.decoder import Decoder
from osler.model.projector import Projector
from osler.model.vision import VisionTower


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
        return self.language_model.embed_tokens.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations."""
        return self.language_model.embed_tokens.weight.dtype

    def encode_images(self, pixels_N3SS: Tensor) -> Tensor:
        """Turns images into soft tokens.

        Args:
            pixels_N3SS: RGB in [-1, 1], of the size in the configuration.

        Returns:
            Features (N, T, D).

        Raises:
            RequestError: If the network has no image tower or the shape is wrong.
        """
        config = self.config.vision
        if self.vision_tower is None or self.multi_modal_projector is None or config is None:
            raise RequestError(
                f"The model {self.config.name!r} reads text only, and got {len(pixels_N3SS)} image(s).",
                next_step="Ask without images, or choose a model with an image tower.",
            )
        wanted = (3, config.image_size, config.image_size)
        if tuple(pixels_N3SS.shape[1:]) != wanted:
            raise RequestError(
                f"Images have the shape {tuple(pixels_N3SS.shape)}.",
                allowed=f"The model {self.config.name!r} takes (images, {', '.join(map(str, wanted))}).",
                next_step="Prepare them with the preprocessing of this model.",
            )
        return self.multi_modal_projector(self.vision_tower(pixels_N3SS))

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
