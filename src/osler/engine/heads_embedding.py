"""The contrastive head at work: images and texts in one space.

Legend: N images, E width of the shared space, L tokens, C width of a text state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from osler.engine.head_features import HeadFeatures

if TYPE_CHECKING:
    from osler.engine.backend import AnyHeads
    from osler.engine.session import Session
    from osler.prepare import PreparedImages

TEXT_TOKENS = 160
"""Tokens of a text that its state is made of."""

_AT_ONCE = 8


class Embedder:
    """Gives unit vectors of images and texts that may be compared (skill ``"embeddings"``).

    Args:
        heads: Trained. features: Of its network.
    """

    def __init__(self, heads: AnyHeads, *, features: HeadFeatures) -> None:
        self._head = heads.contrastive
        self._features = features

    @torch.inference_mode()
    def images(self, prepared: PreparedImages) -> np.ndarray:
        """Returns one vector an image, (N, E) in float32."""
        count = len(prepared.images)
        rows = [
            self._head.images(self._features.of(prepared.pixels, numbers=range(start, min(start + _AT_ONCE, count))))
            for start in range(0, count, _AT_ONCE)
        ]
        return torch.cat(rows).cpu().numpy()

    @torch.inference_mode()
    def text(self, session: Session, text: str) -> np.ndarray:
        """Returns the vector of a text, (E,) in float32; of a long one, of its beginning."""
        network = session.network
        ids = [network.config.tokens.bos, *session.checkpoint.tokenizer.encode(text)[:TEXT_TOKENS]]
        return self._head.texts(network.mean_state(ids))[0].cpu().numpy()
