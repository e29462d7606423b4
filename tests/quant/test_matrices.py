from __future__ import annotations

from osler.model.config import get_config
from osler.quant.matrices import matrices
from osler.quant.network import product_tensors


def test_all_layers_of_the_published_tower_are_named() -> None:
    config = get_config("medgemma-1.5-4b")
    found = matrices(config)
    assert len(found) == 27 * 6
    assert found["vision_tower.encoder.layers.26.mlp.fc1"] == (4304, 1152)
    assert all(name.startswith("vision_tower.encoder.layers.") for name in found)


def test_what_reads_images_is_named_and_no_product_of_the_decoder() -> None:
    config = get_config("osler-mini-parts")
    found = matrices(config)
    assert {name.partition(".")[0] for name in found} >= {
        "vision_tower",
        "heads",
        "adapter",
        "temporal",
        "volume_projection",
    }
    assert not {f"{name}.weight" for name in found} & product_tensors(config)
    assert "heads.boxes.presence" not in found  # a single score


def test_a_network_without_images_has_none() -> None:
    assert matrices(get_config("gemma-2-2b")) == {}
