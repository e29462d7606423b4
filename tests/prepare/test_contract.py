from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from osler.errors import CheckpointError, PreprocessMismatchError, RequestError
from osler.model.config import get_config
from osler.prepare import Preprocess, preprocess_for, require_same, with_visual_tokens
from osler.study import Window

OTHER = {
    "image_size": 448,
    "image_tokens": 16,
    "max_slices": 32,
    "sampling": "published",
    "ct_windows": (Window(low=-1024, high=1024), Window(low=135, high=215), Window(low=0, high=80)),
    "grey_percentiles": (1.0, 99.0),
    "mean": 0.0,
    "std": 1.0,
    "orientation": "as-stored",
    "aspect": "pad-square",
    "prompt": "published",
    "instruction": "Look.",
    "version": 3,
    "tiles": "spread",
    "max_tiles": 252,
    "visual_tokens": 512,
    "slab_depth": 8,
    "max_slabs": 40,
}


def test_json_gives_the_same_contract_back(contract):
    for value in (contract, replace(contract, **OTHER)):
        again = Preprocess.from_json(value.to_json())
        assert again == value
        assert again.hash == value.hash


@pytest.mark.parametrize("name", OTHER)
def test_every_field_changes_the_hash(contract, name):
    changed = replace(contract, **{name: OTHER[name]})
    assert changed.hash != contract.hash
    with pytest.raises(PreprocessMismatchError, match=f"{name}: ") as caught:
        require_same(contract, changed)
    assert contract.short_hash in str(caught.value)
    assert changed.short_hash in str(caught.value)


def test_other_covers_every_field_that_has_a_choice(contract):
    single = {"mr", "grey", "resize"}
    assert {field.name for field in fields(contract)} == set(OTHER) | single


def test_whole_and_real_numbers_hash_alike(contract):
    low_high = tuple(Window(low=float(w.low), high=float(w.high)) for w in contract.ct_windows)
    assert replace(contract, ct_windows=low_high).hash == contract.hash


def test_hash_is_pinned():
    """A change here makes every shipped checkpoint refuse: raise CONTRACT_VERSION knowingly."""
    published = preprocess_for(get_config("medgemma-1.5-4b"))
    assert published.hash.startswith(PINNED["medgemma-1.5-4b"])
    assert preprocess_for(get_config("osler-mini")).hash.startswith(PINNED["osler-mini"])


PINNED = {"medgemma-1.5-4b": "2e38a7ba7aa11137", "osler-mini": "7ae4393fbd570dec"}


def test_later_fields_are_absent_where_they_mean_the_default(contract):
    """Contracts written before slides were read keep their text and their hash."""
    assert not {"tiles", "max_tiles"} & json.loads(contract.to_json()).keys()
    assert Preprocess.from_json(contract.to_json()).tiles == "published"
    spread = replace(contract, tiles="spread")
    assert json.loads(spread.to_json())["tiles"] == "spread"
    assert replace(spread, tiles="published", max_tiles=126).hash == contract.hash


def test_same_contract_passes(contract):
    require_same(contract, Preprocess.from_json(contract.to_json()))


def test_green_window_is_minus_135_not_135(contract):
    assert [(w.low, w.high) for w in contract.ct_windows] == [(-1024, 1024), (-135, 215), (0, 80)]
    wrong = replace(contract, ct_windows=OTHER["ct_windows"])
    with pytest.raises(PreprocessMismatchError, match=r"\[-135, 215\].*in the checkpoint.*\[135, 215\]"):
        require_same(contract, wrong)


def test_published_and_own_networks():
    published = preprocess_for(get_config("medgemma-1.5-4b"))
    assert (published.image_size, published.image_tokens, published.max_slices) == (896, 256, 85)
    assert (published.sampling, published.prompt, published.aspect) == ("published", "published", "stretch")
    mini = preprocess_for(get_config("osler-mini"))
    assert (mini.image_size, mini.image_tokens, mini.sampling) == (256, 64, "equidistant")
    text_only = preprocess_for(get_config("gemma-2-2b"))
    assert (text_only.image_size, text_only.image_tokens) == (0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling": "random"}, r"sampling is 'random'\. One of published, equidistant"),
        ({"aspect": "crop"}, "One of stretch, pad-square"),
        ({"max_slices": 0}, r"max_slices is 0\. A whole number, at least 1"),
        ({"image_size": 2.5}, "image_size is 2.5"),
        ({"grey_percentiles": (50.0, 50.0)}, "0 <= low < high <= 100"),
        ({"std": 0.0}, "std is 0.0"),
        ({"ct_windows": ()}, "Three windows"),
    ],
)
def test_impossible_values_are_refused(contract, change, message):
    with pytest.raises(RequestError, match=message):
        replace(contract, **change)


def test_damaged_json_is_one_clear_error(contract):
    with pytest.raises(CheckpointError, match="not JSON"):
        Preprocess.from_json("{")
    with pytest.raises(CheckpointError, match="not a JSON object"):
        Preprocess.from_json("[]")
    record = json.loads(contract.to_json())
    del record["aspect"]
    record["crop"] = 1
    with pytest.raises(CheckpointError, match=r"unknown fields \['crop'\], missing fields \['aspect'\]"):
        Preprocess.from_json(json.dumps(record))
    record = json.loads(contract.to_json()) | {"ct_windows": [{"low": 3, "high": 1}] * 3}
    with pytest.raises(CheckpointError, match="window from 3 to 1"):
        Preprocess.from_json(json.dumps(record))
    record = json.loads(contract.to_json()) | {"ct_windows": 7, "sampling": ["x"]}
    with pytest.raises(CheckpointError, match="cannot be read"):
        Preprocess.from_json(json.dumps(record))


def test_a_budget_of_visual_tokens_changes_the_hash_and_slices_bring_it_back(contract):
    slabs = with_visual_tokens(contract, 512)
    assert slabs.visual_tokens == 512
    assert slabs.hash != contract.hash
    assert with_visual_tokens(slabs, None) is slabs
    assert with_visual_tokens(slabs, "slices") == contract


@pytest.mark.parametrize("wish", [0, -1, True, 2.5, "many"])
def test_a_budget_that_is_no_number_from_1_is_refused(contract, wish):
    with pytest.raises(RequestError, match=r"visual tokens.*whole number from 1"):
        with_visual_tokens(contract, wish)


@pytest.mark.parametrize("depth", [0, 3, 12])
def test_a_depth_that_is_no_power_of_two_is_refused(contract, depth):
    with pytest.raises(RequestError, match=f"slab_depth is {depth}"):
        replace(contract, slab_depth=depth)
