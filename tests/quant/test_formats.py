from __future__ import annotations

import pytest

from osler.errors import RequestError
from osler.quant.formats import WeightFormat, parse_format


@pytest.mark.parametrize("name", ["int4-g32", "int4-g64-asym", "int4-channel", "int8-g128", "int8-channel-asym"])
def test_names_are_read_back(name: str) -> None:
    assert parse_format(name).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("int3-g32", r"3 bits do not exist here.*4 or 8"),
        ("int4-g48", r"Groups of 48 inputs do not exist.*32, 64, 128"),
        ("q4_0", r"no weight format 'q4_0'.*int4-g32"),
    ],
)
def test_what_does_not_exist_is_named(name: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parse_format(name)


def test_a_group_must_divide_the_inputs() -> None:
    with pytest.raises(RequestError, match=r"Groups of 64 do not divide the 96 inputs of 'fc1'.*Fitting: 32"):
        WeightFormat(bits=4, group=64).require_fit(96, name="fc1")
    with pytest.raises(RequestError, match=r"Fitting: none; one scale for each output always fits.*int4-channel"):
        WeightFormat(bits=4).require_fit(4303, name="fc2")
    WeightFormat(bits=4, group=None).require_fit(4303, name="fc2")


def test_bytes_of_a_weight() -> None:
    # 2560 x 2560: half a byte a weight and two bytes for 32 weights.
    assert WeightFormat(bits=4).bytes(2560, columns=2560) == 2560 * 2560 * 4.5 / 8
    assert WeightFormat(bits=4, zero="asymmetric").bytes(2560, columns=2560) == 2560 * 2560 * 5 / 8
    # Outputs are filled up to whole blocks of 16, inputs to 32.
    assert WeightFormat(bits=8, group=None).bytes(17, columns=33) == 32 * 64 + 32 * 2
