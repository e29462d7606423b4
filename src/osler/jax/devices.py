"""What JAX sees of this machine, and the settings of it that the network relies on."""

from __future__ import annotations

import jax

from osler.errors import RequestError, unknown_name

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
        raise RequestError(
            f"The device {name!r} was asked for, but this JAX does not see it.",
            allowed=f"Devices here: {', '.join(sorted({device.platform for device in jax.devices()}))}.",
            next_step="Use --device cpu, or install JAX for your GPU: pip install 'jax[cuda13]'.",
        ) from error


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
