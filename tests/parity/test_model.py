"""Every block and the whole network against `transformers`, in float32."""

from __future__ import annotations

import pytest
import torch

from tests.parity.comparisons import COMPARISONS, NEW_TOKENS


@pytest.mark.parametrize("name", COMPARISONS)
def test_equals_reference(name: str) -> None:
    with torch.inference_mode():
        found = COMPARISONS[name]()
    assert found.difference < 1e-5
    assert found.tokens in (None, NEW_TOKENS)
