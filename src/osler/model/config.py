"""Configurations of the network: one row a variant.

Sources: the facts of Gemma 3 4B and MedGemma 1.5 (technical report arXiv
2604.05081; `transformers` Gemma3 and Siglip configurations), Gemma 2
(arXiv 2408.00118), Gemma 3 270M (its GGUF metadata).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from osler.errors import RequestError, unknown_name

LayerKind = Literal["sliding", "global"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """The Gemma decoder.

    Args:
        vocab: Rows of the embedding, which is also the language head.
        width: Residual stream. mlp_width: Hidden width of the gated MLP.
        layers: Decoder layers. heads: Query heads. kv_heads: Key and value heads.
        head_dim: Width of a head.
        window: Keys that a sliding layer sees, the query's own included.
        global_every: Layer ``i`` is global iff ``(i + 1) % global_every == 0``.
        rope_theta: Base of the global layers. rope_theta_sliding: Base of the sliding layers.
        rope_scale: Positions of global layers are divided by it.
        query_scalar: Attention scores are divided by its square root.
        qk_norm: RMSNorm on queries and keys (Gemma 3), or none (Gemma 2).
        attention_softcap: ``cap * tanh(scores / cap)`` (Gemma 2), or ``None``.
        logit_softcap: The same on the logits (Gemma 2), or ``None``.
        max_positions: Context length in tokens.
    """

    vocab: int
    width: int
    mlp_width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    window: int
    global_every: int = 6
    rope_theta: float = 1_000_000.0
    rope_theta_sliding: float = 10_000.0
    rope_scale: float = 1.0
    query_scalar: float = 256.0
    qk_norm: Literal["rms", "none"] = "rms"
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    norm_eps: float = 1e-6
    max_positions: int = 131_072

    def kind(self, layer: int) -> LayerKind:
        """Whether a layer sees the window or everything."""
        return "global" if (layer + 1) % self.global_every == 0 else "sliding"


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionConfig:
    """The SigLIP image tower.

    Args:
        image_size: Side of the square input, px. patch: Side of a patch, px.
    """

    image_size: int
    patch: int
    width: int
    mlp_width: int
    layers: int
    heads: int
    norm_eps: float = 1e-6

    @property
    def side(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsConfig:
    """The heads that read the image tower: boxes, findings, progression, embeddings.

    Args:
        findings: Keys of the findings that have a query of their own.
        trunk: Last layers of the tower that the heads have a copy of for themselves; 0 to read the tower's output.
        embedding: Width of the shared space of images and texts.
        heads: Of every attention.
        labels: Names that the box head was trained on; empty: any text may be asked for.
        slices: Slices of a volume that the box head reads at most, evenly spread.
        unsure: Calibrated probabilities between these two are "cannot tell".
        witness: Labels of which the box head must see one in an X-ray before findings are read off it; empty: none.
        boxes_on: What the box head was found good for: ``"all"`` pictures and volumes, or frontal ``"xrays"`` only.
        states: How states of findings are normalized: ``"layer"`` each by itself, ``"batch"`` by mean and variance
            over pictures, so that what differs between pictures is not drowned by what all share.
        taught: Labels that a second box head was taught on local scans.
        taught_on: What it was taught on, ``"pictures"``, ``"volumes"`` or both; it reads nothing else.
        told: Keys of the findings that the decoder is told of in words after the images, if it was trained so.
        told_levels: For each of these the four probabilities between the five degrees of the words; empty: the usual.

    Raises:
        RequestError: If a field makes no sense.
    """

    findings: tuple[str, ...]
    trunk: int = 0
    embedding: int = 256
    heads: int = 4
    labels: tuple[str, ...] = ()
    slices: int = 16
    unsure: tuple[float, float] = (0.5, 0.5)
    witness: tuple[str, ...] = ()
    boxes_on: Literal["all", "xrays"] = "all"
    states: Literal["layer", "batch"] = "layer"
    told: tuple[str, ...] = ()
    told_levels: tuple[tuple[float, ...], ...] = ()
    taught: tuple[str, ...] = ()
    taught_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("findings", "labels", "unsure", "witness", "told", "taught", "taught_on"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        object.__setattr__(self, "told_levels", tuple(tuple(levels) for levels in self.told_levels))
        for name, least in (("trunk", 0), ("embedding", 1), ("heads", 1), ("slices", 1)):
            if getattr(self, name) < least:
                raise RequestError(f"The heads' {name} is {getattr(self, name)!r}.", allowed=f"At least {least}.")
        if self.boxes_on not in ("all", "xrays"):
            raise RequestError(f"Boxes on {self.boxes_on!r}.", allowed='"all" or "xrays".')
        if unknown := [kind for kind in self.taught_on if kind not in ("pictures", "volumes")]:
            raise RequestError(f"Boxes taught on {unknown[0]!r}.", allowed='"pictures", "volumes" or both.')
        if self.states not in ("layer", "batch"):
            raise RequestError(f"States of findings by {self.states!r}.", allowed='"layer" or "batch".')
        if unknown := [key for key in self.told if key not in self.findings]:
            raise RequestError(f"The decoder is to be told of {unknown[0]!r}.", allowed=", ".join(self.findings))
        self._check_levels()
        low, high = self.unsure
        if not 0 <= low <= high <= 1:
            raise RequestError(f"Unsure from {low!r} to {high!r}.", allowed="Two rising numbers from 0 to 1.")

    def _check_levels(self) -> None:
        if self.told_levels and len(self.told_levels) != len(self.told):
            raise RequestError(
                f"Levels for {len(self.told_levels)} of {len(self.told)} findings that the decoder is told of.",
                allowed="Four numbers for each, or none.",
            )
        for key, levels in zip(self.told, self.told_levels, strict=False):
            if len(levels) != 4 or list(levels) != sorted(levels) or not 0 <= levels[0] <= levels[-1] <= 1:
                raise RequestError(f"The levels of {key!r} are {levels!r}.", allowed="Four rising numbers from 0 to 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalConfig:
    """Attention over time points and the events of a record.

    Args:
        layers: Of attention over time points, then events, then an MLP.
        heads: Of every attention.

    Raises:
        RequestError: If a field makes no sense.
    """

    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        if self.layers < 1 or self.heads < 1:
            raise RequestError(
                f"Attention over time with {self.layers!r} layers of {self.heads!r} heads.", allowed="At least 1 each."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """Cross-attention from the decoder to features of images, without tokens in the context.

    Args:
        every: Before layer ``i`` of the decoder iff ``(i + 1) % every == 0``.
        heads: Attention heads. head_dim: Width of each.
        pool: Side of the squares of patches that are averaged to one feature.

    Raises:
        RequestError: If a field makes no sense.
    """

    every: int = 6
    heads: int = 4
    head_dim: int = 64
    pool: int = 2

    def __post_init__(self) -> None:
        for name in ("every", "heads", "head_dim", "pool"):
            if getattr(self, name) < 1:
                raise RequestError(f"The adapter's {name} is {getattr(self, name)!r}.", allowed="At least 1.")

    def layers(self, decoder: DecoderConfig) -> tuple[int, ...]:
        """Numbers of the decoder's layers that have one."""
        return tuple(index for index in range(decoder.layers) if (index + 1) % self.every == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIds:
    """Ids of the tokens with a meaning of their own.

    Args:
        box: Stands for a box in an answer: ``<unused0>``, which no text encodes to.
    """

    pad: int = 0
    eos: int = 1
    bos: int = 2
    box: int = 6
    start_of_turn: int = 105
    end_of_turn: int = 106
    start_of_image: int = 255_999
    end_of_image: int = 256_000
    image: int = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeConfig:
    """The volumetric path: tubelets and what mixes slabs.

    Args:
        depth: Slices of a tubelet, a power of two: only then are equal slices averaged without rounding.
        layers: Mixing layers between tower and decoder; 0 only merges.
        heads: Attention heads of a mixing layer.
        mlp_width: Hidden width of a mixing layer's MLP.
        reach: Slabs that a slab sees on either side of it.
        wavelengths: Shortest and longest wavelength of the positions, mm.
        frequencies: Wavelengths an axis gets in the positions that are added to a token.

    Raises:
        RequestError: If a field makes no sense.
    """

    heads: int
    mlp_width: int
    depth: int = 4
    layers: int = 2
    reach: int = 8
    wavelengths: tuple[float, float] = (8.0, 1024.0)
    frequencies: int = 8

    def __post_init__(self) -> None:
        object.__setattr__(self, "wavelengths", tuple(self.wavelengths))
        if self.depth < 1 or self.depth & (self.depth - 1):
            raise RequestError(f"A tubelet of {self.depth!r} slices.", allowed="A power of two, such as 4.")
        for name, least in (("layers", 0), ("heads", 1), ("mlp_width", 1), ("reach", 0), ("frequencies", 1)):
            if getattr(self, name) < least:
                raise RequestError(f"The volume's {name} is {getattr(self, name)!r}.", allowed=f"At least {least}.")
        shortest, longest = self.wavelengths
        if not 0 < shortest < longest:
            raise RequestError(
                f"Wavelengths from {shortest!r} to {longest!r} mm.", allowed="Two rising numbers above zero."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OslerConfig:
    """The whole network: decoder, image tower and projector, and the parts that a variant adds.

    Args:
        name: The variant.
        image_tokens: Soft tokens an image takes after pooling; a square number.
        vision: ``None`` for a text-only network.
        heads: ``None`` without trained heads. temporal: ``None`` without attention over time; needs ``heads``.
        volume: Parts of the volumetric path that are learned; without them it averages.
        adapter: Cross-attention from the decoder to features of images, or ``None``.
    """

    name: str
    decoder: DecoderConfig
    vision: VisionConfig | None
    image_tokens: int = 256
    heads: HeadsConfig | None = None
    temporal: TemporalConfig | None = None
    tokens: TokenIds = field(default_factory=TokenIds)
    volume: VolumeConfig | None = None
    adapter: AdapterConfig | None = None


_GEMMA3_4B = DecoderConfig(
    vocab=262_208,
    width=2560,
    mlp_width=10_240,
    layers=34,
    heads=8,
    kv_heads=4,
    head_dim=256,
    window=1024,
    rope_scale=8.0,
)
_GEMMA3_270M = DecoderConfig(
    vocab=262_144,
    width=640,
    mlp_width=2048,
    layers=18,
    heads=4,
    kv_heads=1,
    head_dim=256,
    window=512,
    max_positions=32_768,
)
_GEMMA2_2B = DecoderConfig(
    vocab=256_000,
    width=2304,
    mlp_width=9216,
    layers=26,
    heads=8,
    kv_heads=4,
    head_dim=256,
    window=4096,
    global_every=2,
    rope_theta=10_000.0,
    qk_norm="none",
    attention_softcap=50.0,
    logit_softcap=30.0,
    max_positions=8192,
)
_SIGLIP_896 = VisionConfig(image_size=896, patch=14, width=1152, mlp_width=4304, layers=27, heads=16)
_SIGLIP_MINI = VisionConfig(image_size=256, patch=16, width=320, mlp_width=1280, layers=10, heads=5)

_CONFIGS = {
    "medgemma-1.5-4b": OslerConfig(name="medgemma-1.5-4b", decoder=_GEMMA3_4B, vision=_SIGLIP_896),
    "osler-mini": OslerConfig(name="osler-mini", decoder=_GEMMA3_270M, vision=_SIGLIP_MINI, image_tokens=64),
    "gemma-2-2b": OslerConfig(name="gemma-2-2b", decoder=_GEMMA2_2B, vision=None),
    "debug": OslerConfig(
        name="debug",
        decoder=DecoderConfig(
            vocab=512,
            width=64,
            mlp_width=128,
            layers=7,
            heads=4,
            kv_heads=2,
            head_dim=16,
            window=24,
            rope_scale=8.0,
            query_scalar=16.0,
            max_positions=4096,
        ),
        vision=VisionConfig(image_size=32, patch=4, width=48, mlp_width=96, layers=2, heads=4),
        image_tokens=4,
        tokens=TokenIds(start_of_image=500, end_of_image=501, image=511),
    ),
}

_PARTS_OF_DEBUG = {
    "heads": HeadsConfig(findings=("pleural-effusion", "pneumothorax"), trunk=1, embedding=16, slices=4),
    "temporal": TemporalConfig(layers=2, heads=4),
    "volume": VolumeConfig(heads=4, mlp_width=64, reach=3, frequencies=4),
    "adapter": AdapterConfig(every=3, heads=2, head_dim=16, pool=2),
}
_PARTS_OF_4B = {
    "heads": HeadsConfig(findings=("pleural-effusion", "pneumothorax"), trunk=2),
    "temporal": TemporalConfig(heads=8),
    "volume": VolumeConfig(heads=16, mlp_width=2304),
    "adapter": AdapterConfig(heads=8, head_dim=128, pool=4),
}
_PARTS_OF_MINI = {
    "heads": HeadsConfig(findings=("pleural-effusion", "pneumothorax"), trunk=3),
    "temporal": TemporalConfig(),
    "volume": VolumeConfig(heads=5, mlp_width=640),
    "adapter": AdapterConfig(),
}
# The same networks with every part that Osler adds to the published one.
_CONFIGS |= {
    "debug-parts": replace(_CONFIGS["debug"], name="debug-parts", **_PARTS_OF_DEBUG),
    "osler-mini-parts": replace(_CONFIGS["osler-mini"], name="osler-mini-parts", **_PARTS_OF_MINI),
    "medgemma-1.5-4b-parts": replace(_CONFIGS["medgemma-1.5-4b"], name="medgemma-1.5-4b-parts", **_PARTS_OF_4B),
}


def config_names() -> tuple[str, ...]:
    """The names that `get_config` knows."""
    return tuple(_CONFIGS)


def get_config(name: str) -> OslerConfig:
    """Returns the configuration of a variant.

    Raises:
        RequestError: If the name is unknown; the message has the nearest match.
    """
    if name not in _CONFIGS:
        raise unknown_name("configuration", name=name, known=_CONFIGS)
    return _CONFIGS[name]
