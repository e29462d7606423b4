"""States of reports: several at a time as one by one. Shares of the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from osler.errors import RequestError
from osler.model.config import get_config
from osler.prepare.contract import preprocess_for
from osler.train.labeled_xrays import LabeledXray, XraySeries
from osler.train.perception_bank import FeatureBank, View
from osler.train.perception_data import REPORT_TOKENS, PerceptionData, report_states, share_of
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


def _data(*, series: int, xrays: int) -> PerceptionData:
    def film(source: str, patient: int) -> LabeledXray:
        return LabeledXray(
            pixels=np.zeros((2, 2), np.uint8), boxes=None, findings={}, source=source, patient=str(patient)
        )

    synthetic = tuple(XraySeries(films=(film("synthetic", i), film("synthetic", i)), labs=()) for i in range(series))
    real = tuple(film("nih", i // 2) for i in range(xrays))  # two films of each
    rows = np.zeros((1, 1, 1), np.uint16)
    bank = FeatureBank(rows=rows, views=tuple((View(row=i, boxes=None),) for i in range(xrays)))
    nothing = FeatureBank(rows=rows, views=())
    return PerceptionData(
        findings=(),
        series=synthetic,
        first_film=tuple(range(0, 2 * series, 2)),
        films=nothing,
        xrays=real,
        xray_bank=bank,
        kept=(),
        kept_bank=nothing,
        volumes=(),
        label_states={},
        lab_states={},
        report_states=torch.arange(series)[:, None].float(),
        preprocess=preprocess_for(get_config("debug")),
    )


def test_a_share_keeps_whole_patients_with_what_belongs_to_them_and_lies_in_larger_shares() -> None:
    data = _data(series=400, xrays=600)
    quarter, half = (share_of(data, series=share, xrays=share) for share in (0.25, 0.5))
    assert 60 < len(quarter.series) < 140
    assert 160 < len(half.series) < 240
    assert 100 < len(quarter.xrays) < 200
    for part in (quarter, half):
        for item, first, state in zip(part.series, part.first_film, part.report_states, strict=True):
            assert int(item.films[0].patient) == first / 2 == float(state)
        assert [views[0].row // 2 for views in part.xray_bank.views] == [int(film.patient) for film in part.xrays]
        assert len(part.xrays) == 2 * len({film.patient for film in part.xrays})
    assert {item.films[0].patient for item in quarter.series} < {item.films[0].patient for item in half.series}
    assert {film.patient for film in quarter.xrays} < {film.patient for film in half.xrays}
    whole = share_of(data, series=1.0, xrays=1.0)
    assert (len(whole.series), len(whole.xrays)) == (400, 600)


def test_a_share_of_nobody_is_refused() -> None:
    with pytest.raises(RequestError, match="is nobody"):
        share_of(_data(series=2, xrays=2), series=1e-9, xrays=1.0)
