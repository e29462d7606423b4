"""Which weights run a task: the part that the requests of all tasks share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from osler.engine.backend import check_backend
from osler.prepare import VisualTokens
from osler.weights.catalog import find_model
from osler.weights.parts import Part

if TYPE_CHECKING:
    from osler.engine.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """Weights, and what they run on.

    Args:
        model: A known name, or a folder with a checkpoint.
        device: ``"cpu"``, ``"cuda"`` or ``"auto"``.
        bits: Of the weights; ``None``: as they are.
        backend: ``"torch"`` or ``"jax"``.
    """

    model: str = "osler-mini"
    device: str = "auto"
    bits: int | None = None
    backend: str = "torch"

    def check(self) -> None:
        """Refuses what cannot be loaded, before any file is read.

        Raises:
            OslerError: If the model or the backend is unknown, or not installed.
        """
        find_model(self.model)
        check_backend(self.backend)

    def load(self) -> Session:
        """Loads the weights.

        Raises:
            OslerError: If they are absent or damaged, or do not fit the machine.
        """
        from osler.engine.load import load  # torch comes with it: a bad file is refused before

        return load(self.model, device=self.device, bits=self.bits, backend=self.backend)


@dataclass(frozen=True, slots=True, kw_only=True)
class SightChoice(ModelChoice):
    """Weights that look at images, and how.

    Args:
        parts: See `osler.load`.
        visual_tokens: See `Session.seeing`.
    """

    parts: tuple[Part, ...] | None = None
    visual_tokens: VisualTokens = None

    def load(self) -> Session:
        """Loads the weights; see `ModelChoice.load`."""
        from osler.engine.load import load

        session = load(self.model, device=self.device, bits=self.bits, backend=self.backend, parts=self.parts)
        return session.seeing(self.visual_tokens)
