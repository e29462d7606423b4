"""The Gemma decoder: Gemma 3, and Gemma 2 by configuration.

Notable choices of the architecture, all from the reference (`transformers`):

- four RMSNorms a layer, two of them on what a sublayer adds to the stream;
- grouped queries; RMSNorm on queries and keys (Gemma 3);
- five sliding layers for one global layer, each kind with its own rotary base;
- embeddings scaled by the root of the width, rounded to the weights' dtype;
- the language head is the embedding; scores and logits soft-capped (Gemma 2).

Parameters carry the published names.

Dimensions: B batch, L tokens, D width, F width of the MLP, N query heads,
K key heads, H width of a head, S keys, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from osler.model.adapter import AdapterMemory
from osler.model.attention import KeyView, attend, last_seen
from osler.model.cache_protocol import KeyValueCache
from osler.model.config import DecoderConfig, LayerKind
from osler.model.norm import RMSNorm
from osler.model.rope import rotary_table, rotate


class Decoder(nn.Module):
    """Turns embedded tokens into hidden states.

    Args:
        config: Sizes and variants.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab, config.width)
        self.layers = nn.ModuleList(DecoderLayer(config, index=i) for i in range(config.layers))
        self.norm = RMSNorm(config.width, eps=config.norm_eps)
        # Set by `osler.model.pack`; without one the embedding is the head.
        self.head: nn.Module | None = None

    @property
    def dtype(self) -> torch.dtype:
        """Of the activations."""
        table = self.embed_tokens
        return table.weight.dtype if isinstance(table, nn.Embedding) else table.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        table = self.embed_tokens
        return table.weight.device if isinstance(table, nn.Embedding) else table.device

    def embed(self, token_ids_BL: Tensor) -> Tensor:
        """Looks up scaled embeddings, (B, L, D)."""
        return self.embed_tokens(token_ids_BL) * torch.tensor(self.config.width**0.5, dtype=self.dtype).item()

    def forward(
        self,
        x_BLD: Tensor,
        *,
        positions_BL: Tensor,
        cache: KeyValueCache | None = None,
        image_blocks_BL: Tensor | None = None,
        padding_BL: Tensor | None = None,
        memory: AdapterMemory | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Runs all layers.

        Args:
            x_BLD: Scaled embeddings, image features in place.
            positions_BL: Position of each token, rising by one along a row
                (padding aside).
            cache: Keys and values of earlier tokens; the new ones are added.
            image_blocks_BL: The image that each token belongs to, -1 for text.
                Tokens of an image see each other, so an image must not be split
                over two calls. ``None`` where there are none.
            padding_BL: True where a token is padding, which no token sees and
                whose own result is without meaning. ``None`` where there is none.
            memory: Features of images that the layers read through the adapter.
            last_only: Only the last token's hidden state is wanted: the others leave the last layer once their keys
                and values are stored.

        Returns:
            Hidden states after the last norm, (B, L, D), or (B, 1, D).
        """
        step = ForwardStep(
            config=self.config,
            positions_BL=positions_BL,
            cache=cache,
            image_blocks_BL=image_blocks_BL,
            padding_BL=padding_BL,
            dtype=x_BLD.dtype,
            memory=memory,
        )
        for number, layer in enumerate(self.layers, start=1):
            x_BLD = layer(x_BLD, step=step, last_only=last_only and number == len(self.layers))
        return self.norm(x_BLD)

    def logits(self, hidden_BLD: Tensor) -> Tensor:
        """Scores the vocabulary with the tied embedding: (..., D) to (..., V)."""
        # As a matrix: given a slice such as the last token, torch would first transpose a copy of the whole head.
        rows = hidden_BLD.reshape(-1, hidden_BLD.shape[-1])
        logits = F.linear(rows, self.embed_tokens.weight) if self.head is None else self.head(rows)
        logits_BLV = logits.view(*hidden_BLD.shape[:-1], -1)
        cap = self.config.logit_softcap
        return logits_BLV if cap is None else torch.tanh(logits_BLV / cap) * cap


class ForwardStep:
    """What all layers share in one forward pass: rotations, cache, visibility.

    Args:
        config: Of the decoder.
        positions_BL: Positions of the tokens.
        cache: See `Decoder.forward`. image_blocks_BL: See there. padding_BL: See there.
        dtype: Of the hidden states.
        memory: See `Decoder.forward`.
    """

    def __init__(
        self,
        *,
        config: DecoderConfig,
        positions_BL: Tensor,
        cache: KeyValueCache | None,
        image_blocks_BL: Tensor | None,
        padding_BL: Tensor | None,
        dtype: torch.dtype,
        memory: AdapterMemory | None = None,
    ) -> None:
        self.cache = cache
        self.memory = memory
        self.dtype = dtype
        self.positions_BL = positions_BL
        self.image_blocks_BL = image_blocks_BL
        self.padding_BL = padding_BL
        self.last_BL = last_seen(positions_BL, image_blocks_BL=image_blocks_BL)
        self.reach = 0 if image_blocks_BL is None else int((self.last_BL - positions_BL).max())
        self.windows: dict[LayerKind, int | None] = {"global": None, "sliding": config.window}
        self.rotations: dict[LayerKind, tuple[Tensor, Tensor]] = {
            "global": rotary_table(
                positions_BL,
                head_dim=config.head_dim,
                theta=config.rope_theta,
                scale=config.rope_scale,
                dtype=dtype,
            ),
            "sliding": rotary_table(
                positions_BL, head_dim=config.head_dim, theta=config.rope_theta_sliding, scale=1.0, dtype=dtype
            ),
        }
        # The stream after a layer, the norm of the next one, and what that makes of it, where they run together.
        self.normalized: tuple[Tensor, nn.Module, Tensor] | None = None
        self._views: dict[LayerKind, KeyView] = {}

    def view(self, kind: LayerKind, *, keys: int, keys_BS: Tensor | None) -> KeyView | None:
        """Says what the queries see in a layer, ``None`` where no mask is needed.

        Args:
            kind: Of the layer.
            keys: Number S of keys.
            keys_BS: Positions of the keys, as the cache returned them.
        """
        L = self.positions_BL.shape[1]
        window = self.windows[kind]
        if keys_BS is None and self.padding_BL is None:
            if L == 1 and (window is None or keys <= window):
                return None
            if self.image_blocks_BL is None and keys == L and (window is None or L <= window):
                return None
        if kind not in self._views:
            self._views[kind] = KeyView(
                positions_BL=self.positions_BL,
                last_BL=self.last_BL,
                keys_BS=self._key_positions(keys) if keys_BS is None else keys_BS,
                reach=self.reach,
                window=window,
                dtype=self.dtype,
            )
        return self._views[kind]

    def _key_positions(self, keys: int) -> Tensor:
        earlier = keys - self.positions_BL.shape[1]
        positions_BS = self.positions_BL
        if self.padding_BL is not None:
            positions_BS = positions_BS.masked_fill(self.padding_BL, -1)
        if earlier:
            back = torch.arange(-earlier, 0, device=positions_BS.device)
            positions_BS = torch.cat((self.positions_BL[:, :1] + back, positions_BS), dim=1)
        return positions_BS


class DecoderLayer(nn.Module):
    """Attention and MLP, each between two norms, added to the stream."""

    def __init__(self, config: DecoderConfig, *, index: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.width, eps=config.norm_eps)
        self.self_attn = Attention(config, index=index)
        self.post_attention_layernorm = RMSNorm(config.width, eps=config.norm_eps)
        self.pre_feedforward_layernorm = RMSNorm(config.width, eps=config.norm_eps)
        self.mlp = MLP(config)
        self.post_feedforward_layernorm = RMSNorm(config.width, eps=config.norm_eps)

    def forward(self, x_BLD: Tensor, *, step: ForwardStep, last_only: bool = False) -> Tensor:
        """Returns the stream after this layer, (B, L, D), or only that of the last token, (B, 1, D)."""
        if step.memory is not None:
            x_BLD = step.memory.read(x_BLD, layer=self.self_attn.index)
        update_BLD = self.self_attn(self.input_layernorm(x_BLD), step=step)
        if last_only:
            x_BLD, update_BLD = x_BLD[:, -1:], update_BLD[:, -1:]
        x_BLD = self.post_attention_layernorm.onto(x_BLD, update_D=update_BLD)
        update_BLD = self.mlp(self.pre_feedforward_layernorm(x_BLD))
        return self.post_feedforward_layernorm.onto(x_BLD, update_D=update_BLD)


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: DecoderConfig, *, index: int) -> None:
        super().__init__()
        self.index = index
        self.kind = config.kind(index)
        self.head_dim = config.head_dim
        self.scale = config.query_scalar**-0.5
        self.softcap = config.attention_softcap
        self.q_proj = nn.Linear(config.width, config.heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.width, config.kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.width, config.kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.heads * config.head_dim, config.width, bias=False)
        self.q_norm: RMSNorm | None = None
        self.k_norm: RMSNorm | None = None
        if config.qk_norm == "rms":
            self.q_norm = RMSNorm(config.head_dim, eps=config.norm_eps)
            self.k_norm = RMSNorm(config.head_dim, eps=config.norm_eps)

    def forward(self, x_BLD: Tensor, *, step: ForwardStep) -> Tensor:
        """Returns what the tokens gather from the keys they see, (B, L, D)."""
        q_BNLH, k_BKSH, v_BKSH = self.project(x_BLD, rotation=step.rotations[self.kind])
        keys_BS = None
        if step.cache is not None:
            k_BKSH, v_BKSH, keys_BS = step.cache.update(self.index, k_BKSH, v_BKSH)
        view = step.view(self.kind, keys=k_BKSH.shape[2], keys_BS=keys_BS)
        out_BNLH = self.gather(q_BNLH, k_BKSH=k_BKSH, v_BKSH=v_BKSH, view=view)
        return self.o_proj(out_BNLH.transpose(1, 2).flatten(2))

    def gather(self, q_BNLH: Tensor, *, k_BKSH: Tensor, v_BKSH: Tensor, view: KeyView | None) -> Tensor:
        """Computes attention, see `osler.model.attention.attend`."""
        return attend(q_BNLH, k_BKSH=k_BKSH, v_BKSH=v_BKSH, view=view, scale=self.scale, softcap=self.softcap)

    def project(self, x_BLD: Tensor, *, rotation: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Computes queries (B, N, L, H), keys and values (B, K, L, H), normalized and rotated.

        Args:
            x_BLD: The stream after its norm.
            rotation: Cosine and sine, each (B, 1, L, H).
        """
        q_BNLH, k_BKLH, v_BKLH = (
            projection(x_BLD).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.q_norm is not None and self.k_norm is not None:
            q_BNLH, k_BKLH = self.q_norm(q_BNLH), self.k_norm(k_BKLH)
        return rotate(q_BNLH, rotation=rotation), rotate(k_BKLH, rotation=rotation), v_BKLH


class MLP(nn.Module):
    """Gated MLP: ``down(gelu(gate(x)) * up(x))``."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.up_proj = nn.Linear(config.width, config.mlp_width, bias=False)
        self.down_proj = nn.Linear(config.mlp_width, config.width, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Returns (B, L, D)."""
        gate_BLF = F.gelu(self.gate_proj(x_BLD), approximate="tanh")
        return self.down_proj(gate_BLF * self.up_proj(x_BLD))
