"""Names of parts: those of a configuration, and what is left without some."""

from __future__ import annotations

import pytest

from osler.errors import RequestError
from osler.weights import config_json
from osler.weights.parts import PARTS, check_parts, parts_without


def test_all_parts_of_a_configuration_can_be_switched() -> None:
    assert set(PARTS) == set(config_json.PARTS)


def test_parts_are_told_in_their_order() -> None:
    assert check_parts(["heads", "volume"]) == ("volume", "heads")
    assert check_parts([]) == ()


def test_without_some_the_others_are_left() -> None:
    assert parts_without(["temporal"]) == ("volume", "adapter", "heads")
    assert parts_without(PARTS) == ()
    assert parts_without([]) is None


def test_an_unknown_part_is_named_with_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"Unknown part 'adaptor'.*Did you mean 'adapter'"):
        parts_without(["adaptor"])
