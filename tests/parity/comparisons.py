"""What is compared with the reference, block by block and as a whole.

Each comparison returns a `Comparison`; the tests assert its bounds and
``benchmarks/parity.py`` prints it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache
from transformers.models.gemma3.modeling_gemma3 import (
    Gemma3MultiModalProjector,
    Gemma3RMSNorm,
    Gemma3RotaryEmbedding,
    apply_rotary_pos_emb,
)

from osler.model.decoder import Decoder, ForwardStep
from osler.model.norm import RMSNorm
from osler.model.osler import Osler, image_blocks
from osler.model.rope import rotary_table, rotate
from tests.parity.grow_cache import GrowCache, Order
from tests.parity.reference import GEMMA2, GEMMA3, multimodal_pair, relative_difference, text_config, text_pair

NEW_TOKENS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of one comparison.

    Args:
        difference: Greatest relative difference.
        tokens: How many greedy tokens are equal, of `NEW_TOKENS`; ``None`` if none were made.
    """

    difference: float
    tokens: int | None = None


def _normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _positions(ids_BL: Tensor) -> Tensor:
    return torch.arange(ids_BL.shape[1]).expand(ids_BL.shape)


def text_ids(length: int, *, rows: int = 1, seed: int = 2) -> Tensor:
    """Draws token ids that are neither padding nor of an image."""
    return torch.randint(3, 499, (rows, length), generator=torch.Generator().manual_seed(seed))


def with_images(ids_BL: Tensor, *, starts: tuple[int, ...]) -> Tensor:
    """Puts images into a prompt: start token, soft tokens, end token."""
    tokens, count = GEMMA3.tokens, GEMMA3.image_tokens
    ids_BL = ids_BL.clone()
    for start in starts:
        ids_BL[:, start] = tokens.start_of_image
        ids_BL[:, start + 1 : start + 1 + count] = tokens.image
        ids_BL[:, start + 1 + count] = tokens.end_of_image
    return ids_BL


# Blocks.


def rms_norm() -> Comparison:
    """RMSNorm with weights that are not zero."""
    reference, ours = Gemma3RMSNorm(64), RMSNorm(64, eps=1e-6)
    reference.weight.data = _normal(64)
    ours.weight.data = reference.weight.data
    x = _normal(2, 5, 64, seed=3) * 7
    return Comparison(difference=relative_difference(ours(x), reference=reference(x)))


def rope(kind: str) -> Comparison:
    """Rotary positions of one kind of layer, far positions included."""
    config = GEMMA3.decoder
    table = Gemma3RotaryEmbedding(text_config(config))
    positions = torch.tensor([[0, 1, 2, 1000, 100_000], [5, 6, 7, 8, 9]])
    q, k = _normal(2, 4, 5, 16), _normal(2, 2, 5, 16, seed=4)
    cos, sin = table(q, positions, "full_attention" if kind == "global" else "sliding_attention")
    wanted = apply_rotary_pos_emb(q, k, cos, sin)
    ours_cos, ours_sin = rotary_table(
        positions,
        head_dim=config.head_dim,
        theta=config.rope_theta if kind == "global" else config.rope_theta_sliding,
        scale=config.rope_scale if kind == "global" else 1.0,
        dtype=q.dtype,
    )
    pairs = zip((q, k), wanted, strict=True)
    return Comparison(
        difference=max(relative_difference(rotate(x, rotation=(ours_cos, ours_sin)), reference=y) for x, y in pairs)
    )


def _step(decoder: Decoder, x_BLD: Tensor) -> ForwardStep:
    return ForwardStep(
        config=decoder.config,
        positions_BL=_positions(x_BLD[..., 0]),
        cache=None,
        image_blocks_BL=None,
        padding_BL=None,
        dtype=x_BLD.dtype,
    )


def _layer_arguments(reference: torch.nn.Module, x: Tensor, *, kind: str, window: int) -> dict[str, object]:
    name = "full_attention" if kind == "global" else "sliding_attention"
    back = torch.arange(x.shape[1])[:, None] - torch.arange(x.shape[1])
    seen = (back >= 0) & ((back < window) if kind == "sliding" else True)
    mask = torch.where(seen, 0.0, torch.finfo(x.dtype).min)[None, None]
    positions = _positions(x[..., 0])
    return {"position_embeddings": reference.rotary_emb(x, positions, name), "attention_mask": mask}


def attention(kind: str) -> Comparison:
    """Attention of one layer of a kind, past the window."""
    reference, ours = text_pair(GEMMA3)
    index = 5 if kind == "global" else 0
    x = _normal(2, 70, 64)
    arguments = _layer_arguments(reference.model, x, kind=kind, window=GEMMA3.decoder.window)
    wanted, _ = reference.model.layers[index].self_attn(x, **arguments)
    found = ours.decoder.layers[index].self_attn(x, step=_step(ours.decoder, x))
    return Comparison(difference=relative_difference(found, reference=wanted))


def mlp() -> Comparison:
    """The gated MLP."""
    reference, ours = text_pair(GEMMA3)
    x = _normal(2, 9, 64)
    wanted = reference.model.layers[0].mlp(x)
    return Comparison(difference=relative_difference(ours.decoder.layers[0].mlp(x), reference=wanted))


def layer(kind: str) -> Comparison:
    """A whole decoder layer of a kind."""
    reference, ours = text_pair(GEMMA3)
    index = 5 if kind == "global" else 0
    x = _normal(2, 70, 64)
    arguments = _layer_arguments(reference.model, x, kind=kind, window=GEMMA3.decoder.window)
    wanted = reference.model.layers[index](x, **arguments)
    found = ours.decoder.layers[index](x, step=_step(ours.decoder, x))
    return Comparison(difference=relative_difference(found, reference=wanted))


def tower_layer() -> Comparison:
    """A layer of the image tower."""
    reference, ours = multimodal_pair()
    assert ours.vision is not None
    x = _normal(2, 64, 48)
    wanted = reference.model.vision_tower.encoder.layers[0](x, attention_mask=None)
    return Comparison(difference=relative_difference(ours.vision.encoder.layers[0](x), reference=wanted))


def tower() -> Comparison:
    """The image tower."""
    reference, ours = multimodal_pair()
    assert ours.vision is not None
    pixels = _normal(3, 3, 32, 32)
    wanted = reference.model.vision_tower(pixels).last_hidden_state
    return Comparison(difference=relative_difference(ours.vision(pixels), reference=wanted))


def projector() -> Comparison:
    """The projector."""
    reference, ours = multimodal_pair()
    assert ours.projector is not None
    block = reference.model.multi_modal_projector
    assert isinstance(block, Gemma3MultiModalProjector)
    x = _normal(3, 64, 48)
    return Comparison(difference=relative_difference(ours.projector(x), reference=block(x)))


# The whole.


def greedy(
    model: Osler,
    ids_BL: Tensor,
    *,
    features: Tensor | None = None,
    padding_BL: Tensor | None = None,
    chunks: tuple[int, ...] = (),
    order: Order = "ascending",
    count: int = NEW_TOKENS,
) -> tuple[Tensor, Tensor]:
    """Decodes with a cache; returns the new tokens and the logits of the prompt.

    Args:
        model: Ours.
        ids_BL: The prompt. features: Of its images. padding_BL: True at padding.
        chunks: Where the prompt is cut.
        order: Of the keys in single steps.
        count: New tokens.
    """
    positions_BL = _positions(ids_BL) if padding_BL is None else ((~padding_BL).cumsum(1) - 1).clamp(min=0)
    blocks_BL = image_blocks(ids_BL, image_token=model.config.tokens.image)
    x_BLD = model.embed(ids_BL, features)
    cache = GrowCache(model.config.decoder, order=order)
    hidden = []
    edges = (0, *chunks, ids_BL.shape[1])
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        padding = None if padding_BL is None else padding_BL[:, part]
        cache.expect(positions_BL[:, part], padding_BL=padding)
        hidden.append(
            model.decoder(
                x_BLD[:, part],
                positions_BL=positions_BL[:, part],
                cache=cache,
                image_blocks_BL=blocks_BL[:, part],
                padding_BL=padding,
            )
        )
    logits = model.logits(torch.cat(hidden, dim=1))
    tokens, position = [logits[:, -1:].argmax(-1)], positions_BL[:, -1:]
    for _ in range(count - 1):
        position = position + 1
        cache.expect(position)
        step = model.decoder(model.embed(tokens[-1]), positions_BL=position, cache=cache)
        tokens.append(model.logits(step).argmax(-1))
    return torch.cat(tokens, dim=1), logits


def reference_greedy(reference: torch.nn.Module, ids_BL: Tensor, **inputs: Tensor) -> Tensor:
    """Decodes with the reference's own loop."""
    made = reference.generate(
        ids_BL, **inputs, do_sample=False, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, pad_token_id=0
    )
    return made[:, ids_BL.shape[1] :]


def _equal(ours: Tensor, reference: Tensor) -> int:
    """Greedy tokens that are equal from the first on, in the worst row."""
    same = (ours == reference).long().cumprod(1).sum(1)
    return int(same.min())


def _plain(model: Osler, ids_BL: Tensor, *, features: Tensor | None = None) -> Tensor:
    blocks = None if features is None else image_blocks(ids_BL, image_token=model.config.tokens.image)
    hidden = model.decoder(model.embed(ids_BL, features), positions_BL=_positions(ids_BL), image_blocks_BL=blocks)
    return model.logits(hidden)


def text_only(length: int) -> Comparison:
    """Text without a cache, then greedy tokens with one."""
    reference, ours = text_pair(GEMMA3)
    ids = text_ids(length, rows=2)
    wanted = reference(ids).logits
    tokens, _ = greedy(ours, ids)
    return Comparison(
        difference=relative_difference(_plain(ours, ids), reference=wanted),
        tokens=_equal(tokens, reference_greedy(reference, ids, attention_mask=torch.ones_like(ids))),
    )


def gemma2(length: int) -> Comparison:
    """The Gemma 2 variant: soft-caps, no qk-norm, alternating layers."""
    reference, ours = text_pair(GEMMA2)
    ids = text_ids(length, rows=2)
    wanted = reference(ids).logits
    tokens, _ = greedy(ours, ids)
    return Comparison(
        difference=relative_difference(_plain(ours, ids), reference=wanted),
        tokens=_equal(tokens, reference_greedy(reference, ids, attention_mask=torch.ones_like(ids))),
    )


def images(length: int, *, starts: tuple[int, ...]) -> Comparison:
    """A prompt with images."""
    reference, ours = multimodal_pair()
    ids = with_images(text_ids(length), starts=starts)
    pixels = _normal(len(starts), 3, 32, 32)
    types = (ids == GEMMA3.tokens.image).long()
    wanted = reference(ids, pixel_values=pixels, token_type_ids=types).logits
    features = ours.encode_images(pixels)
    tokens, _ = greedy(ours, ids, features=features)
    made = reference_greedy(
        reference, ids, pixel_values=pixels, token_type_ids=types, attention_mask=torch.ones_like(ids)
    )
    return Comparison(
        difference=relative_difference(_plain(ours, ids, features=features), reference=wanted),
        tokens=_equal(tokens, made),
    )


def padded_batch(*, chunks: tuple[int, ...] = ()) -> Comparison:
    """Rows of different lengths with an image each, padded on the left."""
    reference, ours = multimodal_pair()
    ids = with_images(text_ids(70, rows=3), starts=(50,))
    padding = torch.zeros_like(ids, dtype=torch.bool)
    padding[1, :13] = True
    padding[2, :41] = True
    ids = ids.masked_fill(padding, GEMMA3.tokens.pad)
    pixels = _normal(3, 3, 32, 32)
    types = (ids == GEMMA3.tokens.image).long()
    inputs = {"pixel_values": pixels, "token_type_ids": types, "attention_mask": (~padding).long()}
    positions = ((~padding).cumsum(1) - 1).clamp(min=0)
    wanted = reference(ids, position_ids=positions, **inputs).logits
    tokens, logits = greedy(ours, ids, features=ours.encode_images(pixels), padding_BL=padding, chunks=chunks)
    return Comparison(
        difference=relative_difference(logits[~padding], reference=wanted[~padding]),
        tokens=_equal(tokens, reference_greedy(reference, ids, **inputs)),
    )


def cached(*, chunks: tuple[int, ...], order: Order) -> Comparison:
    """Ours with a cache, whole or in chunks, against the reference without one."""
    reference, ours = multimodal_pair()
    ids = with_images(text_ids(120), starts=(20, 61, 67))
    pixels = _normal(3, 3, 32, 32)
    types = (ids == GEMMA3.tokens.image).long()
    wanted = reference(ids, pixel_values=pixels, token_type_ids=types).logits
    tokens, logits = greedy(ours, ids, features=ours.encode_images(pixels), chunks=chunks, order=order)
    made = reference_greedy(
        reference, ids, pixel_values=pixels, token_type_ids=types, attention_mask=torch.ones_like(ids)
    )
    return Comparison(difference=relative_difference(logits, reference=wanted), tokens=_equal(tokens, made))


def reference_cached() -> Comparison:
    """The reference with its own sliding cache, against ours: the window is cut alike."""
    reference, ours = text_pair(GEMMA3)
    ids = text_ids(64)
    cache = DynamicCache(config=reference.config)
    parts = [reference(part, past_key_values=cache).logits for part in ids.split(1, dim=1)]
    return Comparison(difference=relative_difference(_plain(ours, ids), reference=torch.cat(parts, dim=1)))


COMPARISONS: dict[str, Callable[[], Comparison]] = {
    "RMSNorm": rms_norm,
    "rotary positions, sliding": lambda: rope("sliding"),
    "rotary positions, global (scaled)": lambda: rope("global"),
    "attention, sliding": lambda: attention("sliding"),
    "attention, global": lambda: attention("global"),
    "MLP": mlp,
    "decoder layer, sliding": lambda: layer("sliding"),
    "decoder layer, global": lambda: layer("global"),
    "tower layer": tower_layer,
    "tower": tower,
    "projector": projector,
    "text only, within the window": lambda: text_only(20),
    "text only, past the window": lambda: text_only(100),
    "text only, many tiles": lambda: text_only(1300),
    "one image": lambda: images(40, starts=(5,)),
    "several images": lambda: images(120, starts=(5, 40, 46, 90)),
    "images across tiles": lambda: images(1300, starts=(30, 509, 1021, 1200)),
    "padded batch with images": padded_batch,
    "padded batch with images, in chunks": lambda: padded_batch(chunks=(11, 45, 60)),
    "cached": lambda: cached(chunks=(), order="ascending"),
    "cached, keys in any order": lambda: cached(chunks=(), order="shuffled"),
    "cached, prompt in chunks": lambda: cached(chunks=(7, 55, 80, 81), order="ascending"),
    "token by token, the reference's cache": reference_cached,
    "Gemma 2, within the window": lambda: gemma2(20),
    "Gemma 2, past the window": lambda: gemma2(100),
}
