"""The packed layout against plain indexing, and what quantizing loses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from osler.errors import CheckpointError, RequestError
from osler.quant.formats import parse_format
from osler.quant.packed import (
    PackedWeight,
    dequantize,
    from_codes,
    matmul,
    pack_codes,
    quantize,
    quantize_rows,
    take_rows,
    unpack_codes,
)

GROUPED = ["int4-g32", "int4-g32-asym", "int8-g32", "int8-g32-asym"]
CHANNEL = ["int4-channel", "int4-channel-asym", "int8-channel", "int8-channel-asym"]


def weight_of(rows: int, columns: int, *, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02


def by_indexing(packed: PackedWeight, *, row: int, column: int) -> float:
    """One value, straight from the description of the layout."""
    block, lane = divmod(row, 16)
    if packed.format.bits == 8:
        code = int(packed.codes[block, column // 4, lane, column % 4])
    else:
        byte = int(packed.codes[block, column // 8, lane, column % 4])
        code = byte & 15 if column % 8 < 4 else byte >> 4
    group = 0 if packed.format.group is None else column // packed.format.group
    scale = float(packed.scale[block, group, lane])
    if packed.offset is None:
        return scale * (code - packed.format.zero_code)
    return scale * code + float(packed.offset[block, group, lane])


@pytest.mark.parametrize("name", GROUPED + CHANNEL)
def test_the_layout_is_as_described(name: str) -> None:
    packed = quantize(weight_of(21, 64), form=parse_format(name)).check("w")
    whole = dequantize(packed)
    for row, column in [(0, 0), (20, 63), (15, 31), (16, 32), (7, 5), (3, 12)]:
        assert float(whole[row, column]) == pytest.approx(by_indexing(packed, row=row, column=column), abs=1e-7)


@given(blocks=st.integers(1, 3), units=st.integers(1, 4), bits=st.sampled_from([4, 8]), seed=st.integers(0, 99))
def test_packing_is_undone(blocks: int, units: int, bits: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 1 << bits, (blocks * 16, units * 32), generator=generator, dtype=torch.uint8)
    assert torch.equal(unpack_codes(pack_codes(codes, bits=bits).contiguous(), bits=bits), codes)


@given(rows=st.integers(1, 40), columns=st.integers(1, 100), name=st.sampled_from(CHANNEL), seed=st.integers(0, 99))
def test_the_error_stays_within_a_step(rows: int, columns: int, name: str, seed: int) -> None:
    weight = weight_of(rows, columns, seed=seed)
    form = parse_format(name)
    packed = quantize(weight, form=form).check("w")
    assert (packed.rows, packed.columns) == (rows, columns)
    low, high = weight.aminmax(dim=1, keepdim=True)
    spread = high.clamp(min=0) - low.clamp(max=0) if packed.offset is not None else 2 * torch.maximum(high, -low)
    # Clipping an extreme is chosen only where the sum of squares gains, so a row's error is bounded by rounding alone.
    step = spread / ((1 << form.bits) - 2)
    assert ((dequantize(packed) - weight).square().mean(1) <= (step[:, 0] * 0.51).square() + 1e-9).all()


@pytest.mark.parametrize(("name", "most"), [("int4-g32", 0.09), ("int4-g32-asym", 0.08), ("int8-g32", 0.006)])
def test_the_error_of_normal_weights(name: str, most: float) -> None:
    weight = weight_of(256, 512)
    error = dequantize(quantize(weight, form=parse_format(name))) - weight
    assert 0.001 < float(error.norm() / weight.norm()) < most


@pytest.mark.parametrize("name", GROUPED)
def test_quantizing_again_changes_nothing(name: str) -> None:
    once = dequantize(quantize(weight_of(32, 96), form=parse_format(name)))
    twice = dequantize(quantize(once, form=parse_format(name)))
    # An int4 scale may be chosen anew where no code was at the extreme.
    assert float((twice - once).norm() / once.norm()) < (0.05 if "int4" in name else 1e-3)


@pytest.mark.parametrize("name", GROUPED + CHANNEL)
def test_rows_and_products_agree_with_the_whole(name: str) -> None:
    packed = quantize(weight_of(37, 64), form=parse_format(name))
    whole = dequantize(packed)
    ids = torch.tensor([36, 0, 17, 17])
    torch.testing.assert_close(take_rows(packed, ids), whole[ids])
    torch.testing.assert_close(dequantize(packed, start=16, stop=37), whole[16:37])
    x = weight_of(5, 64, seed=1)
    torch.testing.assert_close(matmul(x, packed), x @ whole.T)
    assert matmul(x.bfloat16(), packed).dtype == torch.bfloat16


def test_zeros_stay_zeros() -> None:
    for name in GROUPED:
        assert dequantize(quantize(torch.zeros(16, 32), form=parse_format(name))).abs().max() == 0


def test_no_more_rows_are_read_than_fit_a_chunk() -> None:
    asked: list[int] = []

    def read(start: int, stop: int) -> torch.Tensor:
        asked.append(stop - start)
        return torch.ones(stop - start, 4096)

    packed = quantize_rows(read, rows=2000, columns=4096, form=parse_format("int8-g32"))
    assert sum(asked) == 2000
    assert max(asked) * 4096 <= 1 << 21
    torch.testing.assert_close(dequantize(packed, start=1984), torch.ones(16, 4096), rtol=1e-3, atol=0)


def test_codes_from_elsewhere_are_kept() -> None:
    codes = torch.arange(256, dtype=torch.uint8).view(8, 32)
    packed = from_codes(codes, scale_NG=torch.full((8, 1), 0.5), offset_NG=None, form=parse_format("int8-g32"))
    assert torch.equal(dequantize(packed), (codes.float() - 128) / 2)


def test_weights_that_cannot_be_quantized_are_named() -> None:
    with pytest.raises(CheckpointError, match=r"'head' holds values that are not finite"):
        quantize(torch.tensor([[float("nan")] * 32]), form=parse_format("int4-g32"), name="head")
    with pytest.raises(CheckpointError, match=r"'head' holds values up to 1e\+08, too large"):
        quantize(torch.full((1, 32), 1e8), form=parse_format("int4-g32"), name="head")
    with pytest.raises(RequestError, match=r"Groups of 32 do not divide the 33 inputs of 'head'"):
        quantize(torch.zeros(1, 33), form=parse_format("int4-g32"), name="head")


def test_tensors_of_a_wrong_shape_are_refused() -> None:
    packed = quantize(torch.zeros(16, 64), form=parse_format("int4-g32"))
    with pytest.raises(CheckpointError, match=r"'w' has scale float16 \(1, 1, 16\).*needs float16 \(1, 2, 16\)"):
        replace(packed, scale=packed.scale[:, :1].contiguous()).check("w")
    with pytest.raises(CheckpointError, match=r"'w' has offset float16.*needs absent"):
        replace(packed, offset=packed.scale).check("w")
    with pytest.raises(CheckpointError, match=r"codes of 'w' are not contiguous"):
        replace(packed, codes=packed.codes.transpose(2, 3).contiguous().transpose(2, 3)).check("w")
