"""BioMedLM (``stanford-crfm/BioMedLM``): a GPT-2 of 2.7 billion parameters on PubMed, text only, a base model.

It has no chat format: a question is continued behind "Answer:". Of multiple
choice, the likelihood of the letters is the fair number.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from osler.errors import CheckpointError
from osler.evaluate.peers.causal import CausalResponder, folder_key, place_for
from osler.evaluate.responder import Inquiry
from osler.extras import import_extra
from osler.weights.json_file import read_json

_NOTE = (
    "BioMedLM is a base model that sees no images: it is asked for a continuation, and image sets show what text alone "
    "gives. Its published figures are of fine-tuned models. Not checked against the published weights: the loading is "
    "tested on random weights of the same layout."
)


class BioMedLMPeer:
    """Reads a folder as it is published."""

    def load(self, folder: Path, *, device: str) -> BioMedLMResponder:
        """Loads the checkpoint; see `Peer.load`."""
        transformers: Any = import_extra("transformers", extra="peers")
        if not read_json(folder / "config.json").get("scale_attn_by_inverse_layer_idx"):
            raise CheckpointError(
                f"{str(folder)!r} is a GPT-2 without 'scale_attn_by_inverse_layer_idx'.",
                allowed="BioMedLM, whose attention is scaled by layer; without it its weights give noise.",
            )
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = transformers.GPT2LMHeadModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{str(folder)!r} cannot be read as BioMedLM: {error}.") from error
        return BioMedLMResponder(
            name=folder.resolve().name,
            key=folder_key(folder),
            model=model.to(place_for(device)),
            tokenizer=tokenizer,
            note=_NOTE,
        )


class BioMedLMResponder(CausalResponder):
    """Continues a question; what does not fit its 1,024 tokens is cut off in front."""

    def inputs(self, inquiry: Inquiry) -> Mapping[str, torch.Tensor]:
        """Tokens of the question, the end of it where it is long."""
        text = f"{inquiry.record}\n{inquiry.question}" if inquiry.record else inquiry.question
        ids = self._tokenizer(f"{text}\nAnswer:")["input_ids"]
        room = self.longest() - _ROOM if self.longest() > 2 * _ROOM else self.longest() // 2
        return {"input_ids": torch.tensor([ids[-room:]], device=self._model.device)}

    def _continuation(self, text: str) -> list[int]:
        return super()._continuation(f" {text}")


_ROOM = 64
"""Tokens kept free for the answer."""
