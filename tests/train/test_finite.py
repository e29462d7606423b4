"""What is not a number ends an update, and the sample that brought it is named."""

from __future__ import annotations

import pytest
import torch

from osler.errors import TrainingError
from osler.train.finite import require_finite

GOOD, BAD = torch.zeros(3), torch.tensor([0.0, float("nan")])


def test_numbers_pass() -> None:
    require_finite({"loss": torch.tensor(1.0)}, step=0, inputs=[("a", BAD)], names=["a"])


def test_the_sample_that_is_no_number_is_named_alone() -> None:
    with pytest.raises(TrainingError, match=r"boxes is not a number in update 5, at: film 2\."):
        require_finite(
            {"boxes": torch.tensor(float("inf")), "findings": torch.tensor(0.1)},
            step=4,
            inputs=[("film 1", GOOD), ("film 2", BAD)],
            names=["film 1", "film 2"],
        )


def test_where_all_inputs_are_numbers_the_samples_of_the_update_are_named_once() -> None:
    names = [f"film {number}" for number in (*range(9), 0)]
    with pytest.raises(TrainingError, match=r"at: film 0, .*film 5 and 3 more\."):
        require_finite({"loss": BAD}, step=0, inputs=[("film 0", GOOD)], names=names)
