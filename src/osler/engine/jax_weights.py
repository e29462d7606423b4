"""Loading for JAX what its products are packed in: 4 and 8 bits, and 16 laid out for Osler's kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from osler.engine.device import Choice
from osler.quant.folder import load_quantized_folder
from osler.quant.kernels import KernelChoice, TorchKernels
from osler.quant.network import product_tensors
from osler.quant.open import load_and_quantize
from osler.weights import Checkpoint, load_checkpoint
from osler.weights.assemble import DTypeName, empty_network

if TYPE_CHECKING:
    from osler.jax.kernels import KernelChoice as JaxKernelChoice
    from osler.jax.kernels import Kernels
    from osler.jax.runner import JaxRunner


def jax_kernels(device: str) -> JaxKernelChoice:
    """Chooses what multiplies by packed weights on a device of JAX.

    Raises:
        RequestError: If JAX does not see the device, or kernels are asked for that are not here.
    """
    from osler.jax.devices import find_device
    from osler.jax.kernels import choose_kernels

    return choose_kernels(platform=find_device(device).platform)


def quantized_jax(
    name: str, *, folder: Path | None, bits: int, dtype: DTypeName, device: str
) -> tuple[Checkpoint, JaxRunner, Choice[str]]:
    """Loads weights of 4 or 8 bits: the plans and folders of PyTorch, without a floating copy.

    Args:
        name: Of the model, to be quantized while it loads.
        folder: Of weights that are quantized already, in place of the name, or ``None``.
        bits: 4 or 8.
        dtype: Of the activations and of what is not quantized.
        device: See `osler.engine.backend.to_jax`.

    Returns:
        Checkpoint, runner, and what multiplies, with the reason.

    Raises:
        RequestError: If JAX does not see the device, or kernels are asked for that are not here.
        CheckpointError: If the weights cannot be read or do not fit the twin.
    """
    from osler.jax.network import PackedTensors
    from osler.jax.runner import JaxRunner

    chosen = jax_kernels(device)
    packed = PackedTensors(kernels=chosen.kernels)
    none = KernelChoice(kernels=TorchKernels(), reason="JAX multiplies")
    if folder is not None:
        checkpoint = load_quantized_folder(folder, dtype=dtype, kernels=none, assemble=packed)
    else:
        checkpoint = load_and_quantize(name, bits=bits, dtype=dtype, kernels=none, assemble=packed)
    tensors, products = _published(packed.tensors), packed.products
    runner = JaxRunner(tensors, config=checkpoint.model.config, products=products, device=device)
    return checkpoint, runner, Choice(chosen.name, chosen.reason)


def dense_jax(name: str, *, kernels: Kernels, device: str) -> tuple[Checkpoint, JaxRunner]:
    """Loads weights of 16 bits for Osler's kernels on the CPU: the decoder's products in bfloat16, the rest in float32.

    Activations are float32, which XLA computes faster there than bfloat16.

    Args:
        name: Of the model.
        kernels: What multiplies.
        device: See `osler.engine.backend.to_jax`.

    Raises:
        CheckpointError: If the weights cannot be read or do not fit the twin.
    """
    from osler.jax.dense import dense_products
    from osler.jax.runner import JaxRunner

    checkpoint = load_checkpoint(name, dtype="bfloat16")
    config, tensors = checkpoint.model.config, _published(checkpoint.model.state_dict())
    checkpoint = replace(checkpoint, model=empty_network(config), bits=16)
    products = dense_products(tensors, config=config, kernels=kernels)
    taken = product_tensors(config)
    rest = {name: tensor.float() for name, tensor in tensors.items() if name not in taken}
    return checkpoint, JaxRunner(rest, config=config, products=products, device=device)


def _published(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    published = ("language_model.", "vision_tower.", "multi_modal_projector.")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(published)}
