"""Weights of 4 and 8 bits: formats, packing, kernels, plans, folders.

Names are imported when first used: asking for the kernels must not load torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osler.quant.folder import load_quantized_folder, quantize_to_folder
    from osler.quant.formats import WeightFormat, parse_format
    from osler.quant.kernels import choose_kernels
    from osler.quant.linear import QuantEmbedding, QuantLinear
    from osler.quant.packed import PackedWeight, dequantize, quantize
    from osler.quant.plan import QuantPlan, default_plan

_HOMES = {
    "PackedWeight": "packed",
    "QuantEmbedding": "linear",
    "QuantLinear": "linear",
    "QuantPlan": "plan",
    "WeightFormat": "formats",
    "choose_kernels": "kernels",
    "default_plan": "plan",
    "dequantize": "packed",
    "load_quantized_folder": "folder",
    "parse_format": "formats",
    "quantize": "packed",
    "quantize_to_folder": "folder",
}

__all__ = [
    "PackedWeight",
    "QuantEmbedding",
    "QuantLinear",
    "QuantPlan",
    "WeightFormat",
    "choose_kernels",
    "default_plan",
    "dequantize",
    "load_quantized_folder",
    "parse_format",
    "quantize",
    "quantize_to_folder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'osler.quant' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"osler.quant.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
