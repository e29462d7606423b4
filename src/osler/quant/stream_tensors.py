"""The tensors of a quantized model, one after the other, and their places in the file beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from osler.progress import Progress
from osler.quant.calibrate import CalibratedProducts
from osler.quant.calibration import Calibration, folds_factors
from osler.quant.formats import parse_format
from osler.quant.matrices import matrices
from osler.quant.network import pack_product, part_names, planned_parts, product_tensors
from osler.quant.open import OpenedModel
from osler.quant.packed import PackedWeight, layout_shapes
from osler.quant.plan import EMBEDDING, QuantPlan, products
from osler.quant.stream_file import Place
from osler.weights.assemble import empty_network


class StreamTensors:
    """Yields the tensors of a quantized model in the order of its places.

    Args:
        opened: The float model.
        plan: What was asked for; `StreamTensors.plan` is what will be stored: GGUF blocks may keep their formats.
        dtype: Of what is not quantized.
        calibration: How to round; to the nearest if not given.
        on_progress: Called with ``"calibrate"``, layers done, layers in all, or with ``"quantize"`` and products.
    """

    def __init__(
        self,
        opened: OpenedModel,
        *,
        plan: QuantPlan,
        dtype: torch.dtype,
        calibration: Calibration | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._opened, self._dtype, self._on_progress = opened, dtype, on_progress
        self._asked, self._calibration = plan, calibration
        decoder = {product: (rows, columns) for product, rows, columns in products(opened.config.decoder)}
        self._sizes = decoder | matrices(opened.config)
        self._matrices = plan.matrices
        taken = product_tensors(opened.config) | {f"{name}.weight" for name in self._matrices}
        self._plain = [name for name in empty_network(opened.config).state_dict() if name not in taken]
        # The embedding is the head too, whose inputs are known when all layers are done.
        layers = [name for name in decoder if name != EMBEDDING]
        self._products = [*layers, EMBEDDING, *self._matrices]
        # A first pass over the formats, without reading weights, fixes what is stored.
        self.plan = replace(plan, formats=self._stored_formats())

    def places(self) -> dict[str, Place]:
        """Type and shape of each tensor."""
        places: dict[str, Place] = {}
        for name, text in self.plan.formats.items():
            form = parse_format(text)
            rows, columns = self._shape(name)
            codes, scale = layout_shapes(form, rows=rows, columns=columns)
            places[f"{name}.codes"] = (torch.uint8, codes)
            places[f"{name}.scale"] = (torch.float16, scale)
            if form.zero == "asymmetric":
                places[f"{name}.offset"] = (torch.float16, scale)
        shapes = self._opened.source.shapes()
        return places | {name: (self._dtype, shapes[name]) for name in self._plain}

    def tensors(self) -> Iterator[Tensor]:
        """Quantizes as it goes."""
        calibrated = self._calibrated()
        for number, name in enumerate(self._products, start=1):
            for part in self._pack(name, calibrated=calibrated):
                yield part.codes
                yield part.scale
                if part.offset is not None:
                    yield part.offset
            self._opened.source.release(part_names(name))
            if self._on_progress is not None and calibrated is None:
                self._on_progress("quantize", number, len(self._products))
        for name in self._plain:
            folded = None if calibrated is None else calibrated.norm(name)
            yield self._opened.source.tensor(name, dtype=self._dtype) if folded is None else folded
            self._opened.source.release([name])

    def _calibrated(self) -> CalibratedProducts | None:
        if self._calibration is None:
            return None
        return CalibratedProducts(
            self._opened.source,
            config=self._opened.config,
            plan=self._asked,
            calibration=self._calibration,
            dtype=self._dtype,
            on_progress=self._on_progress,
        )

    def _pack(self, name: str, *, calibrated: CalibratedProducts | None) -> Sequence[PackedWeight]:
        if calibrated is not None and name not in self._matrices:
            return calibrated.pack(name)
        return pack_product(self._opened.source, name, plan=self._asked)

    def _stored_formats(self) -> dict[str, str]:
        formats: dict[str, str] = {}
        folds = self._calibration is not None and folds_factors(self._calibration.method)
        for name in self._products:
            if folds and name != EMBEDDING and name not in self._matrices:
                formats[name] = self._asked.formats[name]
                continue
            parts = planned_parts(self._opened.source, name, plan=self._asked)
            if len(parts) == 1:
                formats[name] = parts[0].name
            else:
                formats |= {f"{name}.{number}": part.name for number, part in enumerate(parts)}
        return formats

    def _shape(self, name: str) -> tuple[int, int]:
        if name in self._sizes:
            return self._sizes[name]
        product, _, number = name.rpartition(".")
        rows, columns = self._opened.source.shapes()[part_names(product)[int(number)]]
        return rows, columns
