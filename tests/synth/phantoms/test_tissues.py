"""Signals of MR follow from the sequence: fat is dark where it is suppressed."""

from __future__ import annotations

import pytest

from osler.synth.facts import Acquisition
from osler.synth.phantoms.tissues import mr_palette, mr_relaxation

BASE = {"device": "MR-1", "rows": 256, "columns": 256, "slices": 24, "pixel_mm": 0.9}


@pytest.mark.parametrize("field", [1.5, 3.0])
@pytest.mark.parametrize("te", [65.0, 95.0])
def test_diffusion_suppresses_fat_and_scalp(field: float, te: float) -> None:
    palette = mr_palette(Acquisition(**BASE, field_t=field, sequence="DWI", te_ms=te, tr_ms=5000.0))
    for name in ("fat", "scalp", "marrow", "fat-pad", "skin"):
        assert palette[name] < 0.4 * palette["white"], name
    assert palette["infarct"] > 1.3 * palette["gray"]
    assert palette["csf"] < palette["gray"]


@pytest.mark.parametrize("field", [1.5, 3.0])
def test_fat_suppressed_knees_and_livers_have_dark_fat(field: float) -> None:
    knee = mr_palette(Acquisition(**BASE, field_t=field, sequence="PD-FS", te_ms=35.0, tr_ms=3000.0))
    assert max(knee["fat"], knee["marrow"], knee["fat-pad"]) < 0.4 * knee["cartilage"]
    liver = mr_palette(Acquisition(**BASE, field_t=field, sequence="T1-FS", te_ms=1.8, tr_ms=4.0, flip_deg=10))
    assert liver["fat"] < 0.4 * liver["liver"]


def test_fat_is_bright_where_it_is_not_suppressed() -> None:
    palette = mr_palette(Acquisition(**BASE, field_t=1.5, sequence="T1", te_ms=10.0, tr_ms=500.0))
    assert palette["fat"] > 1.3 * palette["white"]


@pytest.mark.parametrize(
    ("tissue", "t1_ms", "t2_ms"),
    [
        ("kidney-cortex", 1142, 76), ("kidney-medulla", 1545, 81), ("liver", 809, 34), ("spleen", 1328, 61),
        ("pancreas", 725, 43), ("prostate", 1597, 74), ("uterus", 1514, 79),
    ],
)  # fmt: skip
def test_relaxation_at_3_tesla_is_the_published_one(tissue: str, t1_ms: float, t2_ms: float) -> None:
    """Means of de Bazelaire et al., Radiology 2004;230:652, as its abstract gives them."""
    t1, t2, _ = mr_relaxation(tissue, field_t=3.0)
    assert t1 == pytest.approx(t1_ms, rel=0.06)
    assert t2 == pytest.approx(t2_ms, rel=0.06)


@pytest.mark.parametrize(
    ("tissue", "least_ms", "most_ms"),
    [("muscle", 27, 45), ("cartilage", 27, 45), ("fat", 41, 143), ("marrow", 42, 160)],
)
def test_t2_of_the_knee_at_3_tesla_lies_in_the_published_range(tissue: str, least_ms: float, most_ms: float) -> None:
    """Ranges over sequences of Pai et al., Magn Reson Imaging 2008;26:1215, as its abstract gives them."""
    _, t2, _ = mr_relaxation(tissue, field_t=3.0)
    assert least_ms <= t2 <= most_ms


@pytest.mark.parametrize("tissue", ["blood", "muscle", "myocardium", "cartilage", "kidney-medulla", "gray", "white"])
def test_t1_rises_with_the_field_and_t2_stays(tissue: str) -> None:
    """As in vitro: Stanisz et al., Proc ISMRM 2006, 2494."""
    low, high = (mr_relaxation(tissue, field_t=field) for field in (1.5, 3.0))
    assert high[0] > 1.08 * low[0]
    assert high[1] == pytest.approx(low[1], rel=0.15)
