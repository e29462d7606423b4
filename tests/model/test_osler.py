"""The assembly: features in their places, clear errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from osler.errors import RequestError
from osler.model.config import VolumeConfig, get_config
from osler.model.osler import Osler, image_blocks

CONFIG = get_config("debug")
IMAGE = CONFIG.tokens.image


@pytest.fixture(scope="module")
def model() -> Osler:
    torch.manual_seed(0)
    return Osler(CONFIG).eval()


def test_features_stand_where_the_image_tokens_are(model: Osler) -> None:
    ids = torch.tensor([[2, 500] + [IMAGE] * 4 + [501, 9], [2, 7, 500] + [IMAGE] * 4 + [501]])
    features = torch.randn(2, 4, CONFIG.decoder.width)
    x = model.embed(ids, features)
    assert torch.equal(x[0, 2:6], features[0])
    assert torch.equal(x[1, 3:7], features[1])
    assert torch.equal(x[0, 7], model.embed(torch.tensor([[9]]))[0, 0])


def test_features_are_not_scaled_but_text_is(model: Osler) -> None:
    text = model.embed(torch.tensor([[9]]))[0, 0]
    torch.testing.assert_close(text, model.decoder.embed_tokens.weight[9] * 8.0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_wrong_number_of_features_is_refused(model: Osler, count: int) -> None:
    ids = torch.tensor([[2] + [IMAGE] * 8])
    features = torch.randn(count, 4, CONFIG.decoder.width) if count else None
    with pytest.raises(RequestError, match=f"8 image tokens, and the images give {count * 4} features"):
        model.embed(ids, features)


@pytest.mark.parametrize("bad", [-1, 512, 262_144])
def test_ids_outside_the_vocabulary_are_refused(model: Osler, bad: int) -> None:
    with pytest.raises(RequestError, match="ids 0 to 511"):
        model.embed(torch.tensor([[2, bad]]))


def test_an_image_token_outside_the_vocabulary_is_fine() -> None:
    config = replace(CONFIG, tokens=replace(CONFIG.tokens, image=CONFIG.decoder.vocab))
    features = torch.randn(1, 4, config.decoder.width)
    x = Osler(config).embed(torch.tensor([[config.decoder.vocab] * 4]), features)
    assert torch.equal(x, features)


def test_wrong_image_size_is_refused(model: Osler) -> None:
    with pytest.raises(RequestError, match=r"shape \(1, 3, 64, 64\).*\(images, 3, 32, 32\)"):
        model.encode_images(torch.zeros(1, 3, 64, 64))


def test_a_text_model_refuses_images() -> None:
    with pytest.raises(RequestError, match="reads text only, and got 2 image"):
        Osler(replace(CONFIG, vision=None)).encode_images(torch.zeros(2, 3, 32, 32))


def test_images_are_numbered_along_each_row() -> None:
    ids = torch.tensor([[IMAGE, IMAGE, 5, IMAGE, 501], [1, IMAGE, IMAGE, 3, 4]])
    assert image_blocks(ids, image_token=IMAGE).tolist() == [[0, 0, -1, 1, -1], [-1, 0, 0, -1, -1]]


def test_weights_are_taken_over_without_a_copy(model: Osler) -> None:
    with torch.device("meta"):
        other = Osler(CONFIG)
    other.load_state_dict(model.state_dict(), assign=True)
    for name, parameter in other.named_parameters():
        assert parameter.data_ptr() == model.get_parameter(name).data_ptr()
    assert torch.equal(other.embed(torch.tensor([[5]])), model.embed(torch.tensor([[5]])))


def test_names_are_the_published_ones() -> None:
    with torch.device("meta"):
        names = set(Osler(get_config("medgemma-1.5-4b")).state_dict())
    assert len(names) == 883
    for name in (
        "language_model.embed_tokens.weight",
        "language_model.layers.33.self_attn.q_norm.weight",
        "language_model.layers.0.mlp.down_proj.weight",
        "language_model.norm.weight",
        "vision_tower.embeddings.position_embedding.weight",
        "vision_tower.encoder.layers.26.self_attn.out_proj.bias",
        "vision_tower.post_layernorm.weight",
        "multi_modal_projector.mm_soft_emb_norm.weight",
        "multi_modal_projector.mm_input_projection_weight",
    ):
        assert name in names


@pytest.fixture(scope="module")
def parts(model: Osler) -> Osler:
    """The same weights, with every part that Osler adds, at its start."""
    torch.manual_seed(1)
    parts = Osler(get_config("debug-parts")).eval()
    missing, unexpected = parts.load_state_dict(model.state_dict(), strict=False)
    assert unexpected == []
    assert {name.partition(".")[0] for name in missing} >= {"volume", "volume_projection"}
    return parts


def _cell_positions(slabs: int) -> torch.Tensor:
    return torch.randn(slabs, CONFIG.image_tokens, 3) * 50


@torch.inference_mode()
def test_one_slice_a_slab_and_no_merging_is_the_image_path_to_the_last_bit(model: Osler, parts: Osler) -> None:
    torch.nn.init.normal_(model.projector.mm_input_projection_weight)
    parts.load_state_dict(model.state_dict(), strict=False)
    images = torch.randn(3, 3, 32, 32)
    wanted = model.encode_images(images)
    assert torch.equal(parts.encode_images(images), wanted)
    for network in (model, parts):
        cells = network.encode_slabs(images[:, None].expand(-1, 4, -1, -1, -1))
        tokens = network.project_slabs(
            cells, positions_mm_ST3=_cell_positions(3), series_S=torch.tensor([0, 0, 1]), grids=[(2, 2, 2), (1, 2, 2)]
        )
        assert torch.equal(tokens, wanted.flatten(0, 1))


@torch.inference_mode()
def test_a_network_without_the_parts_averages_as_they_do_at_their_start(model: Osler, parts: Osler) -> None:
    tubelets = torch.randn(5, 4, 3, 32, 32)
    arguments = {"positions_mm_ST3": _cell_positions(5), "series_S": torch.zeros(5, dtype=torch.long)}
    tokens = [
        network.project_slabs(network.encode_slabs(tubelets), grids=[(2, 1, 2)], **arguments)
        for network in (model, parts)
    ]
    assert tokens[0].shape == (4, CONFIG.decoder.width)
    assert torch.equal(tokens[0], tokens[1])


def test_slabs_of_another_size_and_text_only_networks_are_refused(model: Osler) -> None:
    with pytest.raises(RequestError, match=r"shape \(4, 3, 64, 64\)"):
        model.encode_slabs(torch.zeros(1, 4, 3, 64, 64))
    with pytest.raises(RequestError, match="reads text only"):
        Osler(replace(CONFIG, vision=None)).project_slabs(
            torch.zeros(1, 4, 8), positions_mm_ST3=_cell_positions(1), series_S=torch.zeros(1), grids=[(1, 1, 1)]
        )


def test_the_full_size_takes_the_parts_without_new_names_for_the_old() -> None:
    config = get_config("medgemma-1.5-4b")
    with torch.device("meta"):
        plain = set(Osler(config).state_dict())
        grown = set(Osler(replace(config, volume=VolumeConfig(heads=16, mlp_width=2304))).state_dict())
    assert plain < grown
    assert {name.partition(".")[0] for name in grown - plain} == {"volume", "volume_projection"}
