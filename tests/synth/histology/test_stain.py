"""Staining follows Beer and Lambert's law."""

from __future__ import annotations

import numpy as np

from osler.synth.histology.stain import Stain, colors, stain_of


def test_optical_density_is_amount_times_vector() -> None:
    stain = Stain(lean=0, hematoxylin=1, eosin=1, white=(250.0, 250.0, 250.0))
    light = colors(np.full((2, 2), 0.7, np.float32), np.zeros((2, 2), np.float32), stain=stain)
    density = -np.log10(light / 250)
    np.testing.assert_allclose(density[0, 0], 0.7 * stain.vectors[0], rtol=1e-4)


def test_stains_add_up_in_density() -> None:
    stain = Stain()
    a, b = np.full((1, 1), 0.4, np.float32), np.full((1, 1), 0.3, np.float32)
    none = np.zeros((1, 1), np.float32)
    both = colors(a, b, stain=stain) * colors(none, none, stain=stain)
    np.testing.assert_allclose(both, colors(a, none, stain=stain) * colors(none, b, stain=stain), rtol=1e-5)


def test_no_stain_is_white_glass() -> None:
    stain = stain_of(np.linspace(0, 0.99, 8))
    light = colors(np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32), stain=stain)
    np.testing.assert_allclose(light[0, 0], stain.white, rtol=1e-6)


def test_hematoxylin_is_blue_and_eosin_pink() -> None:
    one, none = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    blue, pink = colors(one, none, stain=Stain())[0, 0], colors(none, one, stain=Stain())[0, 0]
    assert blue[2] > max(blue[0], blue[1])
    assert blue[0] > 0
    assert pink[0] > pink[2] > pink[1]
