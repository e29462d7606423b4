"""What JAX sees of this machine, and the settings of it that the network relies on."""

from __future__ import annotations

from collections import Counter

import jax

from osler.errors import RequestError, absent_device, unknown_name

_PLATFORMS = {"auto": None, "cpu": "cpu", "cuda": "gpu"}


def find_device(name: str = "auto") -> jax.Device:
    """Returns a device.

    Args:
        name: ``"auto"`` for the first that JAX prefers, ``"cpu"`` or ``"cuda"``.

    Raises:
        RequestError: If the name is unknown, or JAX does not see such a device.
    """
    if name not in _PLATFORMS:
        raise unknown_name("device", name=name, known=_PLATFORMS)
    try:
        return jax.devices(_PLATFORMS[name])[0]
    except RuntimeError as error:
        raise absent_device(
            name,
            library="JAX",
            here=(device.platform for device in jax.devices()),
            next_step="Use --device cpu, or install a CUDA build of JAX: pip install 'jax[cuda13]'.",
        ) from error


def describe_devices() -> str:
    """Names the devices that JAX prefers here, such as ``"2 x gpu (NVIDIA L4)"``."""
    seen = Counter((device.platform, device.device_kind) for device in jax.devices())
    return ", ".join(f"{count} x {platform} ({kind})" for (platform, kind), count in seen.items())


def require_32_bits() -> None:
    """Refuses jax's 64-bit mode, under which positions and ids would change type.

    Raises:
        RequestError: If it is on.
    """
    if jax.config.read("jax_enable_x64"):
        raise RequestError(
            "JAX is set to 64 bits (JAX_ENABLE_X64 or jax_enable_x64), which this network does not run in.",
            allowed="The default of 32 bits.",
            next_step="Unset it: unset JAX_ENABLE_X64.",
        )
