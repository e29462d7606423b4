"""Models of others that are asked the same questions, through ``transformers`` (extra ``peers``)."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from osler.evaluate.responder import Responder
from osler.weights.json_file import read_json


class Peer(Protocol):
    """A kind of checkpoint of others."""

    def load(self, folder: Path, *, device: str) -> Responder:
        """Loads a checkpoint.

        Raises:
            OslerError: If the extra is missing, or the folder does not hold what it should.
        """
        ...


def find_peer(model: str) -> Peer | None:
    """Returns the peer that a folder holds, by its ``config.json``; ``None`` for what Osler loads itself."""
    config = Path(model).expanduser() / "config.json"
    try:
        if not config.is_file():
            return None
    except (OSError, RuntimeError, ValueError):
        return None
    kind = read_json(config).get("model_type")
    if kind in ("llava_mistral", "llava-mistral"):
        from osler.evaluate.peers.llava_med import LlavaMedPeer

        return LlavaMedPeer()
    if kind == "gpt2":
        from osler.evaluate.peers.biomedlm import BioMedLMPeer

        return BioMedLMPeer()
    return None
