"""Hypothesis strategies for geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st

from osler.study import Affine

# A busy machine must not fail a property.

spacings = st.floats(0.05, 20)
offsets = st.floats(-2000, 2000)


@st.composite
def rotations(draw: st.DrawFn) -> np.ndarray:
    """Any orthonormal axes, mirrored ones included."""
    a, b, c = (draw(st.floats(0, 2 * np.pi)) for _ in range(3))
    turn_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return turn_z @ turn_y @ turn_x @ np.diag(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))


@st.composite
def straight_axes(draw: st.DrawFn) -> np.ndarray:
    """Axes along the patient's, in any order and direction: 48 of them."""
    order = draw(st.permutations(range(3)))
    return np.eye(3)[list(order)] * np.array(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))


@st.composite
def affines(
    draw: st.DrawFn,
    *,
    axes: st.SearchStrategy[np.ndarray] | None = None,
    spacing: st.SearchStrategy[float] = spacings,
) -> Affine:
    """An affine of any spacing and origin over the given axes (any rotation by default)."""
    return Affine.from_parts(
        spacing=(draw(spacing), draw(spacing), draw(spacing)),
        direction=draw(rotations() if axes is None else axes),
        origin=(draw(offsets), draw(offsets), draw(offsets)),
    )


class Draw:
    """The strategies above, for tests."""

    rotations = staticmethod(rotations)
    straight_axes = staticmethod(straight_axes)
    affines = staticmethod(affines)


@pytest.fixture(scope="session")
def draw() -> type[Draw]:
    return Draw
