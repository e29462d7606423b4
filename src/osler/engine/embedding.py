"""One vector for each image and for a text, so that studies can be compared.

Weights with the skill "embeddings" bring heads that were trained for it (image
and text in one space). Without them, an image is the mean of the features that
the decoder would read of it: what the tower was trained to tell apart, it tells
apart here, and nothing more is claimed.
"""

from __future__ import annotations

import numpy as np

from osler.engine.session import Session
from osler.prepare import PreparedImages
from osler.progress import Progress


def image_vectors(session: Session, prepared: PreparedImages, *, on_progress: Progress | None = None) -> np.ndarray:
    """Returns one vector an image, (N, D) in float32, of length 1.

    Args:
        session: With an image tower.
        prepared: At least one image.
        on_progress: Called with ``"encode"``.
    """
    if "embeddings" in session.trained and "embeddings" in session.heads:
        return session.heads["embeddings"].images(prepared)
    features_NTD = session.encode(prepared, on_progress=on_progress)
    assert features_NTD is not None
    vectors_ND = features_NTD.float().mean(dim=1).cpu().numpy()
    return vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)
