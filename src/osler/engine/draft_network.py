"""The embedded 270M as the draft of a larger network: loaded at its first use, kept for the next answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from osler.engine.memory_plan import plan_weights
from osler.engine.runner import Runner
from osler.engine.speculation import Drafter, DraftModel, require_same_tokens
from osler.errors import RequestError
from osler.quant.kernels import choose_kernels
from osler.quant.open import load_and_quantize, open_model
from osler.readers.limits import available_memory
from osler.weights.catalog import EMBEDDED_NAME

if TYPE_CHECKING:
    from osler.engine.generate import Prompt
    from osler.engine.options import Decoding
    from osler.weights import Checkpoint

_BITS = 8


class DraftNetwork:
    """Writes ahead for one network, where an answer asks for it.

    Args:
        target: What answers.
        name: Of the network that writes ahead, which reads text alone.
    """

    def __init__(self, target: Checkpoint, *, name: str = EMBEDDED_NAME) -> None:
        self._target, self._name = target, name
        self._runner: Runner | None = None

    def open(self, decoding: Decoding) -> None:
        """Loads the draft if this decoding wants one: before anything else is computed.

        Raises:
            RequestError: If it is no smaller than what answers, or its tokens mean something else.
            CheckpointError: If its weights are missing or damaged.
            CapacityError: If they do not fit into memory.
        """
        if decoding.speculation != "draft" or self._runner is not None:
            return
        small, large = open_model(self._name).config.decoder, self._target.model.config.decoder
        if small.layers * small.width >= large.layers * large.width:
            raise RequestError(
                f"The draft {self._name!r} is as large as {self._target.name!r}: writing ahead would take longer.",
                allowed="A draft for a larger network, such as the 4B one.",
                next_step="Use --speculation lookup, or none.",
            )
        plan_weights(self._name, itemsize=2, bits=_BITS).require(available_memory())
        draft = load_and_quantize(self._name, bits=_BITS, dtype="bfloat16", kernels=choose_kernels())
        require_same_tokens(draft.tokenizer, target=self._target.tokenizer)
        self._runner = Runner(draft.model)

    def drafter(self, prompts: Sequence[Prompt], *, decoding: Decoding) -> Drafter | None:
        """Returns what writes ahead for one prompt; ``None`` where nothing shall."""
        if decoding.speculation != "draft" or len(prompts) > 1:
            return None
        self.open(decoding)
        assert self._runner is not None
        tokens = self._target.model.config.tokens
        return DraftModel(
            self._runner,
            left_out=(tokens.image, tokens.start_of_image, tokens.end_of_image),
            planned=len(prompts[0].token_ids) + decoding.max_tokens,
        )
