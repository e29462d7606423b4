"""Tests of smooth fields on a lattice."""

from __future__ import annotations

import numpy as np

from osler.synth.phantoms.lattice import MOST, Lattice

LINE = np.arange(-150, 150, 2.5, dtype=np.float32)


def lattice(key: str = "a") -> Lattice:
    return Lattice(LINE[:90], LINE[:70], LINE, mm=9, key=key, shape=11)


def test_a_part_is_the_whole_there_whichever_part_was_asked_for_first() -> None:
    whole = lattice().part((slice(0, 120), slice(0, 70), slice(0, 90)))
    part = lattice()
    for start in (100, 40, 0):
        box = (slice(start, start + 12), slice(10, 60), slice(20, 80))
        np.testing.assert_array_equal(part.part(box), whole[box])


def test_a_field_repeats_and_stays_in_its_range() -> None:
    line = np.arange(0, 24 * 9 * 2, 4.5, dtype=np.float32)
    field = Lattice(line, line, line, mm=9, key="b", shape=3).part((slice(0, 96), slice(0, 96), slice(0, 96)))
    np.testing.assert_allclose(field[:48, :48, :48], field[48:, 48:, 48:], atol=1e-4)
    assert np.abs(field).max() < MOST
    assert 0.3 < field.std() < 1


def test_keys_and_bodies_have_fields_of_their_own() -> None:
    box = (slice(0, 20), slice(0, 20), slice(0, 20))
    assert np.array_equal(lattice().part(box), lattice().part(box))
    assert np.abs(lattice().part(box) - lattice("c").part(box)).max() > 0.3
