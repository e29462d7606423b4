"""Which library computes: PyTorch, or JAX where it is installed and asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from osler.errors import unknown_name
from osler.extras import import_extra

if TYPE_CHECKING:
    from osler.engine.runner import Runner
    from osler.jax.module import JaxHeads, JaxOsler, JaxTemporal
    from osler.jax.runner import JaxRunner
    from osler.model.heads import Heads
    from osler.model.osler import Osler
    from osler.model.temporal import ClinicalTemporalAttention
    from osler.weights import Checkpoint

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
