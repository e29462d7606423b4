"""Which library computes: PyTorch, or JAX where it is installed and asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from osler.errors import unknown_name
from osler.extras import import_extra

if TYPE_CHECKING:
    from osler.engine.device import Choice
    from osler.engine.runner import Runner
    from osler.jax.kernels import KernelChoice as JaxKernelChoice
    from osler.jax.kernels import Kernels
    from osler.jax.module import JaxHeads, JaxOsler, JaxTemporal
    from osler.jax.runner import JaxRunner
    from osler.model.heads import Heads
    from osler.model.osler import Osler
    from osler.model.temporal import ClinicalTemporalAttention
    from osler.weights import Checkpoint
    from osler.weights.assemble import DTypeName
    from osler.weights.parts import Part

    AnyRunner = Runner | JaxRunner
    AnyNetwork = Osler | JaxOsler
    AnyHeads = Heads | JaxHeads
    AnyTemporal = ClinicalTemporalAttention | JaxTemporal

BackendName = Literal["torch", "jax"]


def check_backend(name: str) -> None:
    """Refuses a backend that does not exist or is not installed, without loading torch.

    Raises:
        RequestError: With the pip command where JAX is missing.
    """
    if name not in get_args(BackendName):
        raise unknown_name("backend", name=name, known=get_args(BackendName))
    if name == "jax":
        import_extra("jax", extra="jax")


def check_jax(device: str) -> None:
    """Makes JAX ready before weights are read: refuses a device that it does not see and settings that change results.

    Compiled programs are kept for later processes; see `osler.jax.compilation`.

    Raises:
        RequestError: See there.
    """
    from osler.jax.compilation import keep_compiled_programs
    from osler.jax.devices import find_device, require_32_bits

    require_32_bits()
    find_device(device)
    keep_compiled_programs()


def jax_dtype(device: str) -> tuple[Literal["float32", "bfloat16"], str]:
    """Chooses the precision on a device of JAX, with the reason.

    Raises:
        RequestError: If JAX does not see the device.
    """
    from osler.jax.devices import find_device

    if find_device(device).platform == "cpu":
        return "float32", "XLA computes bfloat16 on a CPU by way of float32"
    return "bfloat16", "the device has bfloat16 arithmetic"


def jax_kernels(device: str) -> JaxKernelChoice:
    """Chooses what multiplies packed weights on a device of JAX.

    Raises:
        RequestError: If JAX does not see the device, or kernels are asked for that are not here.
    """
    from osler.jax.devices import find_device
    from osler.jax.kernels import choose_kernels

    return choose_kernels(platform=find_device(device).platform)


def quantized_jax(
    name: str,
    *,
    folder: Path | None,
    bits: int,
    dtype: DTypeName,
    device: str,
    parts: tuple[Part, ...] | None = None,
) -> tuple[Checkpoint, JaxRunner, Choice[str]]:
    """Loads weights of 4 or 8 bits for JAX: the plans and folders of PyTorch, without a floating copy.

    Args:
        name: Of the model, to be quantized while it loads.
        folder: Of weights that are quantized already, in place of the name, or ``None``.
        bits: 4 or 8.
        dtype: Of the activations and of what is not quantized.
        device: See `to_jax`.
        parts: See `osler.load`.

    Returns:
        Checkpoint, runner, and what multiplies, with the reason.

    Raises:
        RequestError: If JAX does not see the device, or kernels are asked for that are not here.
        CheckpointError: If the weights cannot be read or do not fit the twin.
    """
    from osler.engine.device import Choice
    from osler.jax.network import PackedTensors
    from osler.jax.runner import JaxRunner
    from osler.quant.folder import load_quantized_folder
    from osler.quant.kernels import KernelChoice, TorchKernels
    from osler.quant.open import load_and_quantize
    from osler.weights.parts import keep_parts

    chosen = jax_kernels(device)
    packed = PackedTensors(kernels=chosen.kernels)
    none = KernelChoice(kernels=TorchKernels(), reason="JAX multiplies")
    if folder is not None:
        checkpoint = load_quantized_folder(folder, dtype=dtype, kernels=none, assemble=packed)
    else:
        checkpoint = load_and_quantize(name, bits=bits, dtype=dtype, kernels=none, assemble=packed)
    checkpoint = keep_parts(checkpoint, parts)
    kept = set(checkpoint.model.state_dict())
    tensors = {name: tensor for name, tensor in packed.tensors.items() if name in kept}
    runner = JaxRunner(tensors, config=checkpoint.model.config, products=packed.products, device=device)
    return checkpoint, runner, Choice(chosen.name, chosen.reason)


def dense_jax(
    name: str, *, kernels: Kernels, device: str, parts: tuple[Part, ...] | None = None
) -> tuple[Checkpoint, JaxRunner]:
    """Loads weights of 16 bits for Osler's kernels on the CPU: the decoder's products in bfloat16, the rest in float32.

    Activations are float32, which XLA computes faster there than bfloat16.

    Args:
        name: Of the model.
        kernels: What multiplies.
        device: See `to_jax`.
        parts: See `osler.load`.

    Raises:
        CheckpointError: If the weights cannot be read or do not fit the twin.
    """
    from osler.jax.dense import dense_products
    from osler.jax.runner import JaxRunner
    from osler.quant.network import product_tensors
    from osler.weights import load_checkpoint
    from osler.weights.assemble import empty_network
    from osler.weights.parts import keep_parts

    checkpoint = keep_parts(load_checkpoint(name, dtype="bfloat16"), parts)
    config, tensors = checkpoint.model.config, checkpoint.model.state_dict()
    checkpoint = replace(checkpoint, model=empty_network(config), bits=16)
    products = dense_products(tensors, config=config, kernels=kernels)
    taken = product_tensors(config)
    rest = {name: tensor.float() for name, tensor in tensors.items() if name not in taken}
    return checkpoint, JaxRunner(rest, config=config, products=products, device=device)


def to_jax(checkpoint: Checkpoint, *, device: str = "auto") -> tuple[Checkpoint, JaxRunner]:
    """Moves the weights of a checkpoint to JAX; the network that is left has shapes but no storage.

    Args:
        checkpoint: As loaded.
        device: ``"auto"`` takes the fastest that JAX sees, ``"cpu"`` or ``"cuda"`` insist.

    Raises:
        RequestError: If JAX does not see the device.
        CheckpointError: If the weights do not fit the twin.
    """
    from osler.jax.runner import JaxRunner
    from osler.weights.assemble import empty_network

    config = checkpoint.model.config
    runner = JaxRunner(checkpoint.model.state_dict(), config=config, device=device)
    return replace(checkpoint, model=empty_network(config)), runner
