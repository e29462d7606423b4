"""States of reports: several at a time as one by one."""

from __future__ import annotations

from pathlib import Path

import torch

from osler.train.perception_data import REPORT_TOKENS, report_states
from osler.weights.checkpoint import load_checkpoint


def test_reports_read_together_have_the_states_that_each_has_alone(small_base: Path) -> None:
    checkpoint = load_checkpoint(small_base, dtype="float32")
    texts = [f"Film {number}. " + "The heart is large. " * (number * 5 % 17) for number in range(20)]
    done: list[tuple[int, int]] = []
    together = report_states(texts, checkpoint=checkpoint, on_report=lambda *now: done.append(now))
    assert done == [(16, 20), (20, 20)]
    alone = torch.cat([report_states([text], checkpoint=checkpoint) for text in texts])
    torch.testing.assert_close(together, alone)
    assert len(checkpoint.tokenizer.encode(texts[-1])) < REPORT_TOKENS
    assert torch.cdist(alone, alone).fill_diagonal_(1.0).min() > 1e-3
