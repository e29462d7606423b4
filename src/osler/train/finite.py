"""A loss or gradient that is not a number ends a run before the weights are moved by it, and names the samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from osler.errors import TrainingError
from osler.train.distributed import ALONE, Place

_SHOWN = 6


def require_finite(
    values: Mapping[str, Tensor],
    *,
    step: int,
    inputs: Sequence[tuple[str, Tensor]],
    names: Sequence[str],
    place: Place = ALONE,
) -> None:
    """Checks the losses of an update, or the norm of its gradient; of several processes all stop, or none.

    Args:
        values: By name.
        step: Number of the update, from 0.
        inputs: What each sample holds, with the sample's name: those that are not numbers are to blame.
        names: Of all samples of the update, named where all inputs are numbers.
        place: Which process this is; values, inputs and names are its own.

    Raises:
        TrainingError: If one is not a number.
    """
    bad = place.names([name for name, value in values.items() if not bool(torch.isfinite(value.detach()).all())])
    if not bad:
        return
    blamed = place.names([name for name, tensor in inputs if not bool(torch.isfinite(tensor).all())])
    raise not_a_number(blamed or place.names(list(names)), what=" and ".join(dict.fromkeys(bad)), step=step)


def not_a_number(names: Iterable[str], *, what: str, step: int | None) -> TrainingError:
    """Builds the error for samples with which something is not a number.

    Args:
        names: Of the samples. what: That is not a number, such as ``"loss"``.
        step: Number of the update, from 0; ``None`` before training.
    """
    once = list(dict.fromkeys(names))
    more = f" and {len(once) - _SHOWN} more" if len(once) > _SHOWN else ""
    when = "before training" if step is None else f"in update {step + 1}"
    return TrainingError(
        f"The {what} is not a number {when}, at: {', '.join(once[:_SHOWN])}{more}.",
        allowed="The weights were not moved by it, and the state that was saved last is whole.",
        next_step="Look at these samples, or choose a smaller learning rate.",
    )
