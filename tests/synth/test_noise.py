"""Tests of normal noise by quantiles."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy import stats

from osler.synth.noise import UNIT, fill_normal, quantiles


def test_no_quantile_lies_so_near_a_border_that_a_logarithm_could_move_it() -> None:
    exact = stats.norm.ppf((np.arange(2**15, 2**16) + 0.5) / 2**16) / UNIT
    assert np.min(np.abs(exact - np.floor(exact) - 0.5)) > 1e-6
    assert np.array_equal(quantiles()[2**15 :], (np.rint(exact) * UNIT).astype(np.float32))


def test_the_same_bits_give_the_same_noise_on_every_machine() -> None:
    noise = np.empty((3, 1001), dtype=np.float32)
    fill_normal(noise, bits=np.random.SFC64(5))
    assert hashlib.sha256(noise.astype("<f4").tobytes()).hexdigest()[:16] == "909b11b4f41f5711"


@pytest.mark.parametrize("count", [1, 2, 3, 5, 4001])
def test_each_number_has_bits_of_its_own(count: int) -> None:
    noise, longer = np.empty(count, dtype=np.float32), np.empty(count + 9, dtype=np.float32)
    fill_normal(noise, bits=np.random.SFC64(5))
    fill_normal(longer, bits=np.random.SFC64(5))
    assert np.array_equal(noise, longer[:count])


def test_noise_is_normal_and_white() -> None:
    noise, source = np.empty((1000, 1000), dtype=np.float32), np.random.SFC64(7)
    fill_normal(noise, bits=source)
    assert abs(float(noise.mean())) < 0.004
    assert abs(float(noise.std()) - 1) < 0.003
    assert abs(stats.skew(noise, axis=None)) < 0.01
    assert abs(stats.kurtosis(noise, axis=None)) < 0.02
    for other in (np.roll(noise, 1, axis=1), np.roll(noise, 1, axis=0)):
        assert abs(float((noise * other).mean())) < 0.004
    again = np.empty_like(noise)
    fill_normal(again, bits=source)
    assert abs(float((noise * again).mean())) < 0.004
