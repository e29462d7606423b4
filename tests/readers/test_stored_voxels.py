"""Voxels as they lie in a file: any slices, any type, cut or whole."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osler.readers import stored_voxels
from osler.readers.stored_voxels import Layout, read_planes, survey

_TYPES = st.sampled_from(["uint8", "<i2", ">i2", "<f4", ">f8"])
_SIZES = st.tuples(*[st.integers(1, 6)] * 3)


def _file(dtype: str, size: tuple[int, int, int], *, offset: int = 5) -> tuple[io.BytesIO, Layout, np.ndarray]:
    array = np.random.default_rng(1).integers(0, 200, size).astype(dtype)
    stream = io.BytesIO(bytes(offset) + array.tobytes(order="F") + b"tags")
    return stream, Layout(offset=offset, dtype=np.dtype(dtype), size=size), array.transpose(2, 1, 0)


@given(dtype=_TYPES, size=_SIZES, data=st.data())
def test_slices_in_any_order(dtype: str, size: tuple[int, int, int], data: st.DataObject) -> None:
    stream, layout, expected = _file(dtype, size)
    wanted = data.draw(st.lists(st.integers(0, size[2] - 1), min_size=1, max_size=8))
    planes = read_planes(stream, layout=layout, slices=wanted)
    assert planes.dtype == np.dtype(dtype)
    assert np.array_equal(planes, expected[wanted])


@given(dtype=_TYPES, size=_SIZES, packed=st.booleans())
def test_a_whole_look_finds_the_ends(dtype: str, size: tuple[int, int, int], packed: bool) -> None:
    stream, layout, expected = _file(dtype, size)
    found = survey(stream, layout=layout, packed=packed, most=1 << 20)
    assert (found.low, found.high, found.not_finite, found.whole) == (expected.min(), expected.max(), 0, True)


def test_a_short_look_spreads_over_a_plain_file_and_begins_a_packed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_voxels, "_PIECE", 100)
    array = np.arange(1000, dtype="<i2").reshape(10, 10, 10, order="F")
    layout = Layout(offset=0, dtype=np.dtype("<i2"), size=(10, 10, 10))
    stream = io.BytesIO(array.tobytes(order="F"))
    spread = survey(stream, layout=layout, packed=False, most=400)
    assert (spread.low, spread.high, spread.whole) == (0, 999, False)
    begun = survey(stream, layout=layout, packed=True, most=400)
    assert (begun.low, begun.high, begun.whole) == (0, 199, False)


def test_a_file_that_ends_early() -> None:
    stream, layout, _ = _file("<i2", (4, 5, 6))
    cut = io.BytesIO(stream.getvalue()[:100])
    with pytest.raises(EOFError, match="bytes are missing"):
        read_planes(cut, layout=layout, slices=[5])
    with pytest.raises(EOFError, match="bytes are missing"):
        survey(cut, layout=layout, packed=True, most=1 << 20)
