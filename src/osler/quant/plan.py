"""Which product of a network is stored in which form.

A plan names the products of the decoder as `osler.model.pack` joins them, the
embedding, which is the language head too, and the matrices of the image tower
and of what else reads images (`osler.quant.matrices`). What it does not name
stays in floating point: norms, biases, the projector, small matrices.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from osler.errors import CheckpointError, RequestError, unknown_name
from osler.model.config import DecoderConfig, OslerConfig
from osler.quant.formats import WeightFormat, parse_format
from osler.quant.matrices import matrices
from osler.weights.config_json import config_to_dict

EMBEDDING = "language_model.embed_tokens"
_VERSION = 1

# Formats of the layers and of the embedding, which is the head. With an offset beside each scale, layers of 4 bits take
# 3% more of the embedded model and lose a third less (benchmarks/quantisation.md). Its head was released at 8 bits.
_DEFAULTS = {4: ("int4-g32-asym", "int8-g32"), 8: ("int8-g32", "int8-g32")}

PARTS = ("attention", "down", "ends")
"""Parts of the layers that can be kept: all products of the attention; the MLP's second product; the first and the last
layer. What each costs and gives back: benchmarks/quantisation.md."""

_KEPT = "int8-g32"

FLOAT = "bfloat16"
"""In place of a format: not quantized."""

_TOWER = "int8-g32"
# Whatever the bits: at 8 the image tower and the heads lose nothing, at 4 one of two sets of heads lost 0.8 points of
# AUROC (benchmarks/quantisation.md).


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantPlan:
    """How the products of one network are stored.

    Args:
        bits: What was asked for.
        model: Digest of the configuration of the network that the plan is for.
        formats: Format names by the names of products.
    """

    bits: int
    model: str
    formats: Mapping[str, str]

    def format(self, name: str) -> WeightFormat | None:
        """Returns the format of a product, ``None`` if it stays in floating point."""
        found = self.formats.get(name)
        return None if found is None else parse_format(found)

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of what is stored beside the decoder, see `osler.quant.matrices`."""
        return tuple(name for name in self.formats if not name.startswith("language_model."))

    def to_json(self) -> str:
        """Returns the plan as one line of JSON, as the metadata of a file hold it."""
        content = {"version": _VERSION, "bits": self.bits, "model": self.model, "formats": dict(self.formats)}
        return json.dumps(content, sort_keys=True)

    @staticmethod
    def from_json(text: str, *, source: str) -> QuantPlan:
        """Reads what `to_json` wrote.

        Raises:
            CheckpointError: If it is damaged, or names bits or formats that do not exist.
        """
        try:
            content = json.loads(text)
            if content["version"] != _VERSION:
                raise ValueError(f"version {content['version']!r}")
            if content["bits"] not in _DEFAULTS:
                raise ValueError(f"weights of {content['bits']!r} bits do not exist here, only of 4 and 8")
            plan = QuantPlan(bits=int(content["bits"]), model=str(content["model"]), formats=dict(content["formats"]))
            for name in plan.formats.values():
                parse_format(name)
        except (ValueError, KeyError, TypeError, AttributeError, RequestError) as error:
            raise CheckpointError(
                f"The plan of the quantized weights in {source!r} cannot be read: {error}.",
                next_step="Quantize the model again.",
            ) from error
        return plan

    def require(self, config: OslerConfig, *, source: str) -> None:
        """Refuses to be used for another network.

        Raises:
            CheckpointError: If the configuration is not the one that the plan was made for.
        """
        if self.model != config_digest(config):
            raise CheckpointError(
                f"The quantized weights in {source!r} have a plan of another model: made for {self.model}, "
                f"and config.json describes {config_digest(config)}.",
                next_step="Copy config.json and the weights from the same folder, or quantize the model again.",
            )


def config_digest(config: OslerConfig) -> str:
    """Returns a digest of a network's sizes and variants; its name does not count."""
    content = {key: value for key, value in config_to_dict(config).items() if key != "name"}
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def default_plan(
    config: OslerConfig,
    *,
    bits: int,
    layers: str | None = None,
    embedding: str | None = None,
    tower: str | None = None,
    keep: Sequence[str] = (),
) -> QuantPlan:
    """Plans a network: the usual formats, or the ones that are named.

    Args:
        config: Of the network.
        bits: 4 or 8.
        layers: Format of the decoder's layers, of as many bits. embedding: Of the embedding and head, of 4 or 8.
        tower: Of the image tower, the heads and the adapter, or `FLOAT`; matrices whose inputs its groups do not divide
            get one scale for each output.
        keep: Of `PARTS`: those that are stored at 8 bits whatever the layers are.

    Raises:
        RequestError: If bits, a format or a part do not exist, layers have other bits than were asked for, or a group
            that was asked for does not divide a weight.
    """
    if bits not in _DEFAULTS:
        raise RequestError(f"Weights of {bits!r} bits do not exist here.", allowed="Quantized: 4 or 8 bits.")
    if layers is not None:
        _require_bits(layers, bits=bits)
    usual_layers, usual_embedding = _DEFAULTS[bits]
    for part in keep:
        if part not in PARTS:
            raise unknown_name("part to keep at 8 bits", name=part, known=PARTS)
    formats = {}
    for name, _, columns in products(config.decoder):
        asked, usual = (embedding, usual_embedding) if name == EMBEDDING else (layers, usual_layers)
        if any(_belongs(name, part=part, layers=config.decoder.layers) for part in keep):
            asked, usual = None, _KEPT
        if asked is not None:
            parse_format(asked).require_fit(columns, name=name)
        formats[name] = _fitting(asked or usual, columns=columns)
    if tower != FLOAT:
        for name, (_, columns) in matrices(config).items():
            formats[name] = _fitting(tower or _TOWER, columns=columns)
    return QuantPlan(bits=bits, model=config_digest(config), formats=formats)


def _require_bits(layers: str, *, bits: int) -> None:
    """Refuses a format of the layers that has other bits than the weights are said to have."""
    form = parse_format(layers)
    if form.bits != bits:
        raise RequestError(
            f"The format {layers!r} for the layers has {form.bits} bits, and {bits} were asked for.",
            allowed=f"For the layers: int{bits}-g32, -g64, -g128 or int{bits}-channel, also with -asym.",
            next_step=f"Ask for {form.bits} bits, or keep parts of the layers at 8 bits ({', '.join(PARTS)}).",
        )


def _fitting(name: str, *, columns: int) -> str:
    """A format, with one scale for each output where its groups do not divide the inputs."""
    form = parse_format(name)
    if form.group is not None and columns % form.group:
        form = WeightFormat(bits=form.bits, group=None, zero=form.zero)
    return form.name


def _belongs(name: str, *, part: str, layers: int) -> bool:
    if part == "ends":
        return any(name.startswith(f"language_model.layers.{number}.") for number in (0, layers - 1))
    return {"attention": ".self_attn.", "down": ".down_proj"}[part] in name


def products(config: DecoderConfig) -> Iterator[tuple[str, int, int]]:
    """Yields name, outputs and inputs of every product of a decoder."""
    yield EMBEDDING, config.vocab, config.width
    heads = config.heads * config.head_dim
    for number in range(config.layers):
        layer = f"language_model.layers.{number}"
        yield f"{layer}.self_attn.qkv_proj", heads + 2 * config.kv_heads * config.head_dim, config.width
        yield f"{layer}.self_attn.o_proj", config.width, heads
        yield f"{layer}.mlp.gate_up_proj", 2 * config.mlp_width, config.width
        yield f"{layer}.mlp.down_proj", config.width, config.mlp_width


def planned_bytes(config: OslerConfig, *, plan: QuantPlan) -> int:
    """Returns what the planned products take in memory, bytes."""
    total = 0
    for name, rows, columns in products(config.decoder):
        chosen = plan.format(name)
        total += rows * columns * 2 if chosen is None else chosen.bytes(rows, columns=columns)
    return total
