"""Heads: parity with torch's attention, boxes in order and of any depth, states at box tokens."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.errors import RequestError
from osler.model.config import HeadsConfig, get_config
from osler.model.heads import BoxHead, CrossAttention, FindingsHead, patch_positions
from osler.model.osler import Osler, as_query

CONFIG = get_config("debug-parts")
WIDTH, TEXT = 48, 64


@pytest.fixture(scope="module")
def model() -> Osler:
    torch.manual_seed(7)
    return Osler(CONFIG).eval().requires_grad_(False)


def box_head() -> BoxHead:
    """A head whose attention to places is sharp enough to matter."""
    torch.manual_seed(1)
    assert CONFIG.heads is not None
    head = BoxHead(CONFIG.heads, width=WIDTH, text_width=TEXT).eval().requires_grad_(False)
    for parameter in head.parameters():
        parameter.normal_(std=0.3)
    return head


def test_cross_attention_is_torchs_multihead_attention() -> None:
    torch.manual_seed(0)
    own = CrossAttention(WIDTH, heads=4)
    reference = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
    names = ("q_proj", "k_proj", "v_proj")
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([getattr(own, name).weight for name in names]))
        reference.in_proj_bias.copy_(torch.cat([getattr(own, name).bias for name in names]))
    reference.out_proj.load_state_dict(own.out_proj.state_dict())
    queries, features = torch.randn(2, 3, WIDTH), torch.randn(2, 9, WIDTH)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[0, 5:] = True
    expected, _ = reference(F.layer_norm(queries, (WIDTH,)), features, features, key_padding_mask=padding)
    found = own(queries, features_BMV=features, padding_BM=padding)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("slices", [1, 5])
def test_boxes_lie_in_the_picture_in_order(slices: int) -> None:
    head = box_head()
    places = patch_positions(4, slices=slices)[None]
    features = torch.randn(1, 16 * slices, WIDTH) * 3
    boxes, presence = head(torch.randn(1, 40, TEXT), features_BMV=features, positions_BM3=places)
    assert boxes.shape == (1, 40, 6)
    assert presence.shape == (1, 40)
    assert ((boxes >= 0) & (boxes <= 1)).all()
    assert (boxes[..., :3] <= boxes[..., 3:]).all()
    assert boxes.std(1).max() > 0.01  # labels differ


def test_padding_and_the_order_of_features_do_not_count() -> None:
    head, text = box_head(), torch.randn(1, 3, TEXT)
    places, features = patch_positions(4)[None], torch.randn(1, 16, WIDTH)
    expected, presence = head(text, features_BMV=features, positions_BM3=places)
    order = torch.randperm(16)
    padded = torch.cat((features[:, order], torch.full((1, 4, WIDTH), 50.0)), dim=1)
    at = torch.cat((places[:, order], torch.zeros(1, 4, 3)), dim=1)
    mask = torch.arange(20)[None] >= 16
    found, also = head(text, features_BMV=padded, positions_BM3=at, padding_BM=mask)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(also, presence, rtol=1e-5, atol=1e-5)


def test_a_mirrored_picture_gives_a_mirrored_box() -> None:
    """With weights that treat left and right alike: no position in the features, edges that swap roles."""
    head = box_head()
    head.position.proj.weight.zero_()
    rows = head.edges.weight.view(6, WIDTH, WIDTH)
    rows[3], bias = rows[0], head.edges.bias.view(6, WIDTH)
    bias[3] = bias[0]
    head.offset.weight.zero_()
    head.offset.bias.zero_()
    text, features, places = torch.randn(1, 5, TEXT), torch.randn(1, 16, WIDTH), patch_positions(4)[None]
    boxes, _ = head(text, features_BMV=features, positions_BM3=places)
    mirrored = features.view(1, 4, 4, WIDTH).flip(2).flatten(1, 2)
    found, _ = head(text, features_BMV=mirrored, positions_BM3=places)
    expected = boxes.clone()
    expected[..., 0], expected[..., 3] = 1 - boxes[..., 3], 1 - boxes[..., 0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_centers_of_patches_run_along_x_then_y_then_z() -> None:
    places = patch_positions(2, slices=2)
    assert places.tolist()[:3] == [[0.25, 0.25, 0.25], [0.75, 0.25, 0.25], [0.25, 0.75, 0.25]]
    assert places[4].tolist() == [0.25, 0.25, 0.75]


def test_probabilities_of_findings_are_calibrated_or_missing() -> None:
    head = FindingsHead(HeadsConfig(findings=("a", "b")), width=WIDTH)
    logits = torch.tensor([[0.4, -1.0]])
    assert head.probabilities(logits).isnan().all()
    head.scale[0], head.shift[0] = 0.5, 0.3
    found = head.probabilities(logits)
    torch.testing.assert_close(found[0, 0], torch.sigmoid(torch.tensor(0.5 * 0.4 + 0.3)))
    assert found[0, 1].isnan()


def test_embeddings_are_unit_vectors_and_scored_by_scale_and_bias(model: Osler) -> None:
    assert model.heads is not None
    head = model.heads.contrastive
    images, texts = head.images(torch.randn(3, 9, WIDTH)), head.texts(torch.randn(2, TEXT) * 7)
    for vectors in (images, texts):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(vectors)))
    expected = F.cosine_similarity(images[:, None], texts[None], dim=-1) * 10 - 10
    torch.testing.assert_close(head.logits(images, texts), expected, rtol=1e-4, atol=1e-4)


def test_with_no_trunk_of_their_own_heads_read_the_tower() -> None:
    from dataclasses import replace

    assert CONFIG.heads is not None
    model = Osler(replace(CONFIG, heads=replace(CONFIG.heads, trunk=0))).eval()
    pixels = torch.rand(1, 3, 32, 32)
    assert model.vision_tower is not None
    assert torch.equal(model.head_features(pixels), model.vision_tower(pixels))


def test_a_trunk_that_is_a_copy_of_the_last_layers_gives_the_towers_output(model: Osler) -> None:
    assert model.heads is not None
    assert model.vision_tower is not None
    trunk = model.heads.trunk
    for own, source in zip(trunk.layers, model.vision_tower.encoder.layers[-len(trunk.layers) :], strict=True):
        own.load_state_dict(source.state_dict())
    trunk.norm.load_state_dict(model.vision_tower.post_layernorm.state_dict())
    pixels = torch.rand(2, 3, 32, 32)
    assert torch.equal(model.head_features(pixels), model.vision_tower(pixels))


def box_states(model: Osler, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    hidden = torch.randn(*ids.shape, TEXT, generator=torch.Generator().manual_seed(5))
    features, places = model.head_features(torch.rand(len(ids), 3, 32, 32)), patch_positions(8).expand(len(ids), -1, -1)
    counts, boxes, presence = model.boxes_at(hidden, token_ids_BL=ids, features_BMV=features, positions_BM3=places)
    assert model.heads is not None
    expected = []
    for row in range(len(ids)):
        for place in (ids[row] == CONFIG.tokens.box).nonzero()[:, 0].tolist():
            alone, _ = model.heads.boxes(
                as_query(hidden[row, place][None, None]),
                features_BMV=features[row : row + 1],
                positions_BM3=places[row : row + 1],
            )
            expected.append(alone[0, 0])
    assert presence.shape == (len(expected),)
    return counts, boxes, torch.stack(expected) if expected else torch.zeros(0, 6)


def test_a_box_is_regressed_from_the_state_at_each_box_token(model: Osler) -> None:
    box = CONFIG.tokens.box
    counts, boxes, expected = box_states(model, torch.tensor([[2, 9, box, 4, box], [2, box, 7, 7, 7], [1, 1, 1, 1, 1]]))
    assert counts.tolist() == [2, 1, 0]
    torch.testing.assert_close(boxes, expected, rtol=1e-5, atol=1e-5)


def test_no_box_token_gives_no_box(model: Osler) -> None:
    counts, boxes, _ = box_states(model, torch.tensor([[2, 9, 9]]))
    assert counts.tolist() == [0]
    assert boxes.shape == (0, 6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slices": 0}, "slices is 0"),
        ({"unsure": (0.7, 0.2)}, r"Unsure from 0.7 to 0.2"),
        ({"findings": ("a", "b"), "told": ("a", "b"), "told_levels": [(0.1, 0.2, 0.3, 0.4)]}, "Levels for 1 of 2"),
        ({"findings": ("a",), "told": ("a",), "told_levels": [(0.1, 0.3, 0.2, 0.4)]}, "levels of 'a'"),
        ({"findings": ("a",), "told": ("a",), "told_levels": [(0.1, 0.2, 0.3)]}, "levels of 'a'"),
    ],
)
def test_a_configuration_without_sense_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        HeadsConfig(**{"findings": (), **change})  # type: ignore[arg-type]
