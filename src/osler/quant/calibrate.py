"""Quantizes a decoder layer by layer, each for the inputs that the layers before it give it.

One layer is held in float32 at a time, beside the hidden states of the samples
and the second moments of the layer's inputs: of a network of 4 billion weights
less than 4 GB. The inputs of a layer come from the layers before it as they
were quantized, so that a layer can make up for errors made earlier.

Factors of the inputs (`osler.quant.activation_scale`) are folded into what
produces the inputs, so that the network stays what it is:

==============  =======================================
weight          what its factors are folded into
==============  =======================================
queries, keys,  the norm before attention
values
attention out   the rows of the values
gate, up        the norm before the MLP
down            the rows of up
==============  =======================================

Dimensions: L tokens, D width, N outputs, K inputs, J heads of queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from osler.model.config import DecoderConfig, OslerConfig
from osler.model.decoder import DecoderLayer, ForwardStep
from osler.model.norm import RMSNorm
from osler.model.osler import image_blocks
from osler.progress import Progress
from osler.quant.activation_scale import search_factors
from osler.quant.calibration import Calibration, CalibrationSample, folds_factors
from osler.quant.formats import WeightFormat
from osler.quant.gptq import Gptq, counted
from osler.quant.input_moment import InputMoment, bfloat16_products
from osler.quant.large_blocks import large_blocks_apart
from osler.quant.network import keeps_blocks, pack_product, part_names
from osler.quant.packed import PackedWeight, dequantize, quantize, quantize_rows
from osler.quant.plan import EMBEDDING, QuantPlan
from osler.quant.rounding import Nearest, Rounding
from osler.quant.source import WeightSource
from osler.weights.assemble import empty_network

_PRODUCTS = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
_NORM = "language_model.norm"
_EYES = ("vision_tower.", "multi_modal_projector.")


@dataclass(slots=True, kw_only=True, eq=False)
class _Stream:
    """The hidden states of one sample on their way through the layers."""

    x_1LD: Tensor
    step: ForwardStep


class CalibratedProducts:
    """Gives the packed products of a decoder, which must be asked for in the order of its layers, the embedding last.

    Args:
        source: The float weights. config: Of the network.
        plan: Formats. calibration: Samples and method.
        dtype: In which norms will be stored: factors are folded into what is left after rounding to it.
        on_progress: Called with ``"calibrate"``, layers done, layers in all.
    """

    def __init__(
        self,
        source: WeightSource,
        *,
        config: OslerConfig,
        plan: QuantPlan,
        calibration: Calibration,
        dtype: torch.dtype,
        on_progress: Progress | None = None,
    ) -> None:
        self._source, self._config, self._plan, self._dtype = source, config.decoder, plan, dtype
        self._method = calibration.method
        self._on_progress = on_progress
        with large_blocks_apart():
            self._streams = _embedded(calibration.samples, source=source, config=config)
        read = [name for name in source.shapes() if name.startswith(_EYES) or name == f"{EMBEDDING}.weight"]
        source.release(read)  # until they are quantized themselves
        self._packed: dict[str, list[PackedWeight]] = {}
        self._norms: dict[str, Tensor] = {}
        self._done = 0

    def pack(self, product: str) -> list[PackedWeight]:
        """Returns the parts of a product; its whole layer is quantized when its first product is asked for."""
        if product == EMBEDDING:
            assert self._done == self._config.layers
            return self._embedding()
        if product not in self._packed:
            assert product.startswith(f"language_model.layers.{self._done}."), product
            self._quantize_layer(self._done)
            self._done += 1
            if self._on_progress is not None:
                self._on_progress("calibrate", self._done, self._config.layers)
        return self._packed.pop(product)

    @property
    def held(self) -> list[str]:
        """Products that are quantized and have not been asked for: of one layer at most."""
        return list(self._packed)

    def norm(self, name: str) -> Tensor | None:
        """Returns a norm that factors were folded into, ``None`` for any other tensor."""
        return self._norms.get(name)

    @large_blocks_apart()
    @torch.inference_mode()
    def _quantize_layer(self, number: int) -> None:
        stem = f"language_model.layers.{number}"
        layer = _float_layer(self._source, config=self._config, number=number)
        moments = self._moments(layer)
        forms = {product: self._form(f"{stem}.{product}") for product in _PRODUCTS}
        if self._folds:
            for name, folded in fold_factors(layer, moments=moments, forms=forms, dtype=self._dtype).items():
                self._norms[f"{stem}.{name}.weight"] = folded
        for product in _PRODUCTS:
            self._packed[f"{stem}.{product}"] = self._pack_calibrated(
                f"{stem}.{product}", parts=_linears(layer, product), moment_KK=moments.pop(product)
            )
        with bfloat16_products():
            for stream in self._streams:
                stream.x_1LD = layer(stream.x_1LD, step=stream.step)

    def _pack_calibrated(self, name: str, *, parts: Sequence[nn.Linear], moment_KK: Tensor) -> list[PackedWeight]:
        """Quantizes a product, and puts what it is worth then into the layers that it joins."""
        if not self._folds and keeps_blocks(self._source, name, plan=self._plan):
            packed = pack_product(self._source, name, plan=self._plan)
        else:
            form = self._form(name)
            weight_NK = torch.cat([part.weight for part in parts])
            rounding = self._rounding(moment_KK, name=name)
            packed = [quantize(weight_NK, form=form, rounding=rounding, name=name)]
        found_NK = torch.cat([dequantize(weight) for weight in packed])
        for part, rows_NK in zip(parts, found_NK.split([part.out_features for part in parts]), strict=True):
            part.weight.copy_(rows_NK)
        return packed

    def _moments(self, layer: DecoderLayer) -> dict[str, Tensor]:
        """Second moments of the inputs of each product."""
        moments: dict[str, InputMoment] = {}
        hooks = []
        for product in _PRODUCTS:
            first = _linears(layer, product)[0]
            moments[product] = InputMoment(first.in_features)
            hooks.append(first.register_forward_pre_hook(partial(_add_inputs, moments[product])))
        with bfloat16_products():
            for stream in self._streams:
                layer(stream.x_1LD, step=stream.step)
            for hook in hooks:
                hook.remove()
            return {product: moment.mean() for product, moment in moments.items()}

    @property
    def _folds(self) -> bool:
        """Whether factors are folded, so that no block of the source can be kept."""
        return folds_factors(self._method)

    def _form(self, product: str) -> WeightFormat:
        form = self._plan.format(product)
        assert form is not None, product
        return form

    def _rounding(self, moment_KK: Tensor, *, name: str) -> Rounding:
        if self._method in ("gptq", "awq-gptq"):
            return Gptq(moment_KK, name=name)
        return Nearest(counted_K=counted(moment_KK.diagonal()))

    @torch.inference_mode()
    def _embedding(self) -> list[PackedWeight]:
        """The embedding is the head too: its inputs are the hidden states after the last norm."""
        form = self._form(EMBEDDING)
        if form.bits == 8 or keeps_blocks(self._source, EMBEDDING, plan=self._plan):
            return pack_product(self._source, EMBEDDING, plan=self._plan)
        norm = RMSNorm(self._config.width, eps=self._config.norm_eps)
        norm.weight = nn.Parameter(self._source.tensor(f"{_NORM}.weight", dtype=torch.float32), requires_grad=False)
        moment = InputMoment(self._config.width)
        for stream in self._streams:
            moment.add(norm(stream.x_1LD))
        rounding = self._rounding(moment.mean(), name=EMBEDDING)
        name = f"{EMBEDDING}.weight"
        rows, columns = self._source.shapes()[name]
        read = partial(self._source.rows, name)
        return [quantize_rows(read, rows=rows, columns=columns, form=form, rounding=rounding, name=EMBEDDING)]


def _add_inputs(moment: InputMoment, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    moment.add(inputs[0])


def _linears(layer: DecoderLayer, product: str) -> list[nn.Linear]:
    """The linear layers that a product joins."""
    found = [layer.get_submodule(name.removesuffix(".weight")) for name in part_names(product)]
    assert all(isinstance(part, nn.Linear) for part in found)
    return found  # type: ignore[return-value]


def _float_layer(source: WeightSource, *, config: DecoderConfig, number: int) -> DecoderLayer:
    """One layer in float32, whose weights may be written to."""
    with torch.device("meta"):
        layer = DecoderLayer(config, index=number)
    state = {}
    for name, value in layer.state_dict().items():
        whole = f"language_model.layers.{number}.{name}"
        read = source.rows(whole, 0, len(value)) if value.dim() == 2 else source.tensor(whole, dtype=torch.float32)
        state[name] = read.to(torch.float32, copy=True)
    layer.load_state_dict(state, assign=True)
    return layer.requires_grad_(False).eval()


def fold_factors(
    layer: DecoderLayer, *, moments: Mapping[str, Tensor], forms: Mapping[str, WeightFormat], dtype: torch.dtype
) -> dict[str, Tensor]:
    """Multiplies columns by factors and divides what produces their inputs.

    Args:
        layer: Float32; its weights and norms are overwritten.
        moments: Of the inputs of each product; become those of the divided inputs.
        forms: In which products will be stored.
        dtype: In which norms will be stored.

    Returns:
        The norms that changed, by their names in the layer.
    """
    attention = layer.self_attn
    values = attention.v_proj.out_features // attention.head_dim
    queries = attention.q_proj.out_features // attention.head_dim // values
    makers = {"self_attn.o_proj": (attention.v_proj, (values, queries)), "mlp.down_proj": (layer.mlp.up_proj, (1, 1))}
    for product, (maker, heads) in makers.items():
        (taker,) = _linears(layer, product)
        factor_K = search_factors(taker.weight, moment_KK=moments[product], form=forms[product], heads=heads)
        taker.weight.mul_(factor_K)
        maker.weight.div_(factor_K.view(heads[0], heads[1], -1)[:, 0].reshape(-1, 1))
        _divide(moments[product], factor_K)
    folded = {}
    for product, name in (
        ("self_attn.qkv_proj", "input_layernorm"),
        ("mlp.gate_up_proj", "pre_feedforward_layernorm"),
    ):
        takers, norm = _linears(layer, product), layer.get_submodule(name)
        weight_NK = torch.cat([taker.weight for taker in takers])
        wanted_K = search_factors(weight_NK, moment_KK=moments[product], form=forms[product])
        scale_K = 1 + norm.weight
        stored_K = (scale_K / wanted_K - 1).to(dtype)
        # What the stored norm divides by, to the last bit; nothing where its factor would be zero.
        factor_K = torch.where(stored_K == -1, 1.0, scale_K / (1 + stored_K.float()))
        folded[name] = torch.where(stored_K == -1, norm.weight.to(dtype), stored_K)
        norm.weight.copy_(folded[name])
        for taker in takers:
            taker.weight.mul_(factor_K)
        _divide(moments[product], factor_K)
    return folded


def _divide(moment_KK: Tensor, factor_K: Tensor) -> None:
    """Makes the moment that of inputs divided by factors."""
    moment_KK.div_(factor_K).div_(factor_K[:, None])


def _embedded(samples: Sequence[CalibrationSample], *, source: WeightSource, config: OslerConfig) -> list[_Stream]:
    """The samples as the first layer sees them."""
    encode = _image_encoder(source, config=config) if any(sample.pixels is not None for sample in samples) else None
    known: dict[int, Tensor] = {}
    streams = []
    for sample in samples:
        ids_1L = torch.from_numpy(sample.token_ids).view(1, -1)
        is_image_1L = ids_1L == config.tokens.image
        text_ids = ids_1L.masked_fill(is_image_1L, config.tokens.pad)[0].tolist()
        for token in text_ids:
            if token not in known:
                known[token] = source.rows(f"{EMBEDDING}.weight", token, token + 1)[0]
        x_1LD = torch.stack([known[token] for token in text_ids])[None] * config.decoder.width**0.5
        blocks = None
        if sample.pixels is not None and encode is not None:
            with torch.inference_mode(), bfloat16_products():
                features_NTD = encode(torch.from_numpy(sample.pixels.array()))
            x_1LD = x_1LD.masked_scatter(is_image_1L[..., None], features_NTD.to(x_1LD))
            blocks = image_blocks(ids_1L, image_token=config.tokens.image)
        step = ForwardStep(
            config=config.decoder,
            positions_BL=torch.arange(ids_1L.shape[1])[None],
            cache=None,
            image_blocks_BL=blocks,
            padding_BL=None,
            dtype=torch.float32,
        )
        streams.append(_Stream(x_1LD=x_1LD, step=step))
    return streams


def _image_encoder(source: WeightSource, *, config: OslerConfig) -> Callable[[Tensor], Tensor]:
    """The image tower and its projector, each layer read when its turn comes and let go after: whole, it is 1.7 GB."""
    model = empty_network(config).requires_grad_(False).eval()
    if model.vision is not None:
        layers = [f"vision_tower.encoder.layers.{number}" for number in range(len(model.vision.encoder.layers))]
        for name in ("vision_tower.embeddings", *layers, "vision_tower.post_layernorm", "multi_modal_projector"):
            part = model.get_submodule(name)
            part.register_forward_pre_hook(partial(_read_part, name, source))
            part.register_forward_hook(_let_go)
    return model.encode_images


def _read_part(name: str, source: WeightSource, part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    state = {entry: source.tensor(f"{name}.{entry}", dtype=torch.float32) for entry in part.state_dict()}
    part.load_state_dict(state, assign=True)


def _let_go(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    part.to("meta")
