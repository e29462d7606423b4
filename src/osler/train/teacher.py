"""The loss of answers as one module, so that it can be sharded and run in parts.

Dimensions: B samples, L tokens, N images, T soft tokens, D width, V vocabulary,
Q boxes, P patches.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.model.heads import patch_positions
from osler.model.osler import Osler, image_blocks
from osler.prepare import PixelBatches, Preprocess
from osler.train.answers_stage import hidden_states
from osler.train.losses import box_loss
from osler.train.parts_reading import cells_of, memory_of, with_volumes
from osler.train.taught import MicroBatch

Weigh = Literal["tokens", "samples"]


class AnswerTeacher(nn.Module):
    """Computes the cross-entropy of the answers of a micro-batch.

    Args:
        model: The network. preprocess: Its contract, which normalizes pixels.
        keep_tokens: Tokens up to which activations are kept for the backward pass; above, each
            layer keeps its input only and is computed again.
        box_weight: Of the loss of a box against that of a token.
        weigh: ``"tokens"`` alike, or ``"samples"``: the tokens of a long answer together count as those of a short one.
    """

    def __init__(
        self,
        model: Osler,
        *,
        preprocess: Preprocess,
        keep_tokens: int,
        box_weight: float = 1.0,
        weigh: Weigh = "tokens",
    ) -> None:
        super().__init__()
        self.model = model
        self.preprocess = preprocess
        self.keep_tokens = keep_tokens
        self.box_weight = box_weight
        self.weigh = weigh

    def units(self, micro: MicroBatch) -> int:
        """By how many the loss of a micro-batch is to be divided: its tokens or its samples."""
        return micro.wanted if self.weigh == "tokens" else len(micro.names)

    def forward(self, micro: MicroBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Runs the network.

        Returns:
            The sum of the losses (nats of tokens, or their means over samples; of boxes their weighted loss), those
            of the tokens of each sample (B,) without gradient, and how many tokens were right.
        """
        hidden_BLD = self.read(micro)
        total, each_B, right = self.token_losses(hidden_BLD, micro)
        if micro.boxes_Q6 is not None and micro.seen_BPV is not None:
            total = total + self.box_losses(hidden_BLD, micro)
        return total, each_B, right

    def read(self, micro: MicroBatch) -> Tensor:
        """Runs the decoder on the images and tokens; returns its states after the last norm, (B, L, D)."""
        ids_BL = micro.batch.token_ids_BL.to(self.device)
        cells = [cells_of(one, model=self.model, preprocess=self.preprocess) for one in micro.readings]
        features = with_volumes(
            self._features(micro), model=self.model, readings=micro.readings, starts=micro.starts, cells=cells
        )
        blocks_BL = None
        if micro.images is not None:
            blocks_BL = image_blocks(ids_BL, image_token=self.model.config.tokens.image)
        return hidden_states(
            self.model.decoder,
            self.model.embed(ids_BL, features),
            padding_BL=micro.batch.padding_BL.to(self.device),
            image_blocks_BL=blocks_BL,
            keep=self.keep_tokens,
            memory=memory_of(micro.readings, model=self.model, cells=cells),
        )

    def token_losses(self, hidden_BLD: Tensor, micro: MicroBatch) -> tuple[Tensor, Tensor, Tensor]:
        """The sum over the tokens, or of their means over samples; see `forward`."""
        ids_BL = micro.batch.token_ids_BL.to(self.device)
        wanted_BL = micro.batch.wanted_BL.to(self.device)
        targets = ids_BL.roll(-1, dims=1)[wanted_BL]
        logits = self.model.logits(hidden_BLD[wanted_BL]).float()
        losses = F.cross_entropy(logits, targets, reduction="none")
        rows = wanted_BL.nonzero()[:, 0]
        each_B = torch.zeros(len(ids_BL), device=losses.device).index_add_(0, rows, losses.detach())
        right = (logits.detach().argmax(-1) == targets).sum()
        if self.weigh == "samples":
            losses = losses / wanted_BL.sum(1)[rows]
        return losses.sum(), each_B, right

    def box_losses(self, hidden_BLD: Tensor, micro: MicroBatch) -> Tensor:
        """The weighted sum over the boxes that the box head reads off the states of the box tokens."""
        assert micro.boxes_Q6 is not None
        assert micro.seen_BPV is not None
        ids_BL = micro.batch.token_ids_BL.to(self.device)
        seen_BPV = micro.seen_BPV.to(device=self.device, dtype=self.model.dtype)
        places_P3 = patch_positions(round(seen_BPV.shape[1] ** 0.5), device=self.device)
        _, found_Q6, _ = self.model.boxes_at(
            hidden_BLD.to(self.model.dtype),
            token_ids_BL=ids_BL,
            features_BMV=seen_BPV,
            positions_BM3=places_P3.expand(len(ids_BL), -1, -1),
        )
        wanted_Q6 = micro.boxes_Q6.to(self.device)
        return self.box_weight * len(wanted_Q6) * box_loss(found_Q6, wanted_Q6)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.decoder.device

    def _features(self, micro: MicroBatch) -> Tensor | None:
        images = micro.images
        if images is None or images.dtype != torch.uint8:
            return None if images is None else images.to(self.device)
        pixels = PixelBatches(rgb=images.numpy(), preprocess=self.preprocess).array()
        return self.model.encode_images(torch.from_numpy(pixels).to(self.device))
