"""The evaluation counts right, and the shipped weights answer held-out X-rays."""

from __future__ import annotations

import pytest

from osler.evaluate.mini_quality import Row, by_class, confusion, summarize, truth_of
from osler.evaluate.quality_report import markdown
from osler.train.pictures import Labels
from osler.weights.catalog import MINI_FOLDER
from tests.shared_data import SHARED_DATA, needs_shared_data


def _row(*, patient: str, sight: str, read: str | None) -> Row:
    return Row(
        source="nih",
        patient=patient,
        asked="modality",
        sight=sight,  # type: ignore[arg-type]
        question="q",
        answer="a",
        stopped="end",
        truth="xray",
        read=read,
    )


ROWS = [
    _row(patient="1", sight="seen", read="xray"),
    _row(patient="2", sight="seen", read="ct"),
    _row(patient="3", sight="seen", read=None),
    _row(patient="1", sight="blanked", read=None),
]


def test_unreadable_counts_as_wrong() -> None:
    table = {(row["source"], row["sight"]): row for row in summarize(ROWS)}
    assert (table["all", "seen"]["right"], table["all", "seen"]["of"]) == (1, 3)
    assert table["nih", "blanked"]["right"] == 0
    assert confusion(ROWS, asked="modality") == {"xray -> xray": 1, "xray -> ct": 1, "xray -> unreadable": 1}


def test_pelvis_counts_as_abdomen() -> None:
    labels = Labels(modality="ct", region="pelvis", plane="axial")
    assert truth_of(labels, asked="region") == "abdomen"


def test_report_has_the_counts() -> None:
    words = {"asked": 500, "echo": 1, "loop": 2, "without_end": 0, "bad": 3, "examples": [], "text_only": []}
    text = markdown(
        {
            "model": "m",
            "preprocess": "h",
            "questions": 3,
            "seconds": 1.0,
            "table": summarize(ROWS),
            "classes": {"modality": by_class(ROWS, asked="modality"), "view": {}},
            "confusion": {"modality": confusion(ROWS, asked="modality")},
            "wordings": words,
            "perplexity": {"general": {"before": 20.0, "after": 21.0, "tokens": 100}},
        }
    )
    assert "| modality | **all** | 1/3 | 33.3% |" in text
    assert "| modality | xray 1/3 | 33.3% | 100.0% |" in text
    assert "1 echoes, 2 loops" in text
    assert "| general | 100 | 20.00 | 21.00 |" in text


@needs_shared_data
@pytest.mark.slow
@pytest.mark.skipif(not (MINI_FOLDER / "vision.safetensors").is_file(), reason="no trained parts in this checkout")
def test_shipped_weights_know_held_out_x_rays() -> None:
    from itertools import islice

    from osler.evaluate.asking import Asker
    from osler.evaluate.held_out import held_out_cases
    from osler.evaluate.mini_quality import ask_cases
    from osler.weights import load_checkpoint

    assert SHARED_DATA is not None
    asker = Asker(load_checkpoint("osler-mini"))
    rows = ask_cases(asker, list(islice(held_out_cases(SHARED_DATA), 8)))
    seen = [row.right for row in rows if row.sight == "seen" and row.asked == "modality"]
    blanked = [row.right for row in rows if row.sight == "blanked" and row.asked == "modality"]
    assert sum(seen) >= 7
    assert sum(blanked) <= sum(seen) - 2
